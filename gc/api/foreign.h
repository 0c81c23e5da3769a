/* foreign.h: whose an address outside the heap is: on a stack, in a loaded object, in memory that
   no allocator makes blocks of, or perhaps a block of libc's own allocator, or of a second libc's.

   Asked only on the way to a bad free, or to libc. No lock, no allocation; safe in handlers. Where
   a second libc was loaded (dlmopen), its functions are looked up once, with the loader's lock. */
#ifndef RECLAIM_FOREIGN_H
#define RECLAIM_FOREIGN_H

#include "base/text.h"

/* Before threads exist. */
HIDDEN void foreign_start(void);
struct foreign_allocator {
  void (*free)(void *block);
  void *(*realloc)(void *block, size_t size);
  size_t (*usable_size)(void *block);
};
/* Whose block begins here, in doubt libc's. NULL: nobody's; `what` then says what is there. */
HIDDEN const struct foreign_allocator *foreign_allocator_of(uintptr_t address, struct text *what);
/* "libfoo.so.1+0x123", the distance being that of the file's own addresses. */
HIDDEN void foreign_add_place(uintptr_t code, struct text *text);

#endif
