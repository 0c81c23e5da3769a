/* canaries.h: where the malloc family looks at the slack of blocks under canary=on, and tells of
   it. Nothing here is called without heap.pads. */
#ifndef RECLAIM_CANARIES_H
#define RECLAIM_CANARIES_H

#include "mutator/allocate.h"

/* A block of so many bytes was made. */
HIDDEN COLD void canaries_note(void *object, size_t size);
/* A live block is given up or resized by that call: was anything written behind it? */
HIDDEN COLD void canaries_check(const struct cell *cell, const char *by);
/* Resizes a block of so many usable bytes where it stands, if the new size fits its cell or can be
   made to. False: it is to be moved. */
HIDDEN COLD bool canaries_resize(const struct cell *cell, size_t size, size_t usable, bool fits);

#endif
