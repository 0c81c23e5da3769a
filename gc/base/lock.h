/* lock.h: a three-state futex lock (Drepper, "Futexes are tricky", mutex 2).

   Signal safety: lock_acquire begins a section, in which every signal is blocked that can be
   deferred, except the stop signal; so a handler of the program never finds its own thread inside.
   The stop signal stays open because a stopped holder harms nobody: nothing takes a lock while the
   world is stopped. Sections nest, and only the outermost costs system calls. Raw system calls
   only, usable before libc is initialised. */
#ifndef RECLAIM_LOCK_H
#define RECLAIM_LOCK_H

#include "base/base.h"

struct lock {
  uint32_t state; /* 0 free, 1 held, 2 held with waiters */
};

/* No handler of the program runs in the calling thread, nor is it cancelled, until the same number
   of ends. No code of the program may run inside. */
HIDDEN void section_begin(void);
HIDDEN void section_end(void);

/* Takes the lock and begins a section; lock_release ends both. */
HIDDEN void lock_acquire(struct lock *lock);
HIDDEN bool lock_try(struct lock *lock);
HIDDEN void lock_release(struct lock *lock);

/* The same without touching the signal mask, for callers that arranged it themselves. */
HIDDEN void lock_take(struct lock *lock);
HIDDEN bool lock_take_if_free(struct lock *lock);
HIDDEN void lock_drop(struct lock *lock);

/* Does another thread wait for a lock that the caller holds? Not if it only looks at it yet. */
static inline bool lock_is_wanted(const struct lock *lock) { return atomic_get(&lock->state) == 2; }

#endif
