/* lock.h: a three-state futex lock (Drepper, "Futexes are tricky", mutex 2).

   Signal safety: lock_acquire blocks every signal that can be deferred except the stop signal
   while the lock is held, so a handler of the program never finds its own thread inside; the
   stop signal stays open because a stopped holder harms nobody: nothing takes a lock while the
   world is stopped. Raw system calls only, usable before libc is initialised. */
#ifndef RECLAIM_LOCK_H
#define RECLAIM_LOCK_H

#include "base/base.h"

struct lock {
  uint32_t state; /* 0 free, 1 held, 2 held with waiters */
};

/* Takes the lock with signals blocked; the returned mask goes to lock_release. */
HIDDEN uint64_t lock_acquire(struct lock *lock);
HIDDEN bool lock_try(struct lock *lock, uint64_t *mask);
HIDDEN void lock_release(struct lock *lock, uint64_t mask);

/* The same without touching the signal mask, for callers that arranged it themselves. */
HIDDEN void lock_take(struct lock *lock);
HIDDEN bool lock_take_if_free(struct lock *lock);
HIDDEN void lock_drop(struct lock *lock);

#endif
