/* cycle.c: whole cycles in this process, and what holds them off. */
#include "tests/unit/collect/collector.h"

#include "mutator/pages.h"
#include "mutator/quarantine.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "report/site.h"

static void start(void) { unit_start_collector(); }

TestSuite(cycle, .init = start, .timeout = 60);
TestSuite(checked_cycle, .timeout = 60);

enum { COUNT = 1000 };
static uintptr_t dropped[COUNT];
static uint64_t *kept[COUNT];

static __attribute__((noinline)) void make_objects(size_t size) {
  for (uint64_t i = 0; i < COUNT; i++) {
    uint64_t *object = allocate(size, NULL);
    *object = i;
    dropped[i] = unit_hide(object);
    kept[i] = allocate(size, NULL);
    kept[i][0] = i;
    kept[i][1] = (uintptr_t)kept[i ? i - 1 : 0];
  }
}

static int dropped_that_live(void) {
  int live = 0;
  for (int i = 0; i < COUNT; i++) live += unit_is_live(unit_unhide(dropped[i]));
  return live;
}

static void expect_kept(void) {
  int lost = 0;
  for (uint64_t i = 0; i < COUNT; i++) lost += !unit_is_live(kept[i]) || kept[i][0] != i;
  cr_expect_eq(lost, 0);
}

static bool collect(void) {
  unit_clean_stack();
  return cycle_run(CYCLE_REQUEST, true);
}

static void drop_and_collect(size_t size) {
  make_objects(size);
  cr_expect(collect());
  cr_expect(dropped_that_live() <= COUNT / 100, "%d of %d stay", dropped_that_live(), COUNT);
  expect_kept();
}

Test(cycle, what_was_dropped_comes_back_and_what_is_kept_stays) { drop_and_collect(100); }
Test(cycle, large_objects) { drop_and_collect(70000); }
Test(cycle, on_a_kernel_without_new_features) {
  options.kernel = KERNEL_BASELINE;
  drop_and_collect(100);
}
Test(cycle, every_stride) {
  static const unsigned strides[] = {8, 4, 1};
  for (int i = 0; i < 3; i++) {
    options.stride = strides[i];
    drop_and_collect(48);
  }
}

Test(cycle, as_many_as_confirm_says) {
  for (unsigned confirm = 1; confirm <= 7; confirm += 3) {
    options.confirm = confirm;
    make_objects(100);
    for (unsigned i = 1; i < confirm; i++) {
      cr_assert(collect());
      cr_expect_eq(dropped_that_live(), COUNT, "confirm %u, cycle %u", confirm, i);
    }
    cr_assert(collect());
    cr_expect(dropped_that_live() <= COUNT / 100, "confirm %u", confirm);
    expect_kept();
  }
}

Test(cycle, what_it_did_is_counted) {
  uint64_t before = report_totals.cycles;
  make_objects(100);
  cr_assert(collect());
  cr_expect_eq(report_totals.cycles, before + 1);
  cr_expect_eq(report_totals.skipped, 0);
  cr_expect(report_totals.cells >= COUNT * 99 / 100);
  cr_expect(report_totals.reclaimed >= COUNT * 99 / 100 * 112);
  cr_expect(report_totals.last_live >= COUNT * 112);
  cr_expect(report_totals.longest_pause > 0 &&
            report_totals.total_pause >= report_totals.longest_pause);
  cr_expect_neq(pace.due_pages, SIZE_MAX);
  cr_expect(pace.last > 0);
}

Test(cycle, many_cycles_reclaim_all_that_is_dropped) {
  enum { MORE = 20000 };
  for (int i = 0; i < 30; i++) {
    for (int k = 0; k < MORE; k++) cr_assert(allocate(100, NULL));
    cr_assert(collect());
    size_t one_round = MORE / size_classes[size_class_of(100)].cells;
    cr_assert(page_heap_counts.used < one_round * 3 / 2, "%zu pages", page_heap_counts.used);
  }
}

