/* workers.c: helpers get all that is given away, once, and leave no trace. */
#include "tests/unit/unit.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "collect/workers.h"

static void start(void) { unit_start_heap(); }

TestSuite(workers, .init = start, .timeout = 60);

enum { HELPERS = 4, ITEMS = 200000 };

static struct {
  uint32_t done[ITEMS]; /* how often each item was */
  uint32_t by[WORKERS_MOST + 1];
  int ids[WORKERS_MOST + 1];
  uint64_t masks[WORKERS_MOST + 1];
} record;

/* Item n leads to 2 n + 1 and 2 n + 2. What does not fit into the pool is worked on at once. */
static void work_on(uint64_t item, unsigned number) {
  uint64_t mine[64];
  size_t count = 0;
  mine[count++] = item;
  while (count) {
    uint64_t next = mine[--count];
    __atomic_fetch_add(&record.done[next], 1, __ATOMIC_RELAXED);
    record.by[number]++;
    for (uint64_t child = 2 * next + 1; child <= 2 * next + 2 && child < ITEMS; child++)
      if (!workers_wanted() || !workers_give(&child, 1)) mine[count++] = child;
  }
}

static void work(unsigned number) {
  uint64_t items[WORKERS_POOL];
  size_t count;
  record.ids[number] = port_thread_id();
  port_signals_restore(record.masks[number] = port_signals_block());
  while ((count = workers_take(items, WORKERS_POOL, number)) != 0)
    while (count) work_on(items[--count], number);
}

Test(workers, all_that_is_given_is_taken_once) {
  cr_assert_eq(workers_prepare(HELPERS), HELPERS);
  for (int round = 0; round < 20; round++) {
    memset(&record, 0, sizeof record);
    cr_assert_eq(workers_begin(HELPERS, work), HELPERS);
    uint64_t first = 0;
    cr_assert_eq(workers_give(&first, 1), 1);
    work(0);
    workers_end();
    uint64_t sum = 0;
    for (unsigned i = 0; i <= HELPERS; i++) sum += record.by[i];
    cr_assert_eq(sum, ITEMS);
    for (int i = 0; i < ITEMS; i++) cr_assert_eq(record.done[i], 1, "item %d", i);
  }
}

Test(workers, a_helper_that_is_never_given_anything_goes_home) {
  cr_assert_eq(workers_prepare(2), 2);
  cr_assert_eq(workers_begin(2, work), 2);
  workers_end();
  cr_expect_eq(record.by[1] + record.by[2], 0);
}

/* Items without end: a marking that was given up. */
static void work_for_ever(unsigned number) {
  uint64_t items[WORKERS_POOL];
  while (workers_take(items, WORKERS_POOL, number) != 0)
    while (!workers_over()) workers_give(items, 1);
}

Test(workers, what_is_left_when_they_are_sent_home_is_dropped) {
  cr_assert_eq(workers_prepare(2), 2);
  for (int round = 0; round < 50; round++) {
    uint64_t many[100] = {0};
    cr_assert_eq(workers_begin(2, work_for_ever), 2);
    workers_give(many, 100);
    if (round % 2) unit_sleep(1);
    workers_end();
    cr_expect(!workers_wanted());
  }
}

Test(workers, without_helpers_there_is_nothing_to_wait_for) {
  uint64_t items[1];
  cr_assert_eq(workers_begin(0, work), 0);
  cr_expect(!workers_wanted());
  cr_expect_eq(workers_take(items, 1, 0), 0);
  cr_expect(!workers_wanted());
  workers_end();
}

Test(workers, helpers_are_tasks_of_this_process_with_every_signal_blocked) {
  cr_assert_eq(workers_prepare(HELPERS), HELPERS);
  cr_assert_eq(workers_begin(HELPERS, work), HELPERS);
  uint64_t first = 0;
  workers_give(&first, 1);
  work(0);
  workers_end();
  sigset_t mine;
  pthread_sigmask(SIG_BLOCK, NULL, &mine);
  cr_expect(!sigismember(&mine, SIGSEGV) && !sigismember(&mine, SIGUSR1), "a mask is given back");
  for (unsigned i = 1; i <= HELPERS; i++) {
    cr_expect_neq(record.ids[i], getpid());
    cr_expect_neq(record.ids[i], record.ids[i % HELPERS + 1]);
    cr_expect_neq(record.masks[i] >> (SIGSEGV - 1) & 1, 0, "no handler runs in it, whatever comes");
    cr_expect_neq(record.masks[i] >> 32 & 1, 0, "nor the stop signal's");
  }
}

/* A process of one thread may unshare what one of several may not. */
static int count_rounds_alone(void) {
  for (int round = 0; round < 200; round++) {
    if (workers_begin(HELPERS, work) != HELPERS) return 1;
    workers_end();
    if (port_count_threads() != 1) return 2;
    for (unsigned i = 1; i <= HELPERS; i++)
      if (record.ids[i] && port_thread_state(record.ids[i]) != PORT_THREAD_GONE) return 3;
    if (unshare(CLONE_THREAD) != 0) return 4;
  }
  return 0;
}

Test(workers, the_kernel_has_forgotten_them_when_they_have_ended) {
  cr_assert_eq(workers_prepare(HELPERS), HELPERS);
  pid_t child = fork();
  if (child == 0) _exit(count_rounds_alone());
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_expect_eq(status, 0, "%d", WEXITSTATUS(status));
}

Test(workers, no_more_than_there_are_places_for) {
  cr_expect_eq(workers_prepare(1000), WORKERS_MOST - 1);
  cr_expect_eq(workers_prepare(0), 0);
}

Test(workers, the_pool_takes_no_more_than_fits) {
  static uint64_t many[WORKERS_POOL + 10];
  for (size_t i = 0; i < WORKERS_POOL + 10; i++) many[i] = i;
  workers_begin(0, work);
  cr_expect_eq(workers_give(many, WORKERS_POOL + 10), WORKERS_POOL);
  cr_expect_eq(workers_give(many, 1), 0);
  cr_expect_eq(workers_take(many, 10, 0), 10);
  cr_expect_eq(many[0], WORKERS_POOL - 10);
  cr_expect_eq(workers_take(many, WORKERS_POOL, 0), WORKERS_POOL - 10);
  cr_expect_eq(workers_take(many, WORKERS_POOL, 0), 0);
}

Test(workers, where_none_can_be_made_there_are_none) {
  cr_assert_eq(workers_prepare(2), 2);
  pid_t child = fork();
  if (child == 0) {
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_NPROC, &none) != 0) _exit(2);
    if (getuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(3); /* root has no limit */
    uint64_t item = 0;
    if (workers_begin(2, work) != 0) _exit(4);
    if (workers_take(&item, 1, 0) != 0) _exit(5);
    workers_end();
    _exit(0);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_expect_eq(status, 0);
}
