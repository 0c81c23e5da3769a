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

/* The depth is the thread's own. A fork child has its copy; a vfork child gives it back as it was.
 */
static THREAD_LOCAL struct {
  uint32_t depth;
  uint64_t mask; /* the program's, while the depth is not zero */
} section;

/* Until the signals are blocked a handler may begin and end sections here. */
void section_begin(void) {
  if (section.depth == 0) section.mask = port_signals_block();
  COMPILER_BARRIER();
  section.depth++;
}

void section_end(void) {
  COMPILER_BARRIER();
  if (--section.depth == 0) port_signals_restore(section.mask);
}

void lock_acquire(struct lock *lock) {
  section_begin();
  lock_take(lock);
}

bool lock_try(struct lock *lock) {
  section_begin();
  if (lock_take_if_free(lock)) return true;
  section_end();
  return false;
}

void lock_release(struct lock *lock) {
  lock_drop(lock);
  section_end();
}
