/* pace.c: when the next cycle is due, from the page heap's counts alone. */
#include "tests/unit/unit.h"

#include "collect/pace.h"

static const size_t mib = MIB / HEAP_PAGE; /* pages in one */
static const uint64_t second = 1000000000;

static void start(void) {
  options_default(&options);
  page_heap_counts.used = 100 * mib;
  pace_init();
}

TestSuite(pace, .init = start, .timeout = 30);

static bool due_at(size_t pages) {
  page_heap_counts.used = pages;
  return pace_cycle_due();
}

/* A cycle that left so many MiB in use and found so many of them live. */
static void cycle(size_t used, size_t live, size_t reclaimed) {
  page_heap_counts.used = used * mib;
  pace_done(live * MIB, reclaimed * MIB, 7 * second);
}

Test(pace, nothing_is_due_before_the_start) {
  pace = (struct pace){.due_pages = SIZE_MAX, .overdue_pages = SIZE_MAX};
  cr_expect(!due_at(SIZE_MAX / HEAP_PAGE));
}

Test(pace, the_first_cycle_is_due_after_32_MiB) {
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

Test(pace, a_cycle_that_reclaims_a_hundredth_is_worth_it) {
  cycle(1000, 1000, 11);
  cr_expect_eq(pace.fruitless, 0);
  cycle(1000, 1000, 9);
  cr_expect_eq(pace.fruitless, 1);
}

Test(pace, near_the_limit_three_quarters_of_the_room_are_used) {
  options.limit = 300 * MIB;
  cycle(200, 200, 50);
  cr_expect(!due_at(275 * mib - 1));
  cr_expect(due_at(275 * mib));
  cycle(299, 299, 50);
  cr_expect(!due_at(299 * mib + 15));
  cr_expect(due_at(299 * mib + 16), "a little room always");
  cycle(500, 500, 50);
  cr_expect(!due_at(500 * mib), "beyond it, cycles do not follow each other without pause");
  cr_expect(due_at(500 * mib + 16));
}

Test(pace, a_far_limit_changes_nothing) {
  options.limit = 4096 * MIB;
  cycle(200, 200, 50);
  cr_expect(!due_at(399 * mib));
  cr_expect(due_at(401 * mib));
}

Test(pace, threads_wait_when_the_heap_outgrows_the_cycle_by_half) {
  cycle(100, 100, 50);
  cr_expect_eq(pace.overdue_pages - pace.due_pages, (pace.due_pages - 100 * mib) / 4);
  page_heap_counts.used = pace.overdue_pages - 1;
  cr_expect(!pace_overdue());
  page_heap_counts.used++;
  cr_expect(pace_overdue());
}

Test(pace, a_skipped_cycle_is_tried_again_soon) {
  cycle(200, 200, 50);
  page_heap_counts.used = 400 * mib;
  pace_skipped(9 * second);
  cr_expect(!due_at(408 * mib - 1));
  cr_expect(due_at(408 * mib));
  cr_expect_eq(pace.last, 9 * second);
}

Test(pace, idle_means_grown_and_long_ago) {
  options.idle = 10;
  cycle(100, 100, 50);
  page_heap_counts.used = 102 * mib;
  cr_expect(!pace_idle_due(16 * second));
  cr_expect(pace_idle_due(17 * second));
  page_heap_counts.used = 100 * mib;
  cr_expect(!pace_idle_due(100 * second), "it did not grow");
  page_heap_counts.used = 102 * mib;
  options.idle = 0;
  cr_expect(!pace_idle_due(1000000 * second));
}

Test(pace, large_numbers_do_not_overflow) {
  options.growth = 100000;
  page_heap_counts.used = (size_t)1 << 23; /* 512 GiB */
  pace_done((size_t)512 << 30, 0, second);
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
