/* zero_size.h: blocks of no bytes under zero-size=fault: addresses in a part of the reservation
   that is never made accessible, so that reading or writing one ends the program there. Each is its
   own while it lives; a bit tells whether it does. Where free() frees at once an address comes
   again when all others have been handed out meanwhile, else never. Nobody looks for the ones that
   the program has lost.

   Any thread, signal handlers too: no lock, only atomic operations on the bits. */
#ifndef RECLAIM_ZERO_SIZE_H
#define RECLAIM_ZERO_SIZE_H

#include "base/base.h"

enum { ZERO_SIZE_BLOCKS = 1 << 18 }; /* at a time, and addresses for the aligned ones; no more */

/* After heap_init, before the first block. Without room for them there are none. */
HIDDEN void zero_size_start(void);

struct zero_size {
  uintptr_t begin;
  size_t size; /* 0: there are none */
};
extern HIDDEN struct zero_size zero_size;

/* Is it an address there, a block's or not? */
static inline bool zero_size_holds(const void *pointer) {
  return (uintptr_t)pointer - zero_size.begin < zero_size.size;
}

/* Of an alignment of 16 at least. NULL: there is none left, or none so aligned (up to 4096). */
HIDDEN void *zero_size_make(size_t alignment);
/* For such an address: is there a block? */
HIDDEN bool zero_size_is_live(const void *pointer);
/* False: there was none. Of several callers one is told that there was. */
HIDDEN bool zero_size_release(const void *pointer);

#endif
