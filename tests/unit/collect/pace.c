/* pace.c: when the next cycle is due, from the page heap's counts alone. Here the heap is filled
   with large objects, which are counted in whole pages; cells count too, in one test. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "collect/pace.h"
#include "mutator/quarantine.h"

static const size_t mib = MIB / HEAP_PAGE; /* pages in one */
static const uint64_t second = 1000000000;

static char stack[64 * 1024] __attribute__((aligned(16)));

/* So many pages are filled, and as many in use: no holes. */
static void fill_large(size_t pages) { page_heap_counts.large = pages * HEAP_PAGE / KERNEL_PAGE; }
static void fill(size_t pages) {
  page_heap_counts.used = pages;
  fill_large(pages);
}

static const struct port_groups no_groups = {"/nonexistent", "/nonexistent"};

static void start(void) {
  options_default(&options);
  pace_groups = &no_groups;
  options.growth = 100;
  page_heap_counts.cell_bytes = 0;
  fill(100 * mib);
  pace_init();
}

TestSuite(pace, .init = start, .timeout = 30);

static bool due_at(size_t pages) {
  fill(pages);
  return pace_cycle_due() && (pace.looked || pace_look_first(second, stack, sizeof stack));
}

/* A cycle that left so many MiB in use and found so many of them live. */
static void cycle(size_t used, size_t live, size_t reclaimed) {
  fill(used * mib);
  pace_look(7 * second, stack, sizeof stack);
  pace_done(page_heap_filled(), live * MIB, reclaimed * MIB, 0, 7 * second);
}

static void suspecting_cycle(size_t used, size_t live, size_t reclaimed, size_t suspect) {
  fill(used * mib);
  pace_look(7 * second, stack, sizeof stack);
  pace_done(page_heap_filled(), live * MIB, reclaimed * MIB, suspect * MIB, 7 * second);
}

/* So many MiB of heap pages, besides their tables. */
static void limit_to(size_t limit) {
  size_t page = HEAP_PAGE;
  while (!heap_pages_within(page)) page++;
  options.limit = limit * mib * page;
}

Test(pace, nothing_is_due_before_the_start) {
  pace = (struct pace){.due_pages = SIZE_MAX, .overdue_pages = SIZE_MAX, .limit_pages = SIZE_MAX};
  cr_expect(!due_at(SIZE_MAX / HEAP_PAGE));
}

Test(pace, the_first_cycle_is_due_after_32_MiB) {
  cr_expect(!due_at(103 * mib), "but groups are looked for");
  cr_expect(!due_at(132 * mib - 1));
  cr_expect(due_at(132 * mib));
}

Test(pace, growth_is_a_share_of_what_is_live) {
  cycle(210, 200, 50);
  cr_expect(!due_at(409 * mib));
  cr_expect(due_at(411 * mib));
  options.growth = 50;
  cycle(210, 200, 50);
  cr_expect(!due_at(309 * mib));
  cr_expect(due_at(311 * mib));
  options.growth = 1;
  cycle(210, 200, 50);
  cr_expect(!due_at(241 * mib), "at least 32 MiB");
  cr_expect(due_at(243 * mib));
}

Test(pace, a_small_heap_may_grow_by_32_MiB) {
  cycle(2, 1, 1);
  cr_expect(!due_at(34 * mib - 1));
  cr_expect(due_at(34 * mib));
}

/* A cycle of so many milliseconds, so many after the one before. */
static void dear_cycle(unsigned took, unsigned between) {
  pace.took = took * (second / 1000);
  pace.last = 7 * second - between * (second / 1000);
  cycle(2, 1, 1);
}

static void expect_due_at_pages(size_t pages) {
  cr_expect(!due_at(pages - 1), "%zu", pages);
  cr_expect(due_at(pages), "%zu", pages);
}
static void expect_due_at(size_t mebibytes) { expect_due_at_pages(mebibytes * mib); }