Test(cycle, nothing_is_taken_without_reclaim) {
  options.reclaim = false;
  make_objects(100);
  cr_expect(collect());
  cr_expect_eq(dropped_that_live(), COUNT);
}

Test(cycle, quarantined_objects_return_when_no_pointer_is_left) {
  options.reclaim = false;
  make_objects(100);
  for (int i = 0; i < COUNT; i++) {
    *state_at(~dropped[i]) = STATE_QUARANTINED;
    *state_at((uintptr_t)kept[i]) = STATE_QUARANTINED;
  }
  cr_expect(collect());
  int gone = 0, stay = 0;
  for (int i = 0; i < COUNT; i++) {
    gone += *state_at(~dropped[i]) == STATE_NONE;
    stay += *state_at((uintptr_t)kept[i]) == STATE_QUARANTINED;
  }
  cr_expect(gone >= COUNT * 99 / 100, "%d", gone);
  cr_expect_eq(stay, COUNT);
}

/* A block that nobody points to, and its word to a freed one. */
static void try_what_a_lost_block_holds(bool reclaim, int expected) {
  options.free_policy = FREE_QUARANTINE;
  options.reclaim = reclaim;
  make_objects(100);
  int stay = 0;
  static uintptr_t hidden[COUNT];
  for (int i = 0; i < COUNT; i++) {
    void *freed = allocate(200, NULL);
    *(void **)~dropped[i] = freed;
    hidden[i] = ~(uintptr_t)freed;
    *state_at((uintptr_t)freed) = STATE_QUARANTINED;
  }
  cr_expect(collect());
  for (int i = 0; i < COUNT; i++) stay += *state_at(~hidden[i]) == STATE_QUARANTINED;
  cr_expect(abs(stay - expected) <= COUNT / 100, "%d", stay);
}

Test(cycle, what_was_not_freed_keeps_what_was_without_a_pointer_to_itself) {
  try_what_a_lost_block_holds(false, COUNT);
}

Test(cycle, unless_it_is_taken_back_too) { try_what_a_lost_block_holds(true, 0); }

Test(cycle, one_takes_back_what_was_freed_and_the_next_can_wait) {
  options.free_policy = FREE_QUARANTINE;
  options.reclaim = false;
  pace_init();
  quarantine_bytes += 100 * MIB;
  cr_expect(!pace_put_off());
  cr_expect(cycle_run(CYCLE_GROWTH, true));
  cr_expect(pace_put_off());
  cr_expect(mutator_keeps_holes && mutator_pages_emptied, "what it freed will be used");
  cr_expect(cycle_run(CYCLE_IDLE, true));
  cr_expect(!mutator_keeps_holes, "or will not");
  options.free_policy = FREE_TRUST;
  cr_expect(cycle_run(CYCLE_GROWTH, true));
  cr_expect(!mutator_keeps_holes);
}

static void grow_and_free(size_t count) {
  for (size_t i = 0; i < count; i++)
    *state_at((uintptr_t)allocate(16000, NULL)) = STATE_QUARANTINED;
}

/* What waits for a cycle goes up and down: pages that a high left stay for the next. */
Test(cycle, a_low_costs_no_page_faults) {
  options.free_policy = FREE_QUARANTINE;
  options.reclaim = false;
  page_heap_decay(UINT64_MAX / 2); /* how long this takes changes nothing: its next look is later */
  grow_and_free(COUNT);
  size_t high = page_heap_counts.used;
  unit_clean_stack();
  cr_expect(cycle_run(CYCLE_GROWTH, true));
  for (int i = 0; i < 3; i++) {
    grow_and_free(COUNT / 20);
    unit_clean_stack();
    cr_expect(cycle_run(CYCLE_GROWTH, true));
  }
  size_t resident = page_heap_counts.used + page_heap_counts.dirty_free;
  cr_expect(resident >= high - high / 8, "of %zu pages %zu are there", high, resident);
  cr_expect(cycle_run(CYCLE_IDLE, true));
  resident = page_heap_counts.used + page_heap_counts.dirty_free;
  cr_expect(resident <= high / 2, "of %zu pages %zu are there when it rests", high, resident);
}

