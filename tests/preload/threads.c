/* threads.c: threads that allocate, end and free each other's blocks while collections run as fast
   as they go, and the allocator interrupted at every instruction. The time of the churn is 10
   seconds a run; RECLAIM_SOAK_SECONDS sets another (make soak: 60, with 10,000 threads). */
#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

ONE_TEST_AT_A_TIME

static void churn(const char *options, unsigned least, const char *grows) {
  const char *seconds = getenv("RECLAIM_SOAK_SECONDS");
  bool alone = seconds != NULL && *seconds != '\0';
  if (!alone) seconds = "10";
  /* Beside other tests, or under the oracle, which is slow, there are not as many threads. */
  const char *shares = alone && grows == NULL ? NULL : "shares";
  unsigned length = (unsigned)atoi(seconds);
  struct run run =
      run_collected(options, 3 * length + 30, "churn", seconds, "8", shares, grows, NULL);
  fprintf(stderr,
          "churn %s %s: %u cycles, %u skipped (%s), longest pause %.1f ms, peak %ld KiB\n%s",
          seconds, options, run.cycles.done, run.cycles.skipped, run.cycles.reasons,
          run.cycles.longest_pause, run.peak_kib, run.errors);
  expect_no_false_reclaim(&run);
  expect_cycles(&run, least * length);
  expect_few_skipped(&run, 5);
  run_discard(&run);
}

Test(threads, churn, .timeout = 300) { churn("collect-every-ms=1", 5, NULL); }
Test(threads, churn_baseline, .timeout = 300) {
  churn("collect-every-ms=1,kernel=baseline", 5, NULL);
}
Test(threads, churn_condemn, .timeout = 300) {
  churn("check=condemn,collect-every-ms=2", 3, "grows");
}

/* Destructors of thread keys, those that we know of and those that we do not. */
static void late_keys(const char *how, const char *options) {
  struct run run = run_collected(options, 60, "late_keys", how, NULL);
  expect_no_false_reclaim(&run);
  expect_cycles(&run, 100);
  run_discard(&run);
}

Test(threads, late_keys, .timeout = 120) { late_keys(NULL, "confirm=1"); }
Test(threads, late_keys_condemn, .timeout = 120) { late_keys(NULL, "check=condemn"); }
Test(threads, late_keys_unseen, .timeout = 120) { late_keys("unseen", "confirm=1"); }
Test(threads, late_keys_unseen_condemn, .timeout = 120) { late_keys("unseen", "check=condemn"); }

/* At its own pace. */
Test(threads, churn_default, .timeout = 300) { churn("", 0, NULL); }

/* Held at every instruction of malloc, free and realloc. */
static void step(const char *how, const char *rounds) {
  struct run run = run_collected("", 100, "step", how, rounds, NULL);
  fprintf(stderr, "step %s: %s", how, run.errors);
  run_discard(&run);
}

Test(threads, handler_at_every_instruction, .timeout = 120) { step("handler", "1500"); }
Test(threads, jump_at_every_instruction, .timeout = 120) { step("jump", "3000"); }
Test(threads, collection_at_every_instruction, .timeout = 120) { step("collect", "800"); }