Test(pace, in_quarantine_a_small_heap_grows_as_cycles_cost) {
  options.free_policy = FREE_QUARANTINE;
  pace_init();
  dear_cycle(1, 1000);
  expect_due_at(2 + 3);
  dear_cycle(10, 25); /* four tenths of the time: half as much again, whatever it would take */
  expect_due_at_pages(2 * mib + 72);
  dear_cycle(10, 100);
  expect_due_at_pages(2 * mib + 72);
  dear_cycle(15, 100); /* half the way to half as much again */
  expect_due_at_pages(2 * mib + 90);
  for (int i = 0; i < 10; i++) dear_cycle(10, 10);
  expect_due_at(2 + 16);
  dear_cycle(10, 10);
  expect_due_at(2 + 16);
  dear_cycle(10, 2000);
  expect_due_at(2 + 12);
  for (int i = 0; i < 10; i++) dear_cycle(10, 2000);
  expect_due_at(2 + 3);
}

Test(pace, in_quarantine_a_large_heap_grows_as_cycles_cost_and_by_no_more_than_others) {
  options.free_policy = FREE_QUARANTINE;
  pace_init();
  pace.took = second / 10;
  for (int i = 0; i < 20; i++) {
    pace.last = 7 * second - second / 2;
    cycle(210, 200, 100);
  }
  cr_expect(!due_at(409 * mib));
  cr_expect(due_at(411 * mib));
  pace.last = 5 * second;
  cycle(210, 200, 100);
  cr_expect(!due_at(359 * mib), "three quarters of it");
  cr_expect(due_at(361 * mib));
}

static void start_quarantine(bool reclaim) {
  options.free_policy = FREE_QUARANTINE;
  options.reclaim = reclaim;
  pace_init();
  cr_expect(!due_at(102 * mib), "but groups are looked for");
}

static void freed(size_t mebibytes) { quarantine_bytes += mebibytes * MIB; }

Test(pace, in_quarantine_a_cycle_waits_until_enough_is_freed) {
  start_quarantine(false);
  cr_assert(due_at(103 * mib));
  cr_expect(pace_put_off(), "nothing was freed");
  expect_due_at(106);
  freed(2);
  size_t overdue = pace.overdue_pages;
  cr_expect(pace_put_off(), "of three MiB one is missing");
  expect_due_at(107);
  cr_expect(pace.overdue_pages > 107 * mib && pace.overdue_pages < overdue + 2 * mib);
  cr_expect(!pace_overdue());
  freed(1);
  cr_expect(!pace_put_off());
  cr_expect(due_at(107 * mib));
  pace_begin();
  freed(1); /* beside the sweep */
  cycle(104, 100, 3);
  cr_assert(due_at(200 * mib));
  cr_expect(pace_put_off(), "what was freed before is done with");
  freed(400);
  cr_expect(!pace_put_off());
}

/* The heap may be full of what was freed and not told, and limits are looked at in a cycle. */
Test(pace, in_quarantine_a_cycle_waits_no_longer_than_without) {
  start_quarantine(false);
  cr_assert(due_at(120 * mib));
  cr_expect(pace_put_off());
  cr_assert(due_at(131 * mib) && pace_put_off());
  cr_expect(!due_at(132 * mib - 1));
  cr_assert(due_at(132 * mib));
  cr_expect(!pace_put_off());
  cycle(200, 200, 0);
  cycle(200, 200, 0);
  cr_assert(due_at(300 * mib) && pace_put_off(), "nothing came back: the next is later");
  cr_assert(due_at(999 * mib) && !pace_put_off());
  options.growth = 50;
  freed(3);
  pace_begin();
  cycle(200, 200, 2);
  cr_assert(due_at(299 * mib) && pace_put_off());
  cr_assert(due_at(301 * mib));
  cr_expect(!pace_put_off(), "two of three MiB are worth it, whatever else is live");
}

Test(pace, what_was_freed_before_a_cycle_that_is_given_up_counts_for_the_next) {
  start_quarantine(false);
  freed(8);
  pace_begin();
  pace_skipped(second);
  cr_assert(due_at(115 * mib));
  cr_expect(!pace_put_off());
}