/* --- when none may run ------------------------------------------------------------------------ */

Test(cycle, none_with_collect_off) {
  options.collect = false;
  cr_expect(!collect());
}

Test(cycle, disabling_nests) {
  cycle_disable();
  cycle_disable();
  cr_expect(!collect());
  cycle_enable();
  cr_expect(!collect());
  cycle_enable();
  cr_expect(collect());
  cycle_enable(); /* once too often */
  cycle_disable();
  cr_expect(!collect());
  cycle_enable();
  cr_expect(collect());
}

static volatile int done;
static void *collect_and_wait(void *unused) {
  (void)unused;
  bool completed = cycle_run(CYCLE_REQUEST, true);
  done = 1;
  return completed ? "completed" : NULL;
}
static void *try_to_collect(void *unused) {
  (void)unused;
  return cycle_run(CYCLE_GROWTH, false) ? "completed" : NULL;
}
static void *wait_for_cycle(void *unused) {
  cycle_wait();
  done = 1;
  return unused;
}

static void *result_of(void *(*function)(void *)) {
  pthread_t thread;
  void *result;
  pthread_create(&thread, NULL, function, NULL);
  pthread_join(thread, &result);
  return result;
}

Test(cycle, fork_and_exec_hold_it_off) {
  static void *(*const waiters[])(void *) = {collect_and_wait, wait_for_cycle};
  for (int i = 0; i < 2; i++) {
    done = 0;
    cycle_announce();
    cr_expect_null(result_of(try_to_collect), "who need not wait does not");
    pthread_t thread;
    pthread_create(&thread, NULL, waiters[i], NULL);
    unit_sleep(30);
    cr_expect_eq(done, 0);
    cycle_retract();
    pthread_join(thread, NULL);
    cr_expect_eq(done, 1);
    cr_expect_eq(report_totals.cycles, 1);
  }
  cr_expect(result_of(try_to_collect));
}

static void *collect_many(void *unused) {
  for (int i = 0; i < 15; i++) {
    for (int k = 0; k < 500; k++) allocate(64, NULL);
    cycle_run(CYCLE_REQUEST, i % 2);
  }
  thread_detach();
  return unused;
}

Test(cycle, threads_that_collect_take_turns) {
  make_objects(100);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, collect_many, NULL);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  cr_expect(report_totals.cycles >= 4 * 7);
  cr_expect(dropped_that_live() <= COUNT / 10);
  expect_kept();
}

static volatile int deaf;
static void *be_deaf(void *unused) {
  uint64_t mask = 1ull << 32; /* the stop signal */
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, &mask, NULL, 8);
  deaf = 1;
  while (deaf) unit_sleep(1);
  return unused;
}

Test(cycle, one_that_is_given_up_reclaims_nothing) {
  make_objects(100);
  pthread_t thread;
  unit_clean_stack();
  pthread_create(&thread, NULL, be_deaf, NULL);
  while (!deaf) unit_sleep(1);
  cr_expect(!collect());
  deaf = 0;
  pthread_join(thread, NULL);
  cr_expect_eq(report_totals.skipped, 1);
  cr_expect_eq(report_totals.cycles, 0);
  cr_expect_eq(dropped_that_live(), COUNT);
  cr_expect(collect(), "the next one works");
  cr_expect(dropped_that_live() <= COUNT / 100, "%d of %d stay", dropped_that_live(), COUNT);
  expect_kept();
}

/* --- children --------------------------------------------------------------------------------- */

