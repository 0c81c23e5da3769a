/* lock.c: see lock.h. */
#include "base/lock.h"

#include "ports/port.h"

void lock_take(struct lock *lock) {
  uint32_t expected = 0;
  if (LIKELY(__atomic_compare_exchange_n(&lock->state, &expected, 1, false, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED)))
    return;
  for (int spins = 0; spins < 64; spins++) { /* holders are in and out within a microsecond */
    expected = 0;
    if (atomic_get(&lock->state) == 0 &&
        __atomic_compare_exchange_n(&lock->state, &expected, 1, false, __ATOMIC_ACQUIRE,
                                    __ATOMIC_RELAXED))
      return;
    port_cpu_relax();
  }
  while (__atomic_exchange_n(&lock->state, 2, __ATOMIC_ACQUIRE) != 0)
    port_futex_wait(&lock->state, 2, 0);
}

bool lock_take_if_free(struct lock *lock) {
  uint32_t expected = 0;
  return __atomic_compare_exchange_n(&lock->state, &expected, 1, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED);
}

void lock_drop(struct lock *lock) {
  if (__atomic_exchange_n(&lock->state, 0, __ATOMIC_RELEASE) == 2) port_futex_wake(&lock->state, 1);
}

uint64_t lock_acquire(struct lock *lock) {
  uint64_t mask = port_signals_block();
  lock_take(lock);
  return mask;
}

bool lock_try(struct lock *lock, uint64_t *mask) {
  *mask = port_signals_block();
  if (lock_take_if_free(lock)) return true;
  port_signals_restore(*mask);
  return false;
}

void lock_release(struct lock *lock, uint64_t mask) {
  lock_drop(lock);
  port_signals_restore(mask);
}