Test(pace, a_cycle_is_not_put_off_where_more_than_the_freed_may_come_back_or_the_limit_is_near) {
  start_quarantine(true);
  cr_assert(due_at(110 * mib));
  cr_expect(!pace_put_off());
  options.free_policy = FREE_IGNORE;
  cr_expect(!pace_put_off());
  options.reclaim = false;
  cr_expect(!pace_put_off());
  options.free_policy = FREE_QUARANTINE;
  cr_expect(pace_put_off());
  limit_to(210);
  pace_look(7 * second, stack, sizeof stack);
  cycle(200, 100, 3);
  cr_assert(due_at(209 * mib));
  cr_expect(!pace_put_off());
}

Test(pace, fruitless_cycles_become_rarer_up_to_eight_times) {
  static const size_t steps[] = {64, 128, 256, 256, 256};
  for (int i = 0; i < 5; i++) {
    cycle(100, 20, 0);
    cr_expect(!due_at((100 + steps[i]) * mib - 1), "cycle %d", i);
    cr_expect(due_at((100 + steps[i]) * mib), "cycle %d", i);
  }
  cycle(100, 20, 10);
  cr_expect(due_at(132 * mib), "until one is worth it");
}

Test(pace, a_large_heap_backs_off_no_further_than_to_twice_its_size) {
  options.growth = 50;
  for (int i = 0; i < 5; i++) {
    cycle(1000, 1000, 0);
    cr_expect(!due_at(1999 * mib), "cycle %d", i);
    cr_expect(due_at(2001 * mib), "cycle %d", i);
  }
  options.growth = 300;
  cycle(1000, 1000, 0);
  cr_expect(!due_at(3999 * mib), "what was asked for is kept");
  cr_expect(due_at(4001 * mib));
}

/* The program goes on while dead cells are swept. */
Test(pace, what_is_allocated_beside_the_sweep_is_growth) {
  options.growth = 50;
  pace_look(second, stack, sizeof stack);
  fill(260 * mib);
  pace_done(200 * mib, 200 * MIB, 50 * MIB, 0, 7 * second);
  cr_expect(!due_at(299 * mib));
  cr_expect(due_at(301 * mib));
  fill(400 * mib);
  pace_done(200 * mib, 200 * MIB, 50 * MIB, 0, 7 * second);
  cr_expect(!due_at(424 * mib), "a quarter of a step at least");
  cr_expect(due_at(426 * mib));
}

Test(pace, a_cycle_that_reclaims_a_hundredth_is_worth_it) {
  cycle(1000, 1000, 11);
  cr_expect_eq(pace.fruitless, 0);
  cycle(1000, 1000, 9);
  cr_expect_eq(pace.fruitless, 1);
}

/* A cycle takes back cells in pages that stay: the holes are filled without a page more, and count
   for the next cycle as they are filled. */
Test(pace, holes_that_are_filled_count_as_growth) {
  page_heap_counts.cell_bytes = 30 * MIB;
  page_heap_counts.large = 0;
  page_heap_counts.used = 200 * mib;
  pace_done(page_heap_filled(), 30 * MIB, 100 * MIB, 0, 7 * second);
  cr_expect(!pace_cycle_due());
  page_heap_counts.cell_bytes = 62 * MIB - 1;
  cr_expect(!pace_cycle_due());
  page_heap_counts.cell_bytes = 62 * MIB;
  cr_expect(pace_cycle_due(), "no page was taken, yet 32 MiB were");
}

Test(pace, what_waits_to_be_confirmed_brings_the_next_cycle_nearer) {
  suspecting_cycle(300, 200, 0, 80);
  cr_expect_eq(pace.fruitless, 0, "suspects are fruit");
  cr_expect(!due_at(419 * mib));
  cr_expect(due_at(421 * mib), "as if they were gone");
  suspecting_cycle(1000, 200, 0, 800);
  cr_expect(!due_at(1049 * mib));
  cr_expect(due_at(1051 * mib), "a quarter of a step at least");
}

