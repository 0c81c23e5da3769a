/* quarantine.c: free=quarantine: what was freed is not used again while a pointer to it is left, by
   whomever and however it was freed, and is used again soon after. Where the pointer may lie is
   for the suite roots (roots_quarantined). */
#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static void hold(const char *how, const char *size, const char *options) {
  struct command command = {.argv = {"dangling", how, size}, .options = options, .seconds = 60};
  struct run run = run_command(&command);
  expect_success(&run);
  cr_assert_str_eq(run.output, "held\n", "%s", run_describe(&run));
  expect_cycles(&run, 6);
  expect_few_skipped(&run, 10);
  run_discard(&run);
}

#define SMALL(how)                                                                                 \
  Test(quarantine, how, .timeout = 90) { hold(#how, "40", "free=quarantine"); }
#define EACH_SIZE(how)                                                                             \
  SMALL(how)                                                                                       \
  Test(quarantine, how##_of_a_page, .timeout = 90) { hold(#how, "4096", "free=quarantine"); }      \
  Test(quarantine, how##_of_a_large_one, .timeout = 90) { hold(#how, "300000", "free=quarantine"); }

EACH_SIZE(free)
EACH_SIZE(realloc)
EACH_SIZE(shrink)
SMALL(thread)
SMALL(handler)
SMALL(beside)
SMALL(aligned)
SMALL(chain)
SMALL(odd)

Test(quarantine, zeroed, .timeout = 90) { hold("free", "40", "free=quarantine,zero=on"); }
Test(quarantine, a_large_one_zeroed, .timeout = 90) {
  hold("free", "120000", "free=quarantine,zero=on");
}
Test(quarantine, an_emptied_one_zeroed, .timeout = 90) {
  hold("free", "300000", "free=quarantine,zero=on");
}
Test(quarantine, also_where_leaks_come_back, .timeout = 90) {
  hold("free", "4096", "free=quarantine,reclaim=on");
}
Test(quarantine, also_on_a_kernel_without_new_features, .timeout = 90) {
  hold("free", "40", "free=quarantine,kernel=baseline");
}

/* It can fail: where free() frees at once, the block comes again or is written to by others. */
Test(quarantine, lost_when_it_is_freed_at_once, .timeout = 90) {
  struct command command = {.argv = {"dangling", "free", "40"}, .options = "", .seconds = 60};
  struct run run = run_command(&command);
  cr_assert_eq(run.status >> 8, 1, "%s", run_describe(&run));
  run_discard(&run);
}

/* The program closes pages of live blocks: those beside them keep what they point to, and
   collections are completed. */
static void keep_beside_closed_pages(const char *size, const char *closed, const char *more) {
  char options[100];
  snprintf(options, sizeof options, "free=quarantine%s", more);
  struct command command = {
      .argv = {"closed_neighbours", size, closed}, .options = options, .seconds = 60};
  struct run run = run_command(&command);
  expect_success(&run);
  expect_cycles(&run, 5);
  expect_few_skipped(&run, 10);
  run_discard(&run);
}
Test(quarantine, beside_closed_pages, .timeout = 90) {
  keep_beside_closed_pages("12000", "4096", "");
  keep_beside_closed_pages("12000", "0", "");
}
Test(quarantine, beside_closed_pages_of_runs_that_end_within_a_page, .timeout = 90) {
  keep_beside_closed_pages("10000", "4096", ",markers=4");
  keep_beside_closed_pages("14000", "8192", ",kernel=baseline");
}
Test(quarantine, beside_closed_pages_of_large_ones, .timeout = 90) {
  keep_beside_closed_pages("40000", "4096", "");
}

/* What ends with a thread counts for the next collection. */
Test(quarantine, short_threads, .timeout = 90) {
  struct run run =
      run_program("free=quarantine,idle=0", 60, "short_threads", "20000", "14000", NULL);
  expect_success(&run);
  expect_cycles(&run, 20);
  cr_assert_lt(run.peak_kib, 64 << 10, "%s", run_describe(&run));
  run_discard(&run);
}

/* What was never freed stays. */
Test(quarantine, leaks_are_kept, .timeout = 90) {
  struct run run = run_program("free=quarantine,collect-every-ms=20", 60, "leak", "200", "1", NULL);
  expect_cycles(&run, 2);
  cr_assert_lt(run.cycles.reclaimed, 1 << 20, "%s", run_describe(&run));
  run_discard(&run);
}
