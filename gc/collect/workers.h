/* workers.h: threads that help the collecting thread while the world is stopped, and the pool by
   which they share work.

   Helpers are bare tasks, made after the stop and gone before the program runs on: no thread of the
   program's ever sees one, libc knows nothing of them, and no fork, exec or end of the process
   happens meanwhile. They run on stacks of ours, with every signal blocked, and use system calls
   only; the thread-local variables that they would see are the collecting thread's.

   Who has run out of work waits in workers_take. Who has plenty asks workers_wanted now and then,
   and gives some of it away (the scheme of bdwgc and of Endo, Taura, Yonezawa, "A scalable
   mark-sweep garbage collector on large-scale shared-memory machines", SC 1997). */
#ifndef RECLAIM_WORKERS_H
#define RECLAIM_WORKERS_H

#include "base/base.h"

enum { WORKERS_MOST = 16, WORKERS_POOL = 1024 };

/* Makes ready for so many helpers (their stacks); how many there may be. Not while the world is
   stopped: takes a lock. One thread at a time. */
HIDDEN unsigned workers_prepare(unsigned helpers);
/* Starts so many helpers, as many as were prepared at most: each calls run(number) with numbers
   from 1. How many could be made. World stopped. */
HIDDEN unsigned workers_begin(unsigned helpers, void (*run)(unsigned number));
/* Sends the helpers home, whatever is left to do, and returns when the kernel has forgotten them,
   too. */
HIDDEN void workers_end(void);

enum { WORKERS_HUNGRY = 1, WORKERS_OVER };
extern HIDDEN uint32_t workers_hunger; /* use these two */
/* Does somebody wait for work, or is a helper that has some to drop it? */
static inline bool workers_wanted(void) { return UNLIKELY(atomic_get(&workers_hunger)); }
static inline bool workers_over(void) { return atomic_get(&workers_hunger) == WORKERS_OVER; }
/* Puts up to `count` items into the pool; how many there was room for. */
HIDDEN size_t workers_give(const uint64_t *items, size_t count);
/* Waits for items; up to `room` of them, at most WORKERS_POOL. 0: for a helper, that it is to end;
   for the collecting thread (number 0), that all helpers wait and there is nothing left to do. */
HIDDEN size_t workers_take(uint64_t *items, size_t room, unsigned number);

#endif
