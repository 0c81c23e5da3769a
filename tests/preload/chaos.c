/* chaos.c: eight threads that do everything at once that is hard on a collector (programs/chaos.c),
   under collections as fast as they go. Nothing is lost, nothing hangs, leaks come back. Eight
   seconds a run, and another seed each; RECLAIM_SOAK_SECONDS sets another length (make soak).

   A failure names its seed. By hand, in a directory of one's own that all may enter:
     RECLAIM=collect-every-ms=1 LD_PRELOAD=.../libreclaim.so .../chaos 10 SEED [-NAME...] [+NAME...]
   A process that stands still shows its stacks by gdb before it is ended; CHAOS_DEBUGGER=COMMAND
   runs `COMMAND PID` instead. */
#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ONE_TEST_AT_A_TIME

/* At least five cycles a second: ten and more are usual on one of two busy cores. A thread that
   waits for a vfork child, or for a core, is given up after 50 or 400 ms: that happens. */
enum { CYCLES_A_SECOND = 5, SKIPPED_PERCENT = 5 };

static void chaos(const char *options, const char *seed, const char *grows) {
  const char *seconds = getenv("RECLAIM_SOAK_SECONDS");
  if (seconds == NULL || *seconds == '\0') seconds = "8";
  unsigned length = (unsigned)atoi(seconds);
  struct run run = run_collected(options, 3 * length + 100, "chaos", seconds, seed, grows, NULL);
  fprintf(
      stderr,
      "chaos %s %s: %u cycles, %u in %u other processes, %u skipped (%s), longest pause %.1f ms, "
      "peak %ld KiB\n%s",
      seconds, options, run.cycles.done, run.cycles.below, run.cycles.processes - 1,
      run.cycles.skipped, run.cycles.reasons, run.cycles.longest_pause, run.peak_kib, run.errors);
  expect_no_false_reclaim(&run);
  cr_assert(!strstr(run.errors, "reclaim: "), "something was reported%s", run_describe(&run));
  cr_assert_geq(run.cycles.done - run.cycles.below, CYCLES_A_SECOND * length,
                "too few cycles in the program itself%s", run_describe(&run));
  expect_few_skipped(&run, SKIPPED_PERCENT);
  run_discard(&run);
}

Test(chaos, reclaiming, .timeout = 1200) { chaos("collect-every-ms=1", "1", NULL); }
Test(chaos, condemn, .timeout = 1200) { chaos("collect-every-ms=1,check=condemn", "2", "grows"); }
Test(chaos, poison, .timeout = 1200) { chaos("collect-every-ms=1,check=poison", "3", NULL); }
Test(chaos, helpers, .timeout = 1200) { chaos("collect-every-ms=1,markers=4", "6", NULL); }
Test(chaos, quarantine, .timeout = 1200) {
  chaos("collect-every-ms=1,free=quarantine,markers=4", "9", NULL);
}
Test(chaos, baseline, .timeout = 1200) {
  chaos("collect-every-ms=1,kernel=baseline,mark-order=pages", "4", NULL);
}

Test(chaos, hardened, .timeout = 1200) {
  chaos("collect-every-ms=1,canary=on,guard=on,zero-size=fault,random=on", "7", NULL);
}
Test(chaos, hardened_quarantine, .timeout = 1200) {
  chaos("collect-every-ms=1,canary=on,guard=on,freed=fault,zero-size=fault,random=on,"
        "free=quarantine,reclaim=on,mark-order=pages,markers=4",
        "8", NULL);
}

/* It can fail: blocks get lost as soon as the mappings are not scanned. */
Test(chaos, notices_lost_blocks, .timeout = 120) {
  struct command command = {.argv = {"chaos", "5", "5"},
                            .options = "collect-every-ms=1",
                            .without = "mappings",
                            .seconds = 60};
  struct run run = run_command(&command);
  cr_assert(run.timed_out || run.status != 0, "nothing was noticed%s", run_describe(&run));
  run_discard(&run);
}