static int status_of(pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(cycle, a_fork_child_collects_once_it_took_over) {
  make_objects(100);
  cycle_announce();
  pid_t child = fork();
  if (child == 0) {
    if (cycle_run(CYCLE_REQUEST, false)) _exit(1); /* nobody has said that we are a new process */
    identity_take();
    mutator_fork_child(self.thread->levels, HANDLER_LEVELS);
    thread_fork_child();
    cycle_fork_child(true);
    if (!collect()) _exit(2);
    if (dropped_that_live() > COUNT / 100) _exit(3);
    for (int i = 0; i < COUNT; i++)
      if (!unit_is_live(kept[i])) _exit(4);
    if (report_totals.cycles != 1) _exit(5);
    _exit(0);
  }
  cycle_retract();
  cr_expect_eq(status_of(child), 0);
  cr_expect_eq(dropped_that_live(), COUNT, "the parent's heap is its own");
  cr_expect(collect());
}

/* As where a handler forks that interrupted a fork. */
Test(cycle, a_child_goes_on_with_what_its_parent_had_begun) {
  make_objects(100);
  cycle_announce();
  cycle_announce();
  pid_t child = fork();
  if (child == 0) {
    identity_take();
    mutator_fork_child(self.thread->levels, HANDLER_LEVELS);
    thread_fork_child();
    cycle_fork_child(true);
    if (cycle_run(CYCLE_REQUEST, true)) _exit(1); /* its own would come to no end */
    cycle_announce();
    cycle_retract();
    if (cycle_run(CYCLE_REQUEST, true)) _exit(2);
    cycle_retract();
    _exit(collect() ? 0 : 3);
  }
  cycle_retract();
  cr_expect(!cycle_run(CYCLE_REQUEST, true));
  cycle_retract();
  int status = status_of(child);
  cr_expect_eq(status, 0, "%d", status);
  cr_expect(collect());
}

Test(cycle, a_vfork_child_does_not_collect) {
  static volatile bool completed = true;
  make_objects(100);
  pid_t child = vfork();
  if (child == 0) {
    completed = cycle_run(CYCLE_REQUEST, true);
    _exit(0);
  }
  status_of(child);
  cr_expect(!completed);
  cr_expect_eq(dropped_that_live(), COUNT);
}

/* --- oracles ---------------------------------------------------------------------------------- */

static void start_checked(enum check_mode mode) {
  unit_start_heap_of(GIB, site_tables_size);
  options.confirm = 1;
  cr_assert(site_init());
  options.check = mode;
  strcpy(options.log, "/dev/null");
  identity_init();
  pace_init();
  cr_assert(cycle_init());
}

Test(checked_cycle, a_condemned_object_that_changes_proves_a_wrong_reclaim) {
  start_checked(CHECK_CONDEMN);
  make_objects(100);
  cr_assert(collect());
  cr_expect(report_totals.condemned >= COUNT * 99 / 100);
  cr_expect(dropped_that_live() == COUNT, "condemned objects are not freed");
  cr_assert(collect());
  cr_expect_eq(report_totals.false_reclaims, 0);
  int victim = -1;
  for (int i = 0; i < COUNT && victim < 0; i++)
    if (*state_at(~dropped[i]) & STATE_CONDEMNED) victim = i;
  *(uint64_t *)~dropped[victim] = 77777; /* the program still had it */
  cr_assert(collect());
  cr_expect_eq(report_totals.false_reclaims, 1);
  cr_assert(collect());
  cr_expect_eq(report_totals.false_reclaims, 1, "told once");
}

Test(checked_cycle, poison) {
  start_checked(CHECK_POISON);
  make_objects(100);
  cr_assert(collect());
  int poisoned = 0;
  for (int i = 0; i < COUNT; i++) poisoned += *(uint8_t *)~dropped[i] == 0xdb;
  cr_expect(poisoned >= COUNT * 99 / 100, "%d", poisoned);
  expect_kept();
}