Test(pace, a_leaking_program_levels_off) {
  for (unsigned confirm = 1; confirm <= 7; confirm++) {
    size_t live = 40, waiting[7] = {0}, used = live, peak = 0;
    pace_init();
    for (int turn = 0; turn < 1000; turn++) { /* it leaks a MiB at a time */
      used++;
      waiting[0]++;
      peak = size_max(peak, used);
      if (!due_at(used * mib)) continue;
      size_t dead = waiting[confirm - 1], suspect = 0;
      for (unsigned age = confirm - 1; age > 0; age--) waiting[age] = waiting[age - 1];
      for (unsigned age = 1; age < confirm; age++) suspect += waiting[age];
      waiting[0] = 0;
      used -= dead;
      suspecting_cycle(used, live, dead, suspect);
    }
    cr_expect_leq(peak, 140 + 40 + (confirm - 1) * 12, "confirm %u: %zu", confirm, peak);
  }
}

Test(pace, an_idle_program_confirms_what_it_suspects) {
  options.idle = 10;
  suspecting_cycle(100, 60, 0, 30);
  cr_expect(!pace_idle_due(16 * second));
  cr_expect(pace_idle_due(17 * second), "without having grown");
  suspecting_cycle(100, 60, 30, 0);
  cr_expect(!pace_idle_due(100 * second));
  fill(100 * mib);
  pace_done(page_heap_filled(), 60 * MIB, 0, 100 * KIB, 7 * second);
  cr_expect(!pace_idle_due(100 * second), "a few bytes are not worth a cycle");
}

Test(pace, near_the_limit_three_quarters_of_the_room_are_used) {
  limit_to(300);
  cycle(200, 100, 50);
  cr_expect(!due_at(275 * mib - 1));
  cr_expect(due_at(275 * mib));
  cr_expect(pace_near_limit());
  page_heap_counts.large = 0; /* the limit is on pages in use, be they full or not */
  cr_expect(pace_cycle_due());
  cr_expect(pace_near_limit());
}

/* Cells that died among others are filled again without a page being taken. */
Test(pace, near_the_limit_so_are_they_of_what_is_filled) {
  limit_to(300);
  fill_large(260 * mib);
  page_heap_counts.used = 296 * mib;
  pace_done(260 * mib, 240 * MIB, 50 * MIB, 0, 7 * second);
  fill_large(290 * mib - 1);
  cr_expect(!pace_cycle_due());
  fill_large(290 * mib);
  cr_expect(pace_cycle_due(), "although growth allows for much more");
  cr_expect(pace_near_limit());
}

Test(pace, growth_is_not_the_limit) {
  limit_to(1000);
  cycle(200, 100, 50);
  cr_expect(due_at(301 * mib));
  cr_expect(!pace_near_limit());
}

Test(pace, the_limit_is_on_the_heap_with_its_tables) {
  options.limit = 300 * MIB;
  cycle(200, 100, 50);
  cr_expect_lt(pace.most_pages, 300 * mib);
  cr_expect_gt(pace.most_pages, 300 * mib * 9 / 10);
  cr_expect_eq(page_heap_limit, pace.most_pages);
  cr_expect_eq(pace.limited_by, PACE_OPTION);
}

Test(pace, a_leak_stays_within_the_limit) {
  limit_to(300);
  for (size_t live = 20; live <= 260; live += 40) {
    size_t waiting = 0, before = 0, used = live, peak = 0;
    fill(used * mib);
    pace_init();
    for (int turn = 0; turn < 3000; turn++) { /* confirm=2, a MiB at a time */
      used++;
      waiting++;
      peak = size_max(peak, used);
      if (!due_at(used * mib)) continue;
      used -= before;
      suspecting_cycle(used, live, before, waiting);
      before = waiting;
      waiting = 0;
    }
    cr_expect_leq(peak, 315, "%zu MiB live: %zu", live, peak);
  }
}

Test(pace, beyond_the_limit_cycles_do_not_follow_each_other_without_pause) {
  limit_to(300);
  cycle(300, 8, 50);
  cr_expect(!due_at(300 * mib + 15));
  cr_expect(due_at(300 * mib + 16), "a MiB always");
  cycle(500, 8, 50);
  cr_expect(!due_at(500 * mib + 15));
  cr_expect(due_at(500 * mib + 16));
  cycle(500, 480, 50);
  cr_expect(!due_at(530 * mib - 1), "a sixteenth of what is live");
  cr_expect(due_at(530 * mib));
}

