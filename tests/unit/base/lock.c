/* lock.c: mutual exclusion under contention, sleeping waiters, and which signals stay open. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/syscall.h>

#include "base/lock.h"

enum { THREADS = 4, ROUNDS = 50000 };

static struct lock lock;
static long guarded; /* no atomic: the lock is all that protects it */
static long inside;
static int overlaps;

TestSuite(lock, .timeout = 60);

static void count(void) {
  if (__atomic_add_fetch(&inside, 1, __ATOMIC_RELAXED) != 1)
    __atomic_fetch_add(&overlaps, 1, __ATOMIC_RELAXED);
  long value = guarded;
  if (value % 64 == 0) port_cpu_relax();
  guarded = value + 1;
  __atomic_fetch_sub(&inside, 1, __ATOMIC_RELAXED);
}

static void *contend(void *unused) {
  (void)unused;
  for (int i = 0; i < ROUNDS; i++) {
    if (i % 3 == 0) {
      lock_take(&lock);
      count();
      lock_drop(&lock);
    } else if (i % 3 == 1) {
      lock_acquire(&lock);
      count();
      if (i % 1000 == 1) port_yield(); /* so that others really sleep on it */
      lock_release(&lock);
    } else {
      while (!lock_try(&lock)) port_yield();
      count();
      lock_release(&lock);
    }
  }
  return NULL;
}

Test(lock, four_threads_exclude_each_other) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, contend, NULL);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  cr_expect_eq(guarded, (long)THREADS * ROUNDS);
  cr_expect_eq(overlaps, 0);
  cr_expect_eq(lock.state, 0);
}

static void *wait_for_it(void *unused) {
  (void)unused;
  lock_take(&lock);
  atomic_add(&inside, 1);
  lock_drop(&lock);
  return NULL;
}

Test(lock, waiters_sleep_and_are_woken) {
  lock_take(&lock);
  cr_expect_eq(lock.state, 1);
  cr_expect(!lock_take_if_free(&lock));
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, wait_for_it, NULL);
  for (int i = 0; i < 5000 && atomic_get(&lock.state) != 2; i++) unit_sleep(1);
  cr_expect_eq(atomic_get(&lock.state), 2, "somebody sleeps");
  unit_sleep(20);
  cr_expect_eq(atomic_get(&inside), 0);
  lock_drop(&lock);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  cr_expect_eq(inside, THREADS);
  cr_expect(lock_take_if_free(&lock));
  lock_drop(&lock);
  cr_expect_eq(lock.state, 0);
}

static uint64_t blocked_signals(void) {
  uint64_t mask = 0;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
  return mask;
}

static bool blocks(uint64_t mask, int number) { return mask >> (number - 1) & 1; }

Test(lock, holding_it_blocks_all_signals_but_the_stop_signal_and_faults) {
  uint64_t before = blocked_signals();
  lock_acquire(&lock);
  uint64_t held = blocked_signals();
  for (int number = 1; number <= 64; number++) {
    bool open = number == 33 || number == SIGSEGV || number == SIGBUS || number == SIGFPE ||
                number == SIGILL || number == SIGTRAP || number == SIGSYS || number == SIGKILL ||
                number == SIGSTOP || blocks(before, number);
    cr_expect_eq(blocks(held, number), !open, "signal %d", number);
  }
  cr_expect(!lock_try(&lock));
  cr_expect_eq(blocked_signals(), held);
  lock_release(&lock);
  cr_expect_eq(blocked_signals(), before);
  cr_expect(lock_try(&lock));
  cr_expect_eq(blocked_signals(), held);
  lock_release(&lock);
  cr_expect_eq(blocked_signals(), before);
}

Test(lock, sections_nest_in_any_order) {
  struct lock second = {0};
  uint64_t before = blocked_signals();
  section_begin();
  uint64_t held = blocked_signals();
  lock_acquire(&lock);
  lock_acquire(&second);
  section_end();
  lock_release(&lock);
  cr_expect_eq(blocked_signals(), held);
  lock_release(&second);
  cr_expect_eq(blocked_signals(), before);
}

Test(lock, a_failed_try_leaves_the_mask_as_it_was) {
  uint64_t before = blocked_signals();
  lock_take(&lock);
  cr_expect(!lock_try(&lock));
  cr_expect_eq(blocked_signals(), before);
  lock_drop(&lock);
}

static volatile sig_atomic_t handled;
static void handle(int number) {
  (void)number;
  lock_acquire(&lock); /* would hang if it interrupted the holder */
  handled++;
  lock_release(&lock);
}

Test(lock, a_handler_waits_until_the_lock_is_released) {
  signal(SIGUSR1, handle);
  lock_acquire(&lock);
  raise(SIGUSR1);
  cr_expect_eq(handled, 0);
  lock_release(&lock);
  cr_expect_eq(handled, 1);
}
