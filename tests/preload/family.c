/* family.c: the malloc family as programs see it: values, errno and alignment as glibc's, C++,
   allocation before main and after it, in handlers, and frees of what must not be freed. */
#include "harness.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static void same_as_plain(const char *options, const char *name) {
  struct command command = {.argv = {name}, .seconds = 60};
  struct run plain = run_command(&command);
  expect_success(&plain);
  command.options = options;
  struct run run = run_command(&command);
  expect_same_result(&plain, &run);
  expect_no_false_reclaim(&run);
  run_discard(&plain);
  run_discard(&run);
}

Test(family, values, .timeout = 60) { same_as_plain("", "family"); }
Test(family, values_while_collecting, .timeout = 90) {
  same_as_plain("collect-every-ms=2", "family");
}
Test(family, values_condemn, .timeout = 90) {
  same_as_plain("check=condemn,collect-every=500", "family");
}
Test(family, values_poison, .timeout = 90) {
  same_as_plain("check=poison,collect-every=500", "family");
}
Test(family, values_not_zeroing, .timeout = 60) { same_as_plain("zero=off", "family"); }
Test(family, values_with_canaries, .timeout = 90) {
  same_as_plain("canary=on,collect-every-ms=2", "family");
}
Test(family, values_without_cells_of_no_bytes, .timeout = 60) {
  same_as_plain("zero-size=fault,collect-every-ms=2", "family");
}
Test(family, values_without_collector, .timeout = 60) { same_as_plain("collect=off", "family"); }
Test(family, values_free_ignored, .timeout = 90) {
  /* What free gives back shows only after a collection: the figures on it may differ. */
  struct run run = run_collected("free=ignore", 60, "early_late", NULL);
  run_discard(&run);
}

/* What realloc outgrew is freed, and left as it is where free() does so. */
Test(family, outgrown, .timeout = 90) {
  const char *const options[] = {"free=ignore", "free=quarantine"};
  for (int i = 0; i < 2; i++) {
    struct run run = run_collected(options[i], 40, "outgrown", NULL);
    expect_cycles(&run, 6);
    run_discard(&run);
  }
}

Test(family, cxx, .timeout = 60) { same_as_plain("collect-every-ms=2", "cxx"); }
Test(family, cxx_condemn, .timeout = 60) {
  same_as_plain("check=condemn,collect-every=1000", "cxx");
}
Test(family, early_and_late, .timeout = 60) { same_as_plain("", "early_late"); }
Test(family, early_and_late_poison, .timeout = 60) { same_as_plain("check=poison", "early_late"); }

/* Plain malloc deadlocks or aborts in these: there is nothing to compare with. */
Test(family, in_signal_handlers, .timeout = 60) {
  struct run run = run_collected("collect-every-ms=3", 30, "handler_malloc", "3", NULL);
  expect_cycles(&run, 50);
  expect_few_skipped(&run, 5);
  run_discard(&run);
}

Test(family, in_signal_handlers_condemn, .timeout = 60) {
  struct run run =
      run_collected("check=condemn,collect-every=5000", 30, "handler_malloc", "2", NULL);
  expect_no_false_reclaim(&run);
  run_discard(&run);
}

static const char *const bad_kinds[] = {"double", "interior", "misaligned",
                                        "stack",  "static",   "large"};
enum { BAD_KINDS = sizeof bad_kinds / sizeof *bad_kinds };

Test(family, bad_frees_reported, .timeout = 60) {
  for (int i = 0; i < BAD_KINDS; i++) {
    struct run run = run_collected("errors=report", 20, "bad_free", bad_kinds[i], NULL);
    cr_assert_str_eq(run.output, "ran on\n", "%s", run_describe(&run));
    cr_assert(run.errors_size > 0, "%s: nothing reported%s", bad_kinds[i], run_describe(&run));
    run_discard(&run);
  }
}

Test(family, bad_frees_ignored, .timeout = 60) {
  for (int i = 0; i < BAD_KINDS; i++) {
    struct run run = run_collected("errors=ignore", 20, "bad_free", bad_kinds[i], NULL);
    cr_assert_str_eq(run.output, "ran on\n", "%s", run_describe(&run));
    cr_assert_eq(run.errors_size, 0, "%s", run_describe(&run));
    run_discard(&run);
  }
}

Test(family, bad_frees_abort, .timeout = 60) {
  for (int i = 0; i < BAD_KINDS; i++) {
    struct command command = {.argv = {"bad_free", bad_kinds[i]}, .options = "errors=abort"};
    struct run run = run_command(&command);
    cr_assert(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGABRT, "%s: %s", bad_kinds[i],
              run_describe(&run));
    cr_assert(run.errors_size > 0, "%s", run_describe(&run));
    run_discard(&run);
  }
}

static void leaf(const char *what, const char *options) {
  struct run run = run_collected(options, 60, "leaf", what, NULL);
  cr_assert_str_eq(run.output, "ran on\n", "%s", run_describe(&run));
  run_discard(&run);
}

Test(leaf, is_not_searched, .timeout = 90) { leaf("lost", ""); }
Test(leaf, is_not_searched_when_it_has_been_resized, .timeout = 90) { leaf("resized", ""); }
Test(leaf, lives_as_any_block, .timeout = 90) { leaf("kept", ""); }
Test(leaf, lives_as_any_block_under_ignore, .timeout = 90) { leaf("kept", "free=ignore"); }
Test(leaf, is_freed_once, .timeout = 90) { leaf("bad", "errors=ignore"); }

/* Not a word of them, and no crash, whoever made the block. */
static void silent(const char *options, const char *program, const char *name) {
  struct run run = run_collected(options, 30, program, name, NULL);
  cr_assert_eq(run.errors_size, 0, "%s", run_describe(&run));
  run_discard(&run);
}

Test(family, blocks_of_libc, .timeout = 60) {
  static const char *const options[] = {"", "collect=off", "errors=abort", "free=quarantine"};
  for (int i = 0; i < 4; i++) silent(options[i], "foreign", "libc-block");
}
Test(family, blocks_of_a_second_libc, .timeout = 60) {
  silent("", "foreign", "second-libc");
  silent("errors=abort", "foreign", "second-libc");
}
Test(family, programs_with_a_malloc_of_their_own, .timeout = 60) {
  silent("errors=abort", "own_malloc", NULL);
  silent("errors=abort", "part_malloc", NULL);
}

/* The condemn oracle can find: a pointer hidden by the program, and the block used after all. */
static void finds(const char *use) {
  struct run run = run_collected("check=condemn", 30, "hidden", use, NULL);
  expect_cycles(&run, 4);
  cr_assert_geq(run.cycles.false_reclaims, 7, "of 9 blocks%s", run_describe(&run));
  cr_assert_str_eq(run.output, "used\n", "the block must stay whole%s", run_describe(&run));
  run_discard(&run);
}

Test(oracle, finds_free, .timeout = 30) { finds("free"); }
Test(oracle, finds_realloc, .timeout = 30) { finds("realloc"); }
Test(oracle, finds_usable_size, .timeout = 30) { finds("usable"); }
Test(oracle, finds_write, .timeout = 30) { finds("write"); }
