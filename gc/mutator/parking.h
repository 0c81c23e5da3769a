/* parking.h: a thread that waits in a blocking call of libc need not be stopped by a signal.

   Around such a call the thread is parked: it has published a stack pointer above which lies all
   that it holds, and runs nothing but libc's call. The collector holds a parked thread by one
   compare-and-swap; a held thread that comes back from its call waits until the stop is over.
   While parked no code of the program runs: handlers pass a gate that leaves the parking place
   first (api/signals.c), and so does whoever is about to cancel the thread (api/threads.c). Nobody
   parks the thread again before its next call, so a handler may leave by longjmp, or change where
   it returns to.

   What the call was given must be seen as well although no register is: the caller keeps it in
   its frame (struct passage, api/blocking.h).

   The word: RUNNING, PARKED, or HELD with the epoch of the stop; NEVER beside them forbids to park.
   A thread held in an epoch that is over is as good as parked, so nobody has to go round after a
   stop. The owner moves RUNNING to PARKED and away from both others, the collector PARKED to HELD,
   anybody may add NEVER. Async-signal-safe. */
#ifndef RECLAIM_PARKING_H
#define RECLAIM_PARKING_H

#include "mutator/thread.h"

enum {
  PARKING_RUNNING = 0,
  PARKING_PARKED = 1,
  PARKING_HELD = 2,
  PARKING_PLACE = 3, /* mask of the above */
  PARKING_NEVER = 4,
  PARKING_EPOCH_SHIFT = 8
};

/* By the owner. The stack pointer is published before the place is taken. */
static inline bool parking_enter(struct thread *thread, uintptr_t stack_pointer) {
  uint64_t running = PARKING_RUNNING;
  thread->parked_stack = stack_pointer;
  return __atomic_compare_exchange_n(&thread->parking, &running, PARKING_PARKED, false,
                                     __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* By the owner or on its behalf, in the ordinary case: not held. */
static inline bool parking_leave(struct thread *thread) {
  uint64_t parked = PARKING_PARKED;
  return __atomic_compare_exchange_n(&thread->parking, &parked, PARKING_RUNNING, false,
                                     __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* One step of leaving in every other case. True: the thread is not parked any more; else it is
   held by the stop of *epoch, which `current` still shows: wait until that is over and try again.
   The epoch is looked at after the word: the collector steps it before it holds anybody. */
static inline bool parking_try_leave(struct thread *thread, const uint32_t *current,
                                     uint32_t *epoch) {
  uint64_t word = __atomic_load_n(&thread->parking, __ATOMIC_SEQ_CST);
  while (word & PARKING_PLACE) {
    *epoch = (uint32_t)(word >> PARKING_EPOCH_SHIFT);
    if ((word & PARKING_PLACE) == PARKING_HELD &&
        __atomic_load_n(current, __ATOMIC_SEQ_CST) == *epoch)
      return false;
    if (__atomic_compare_exchange_n(&thread->parking, &word, word & PARKING_NEVER, false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return true;
  }
  return true;
}

static inline bool parking_is_parked(const struct thread *thread) {
  return atomic_get(&thread->parking) & PARKING_PLACE;
}

/* By the collector: is the thread parked? Then it stays so while the epoch lasts. */
static inline bool parking_hold(struct thread *thread, uint32_t epoch) {
  uint64_t word = __atomic_load_n(&thread->parking, __ATOMIC_SEQ_CST);
  while ((word & PARKING_PLACE) && !(word & PARKING_NEVER)) {
    uint64_t held = (uint64_t)epoch << PARKING_EPOCH_SHIFT | PARKING_HELD;
    if (word == held || __atomic_compare_exchange_n(&thread->parking, &word, held, false,
                                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return true;
  }
  return false;
}

/* By anybody: the thread parks no more. */
static inline void parking_forbid(struct thread *thread) {
  __atomic_fetch_or(&thread->parking, PARKING_NEVER, __ATOMIC_SEQ_CST);
}

#endif
