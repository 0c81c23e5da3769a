/* start.h: the two halves of the start. The first happens in the first call of malloc, long before
   constructors; the second in our constructor, when libc works and cycles may begin. */
#ifndef RECLAIM_START_H
#define RECLAIM_START_H

#include "base/base.h"

/* Options read, heap reserved. Later calls return at once. False: there is no heap to be had. */
HIDDEN bool start_heap(void);
extern HIDDEN bool start_heap_done;

#endif