Test(pace, beyond_the_limit_fruitless_cycles_become_rarer) {
  static const size_t steps[] = {60, 120, 240, 240};
  limit_to(300);
  for (int i = 0; i < 4; i++) {
    cycle(500, 480, 0);
    cr_expect(!due_at((500 + steps[i]) * mib - 1), "cycle %d", i);
    cr_expect(due_at((500 + steps[i]) * mib), "cycle %d", i);
  }
  cycle(500, 480, 50);
  cr_expect(due_at(530 * mib), "until one is worth it");
}

Test(pace, below_the_limit_fruitless_cycles_do_not) {
  limit_to(300);
  for (int i = 0; i < 4; i++) {
    cycle(280, 270, 0);
    cr_expect(due_at(297 * mib), "cycle %d", i);
  }
}

/* Groups: a directory stands for /sys/fs/cgroup, and the process is in the root of it. */
static char mount[] = "/tmp/reclaim-groups-XXXXXX", list[sizeof mount + 8];
static struct port_groups groups = {list, mount};

static void write_file(const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", mount, name);
  FILE *file = fopen(path, "w");
  cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static void set_group(size_t limit, size_t current) {
  char text[32];
  snprintf(text, sizeof text, "%zu\n", limit * MIB);
  write_file("memory.max", text);
  snprintf(text, sizeof text, "%zu\n", current * MIB);
  write_file("memory.current", text);
}

static void start_in_group(void) {
  start();
  cr_assert(mkdtemp(mount) != NULL);
  snprintf(list, sizeof list, "%s/list", mount);
  write_file("list", "0::/\n");
  pace_groups = &groups;
}

static void remove_group(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -r '%s'", mount);
  cr_expect_eq(system(command), 0);
}

TestSuite(pace_group, .init = start_in_group, .fini = remove_group, .timeout = 30);

Test(pace_group, is_looked_at_before_the_first_cycle) {
  set_group(160, 120); /* 40 are left, of which 20 are for others */
  fill(102 * mib - 1);
  cr_expect(!pace_cycle_due());
  fill(102 * mib);
  cr_expect(pace_cycle_due());
  cr_expect(!pace_look_first(second, stack, sizeof stack), "known now, and not yet near");
  cr_expect_eq(pace.limited_by, PACE_GROUP);
  cr_expect_eq(pace.most_pages, 102 * mib + heap_pages_within(20 * MIB));
  cr_expect(!due_at(114 * mib));
  cr_expect(due_at(117 * mib));
  cr_expect(pace_near_limit());
}

Test(pace_group, without_a_limit_changes_nothing) {
  write_file("memory.max", "max\n");
  cr_expect(!due_at(102 * mib));
  cr_expect_eq(pace.limited_by, PACE_NO_LIMIT);
  cr_expect(!due_at(132 * mib - 1));
  cr_expect(due_at(132 * mib));
}

static void cycle_at(uint64_t now) {
  fill(100 * mib);
  pace_look(now, stack, sizeof stack);
  pace_done(100 * mib, 90 * MIB, 20 * MIB, 0, now);
}

Test(pace_group, may_change_its_limit) {
  cycle_at(7 * second);
  cr_expect_eq(pace.most_pages, SIZE_MAX);
  set_group(240, 200);
  cycle_at(7 * second + second / 2);
  cr_expect_eq(pace.most_pages, SIZE_MAX, "looked at half a second ago");
  cycle_at(9 * second);
  cr_expect_eq(pace.most_pages, 100 * mib + heap_pages_within(10 * MIB));
  set_group(480, 200);
  cycle_at(9 * second + 1);
  cr_expect_eq(pace.most_pages, 100 * mib + heap_pages_within(220 * MIB), "at once, where one is");
}

static void *sleep_on(void *unused) {
  for (;;) pause();
  return unused;
}

/* The files are opened by another process, and no descriptor of ours is ever seen. */
Test(pace_group, is_looked_at_beside_threads) {
  pthread_t thread;
  cr_assert_eq(pthread_create(&thread, NULL, sleep_on, NULL), 0);
  set_group(240, 200);
  cycle_at(7 * second);
  cr_expect_eq(pace.most_pages, 100 * mib + heap_pages_within(10 * MIB));
}

Test(pace_group, is_the_limit_where_it_is_the_lesser) {
  set_group(240, 200);
  limit_to(105);
  cycle(100, 90, 20);
  cr_expect_eq(pace.limited_by, PACE_OPTION);
  cr_expect_eq(pace.most_pages, 105 * mib);
  limit_to(200);
  cycle(100, 90, 20);
  cr_expect_eq(pace.limited_by, PACE_GROUP);
}

/* Where the kernel would end the program the back-off must not outlast what is left. */
Test(pace_group, is_not_overrun_by_fruitless_cycles) {
  for (int i = 0; i < 5; i++) {
    set_group(1000, 980);
    cycle(900, 890, 0);
    cr_expect(due_at(910 * mib), "cycle %d", i);
  }
}

Test(pace, a_far_limit_changes_nothing) {
  limit_to(4096);
  cycle(200, 200, 50);
  cr_expect(!due_at(399 * mib));
  cr_expect(due_at(401 * mib));
}

Test(pace, threads_wait_when_the_heap_outgrows_the_cycle_by_a_quarter) {
  cycle(100, 100, 50);
  cr_expect_eq(pace.overdue_pages - pace.due_pages, (pace.due_pages - 100 * mib) / 4);
  fill(pace.overdue_pages - 1);
  cr_expect(!pace_overdue());
  fill(pace.overdue_pages);
  cr_expect(pace_overdue());
}

Test(pace, a_skipped_cycle_is_tried_again_soon) {
  cycle(200, 200, 50);
  fill(400 * mib);
  pace_skipped(9 * second);
  cr_expect(!due_at(408 * mib - 1));
  cr_expect(due_at(408 * mib));
  cr_expect_eq(pace.last, 9 * second);
}

Test(pace, idle_means_grown_and_long_ago) {
  options.idle = 10;
  cycle(100, 100, 50);
  fill(102 * mib);
  cr_expect(!pace_idle_due(16 * second));
  cr_expect(pace_idle_due(17 * second));
  fill(100 * mib);
  cr_expect(!pace_idle_due(100 * second), "it did not grow");
  fill(102 * mib);
  options.idle = 0;
  cr_expect(!pace_idle_due(1000000 * second));
}

/* The clock began when the machine did. */
Test(pace, a_program_that_has_just_begun_is_not_idle) {
  options.idle = 10;
  fill(102 * mib);
  cr_expect(!pace_idle_due(500000 * second));
  cr_expect(!pace_idle_due(500009 * second));
  cr_expect(pace_idle_due(500010 * second));
}

Test(pace, large_numbers_do_not_overflow) {
  options.growth = 100000;
  fill((size_t)1 << 23); /* 512 GiB */
  pace_done(page_heap_filled(), (size_t)512 << 30, 0, 0, second);
  cr_expect(pace.due_pages > (size_t)1 << 23);
  cr_expect(pace.overdue_pages > pace.due_pages);
  cr_expect(!pace_cycle_due());
}

Test(pace, a_fork_child_begins_anew) {
  cycle(100, 20, 0);
  cycle(100, 20, 0);
  pace_init();
  cr_expect_eq(pace.fruitless, 0);
  cr_expect(due_at(132 * mib));
}

Test(pace, much_was_freed_in_pages_of_others) {
  options.idle = 10;
  pace.last = 1000;
  pace.took = 100;
  cr_expect(!pace_idle_due(1000 + 60 * 100));
  mutator_pages_emptied = true;
  cr_expect(!pace_idle_due(1000 + 40 * 100), "too soon for what it costs");
  cr_expect(pace_idle_due(1000 + 60 * 100));
  pace.took_pages = 100;
  fill(50);
  cr_expect(pace_idle_due(1000 + 40 * 100), "half as much is left: half the time");
  cr_expect(!pace_idle_due(1000 + 20 * 100));
  options.idle = 0;
  cr_expect(!pace_idle_due(1000 + 60 * 100), "never");
}
