/* leaks.c: what a program forgets comes back.

   8 GiB (2 as on older kernels) leaked in blocks of 16 bytes to 1 MiB must fit into 256 MiB; what
   is freed costs hardly a collection. Then the injector: a fifth of all calls of free is dropped
   (the seed is fixed), in programs whose steady state is known. Their memory must stay within twice
   what they need under plain malloc, and at least nine tenths of what was dropped must have come
   back by the last cycle. The last tenth is what a conservative scan may keep: the last cycle lies
   up to 100 ms before the end, and words that look like pointers hold some blocks.

   And a day of a server's churn in a few seconds (make churn takes longer): its memory levels off.
 */
#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

ONE_TEST_AT_A_TIME

enum { MOST_KIB = 256 * 1024 };

static void leak(const char *options, const char *mib, const char *threads) {
  struct run run = run_collected(options, 170, "leak", mib, threads, NULL);
  fprintf(stderr, "leak %s %s %s: peak %ld KiB, %u cycles, %.1f s\n", mib, threads, options,
          run.peak_kib, run.cycles.done, run.seconds);
  cr_assert_lt(run.peak_kib, MOST_KIB, "%s", run_describe(&run));
  cr_assert_gt(run.cycles.reclaimed, strtoull(mib, NULL, 10) * 7 / 8 << 20, "%s",
               run_describe(&run));
  expect_few_skipped(&run, 5);
  run_discard(&run);
}

Test(leaks, one_thread, .timeout = 180) { leak("", "8192", "1"); }
Test(leaks, eight_threads, .timeout = 180) { leak("", "8192", "8"); }
Test(leaks, one_thread_baseline, .timeout = 180) { leak("kernel=baseline", "2048", "1"); }
Test(leaks, eight_threads_baseline, .timeout = 180) { leak("kernel=baseline", "2048", "8"); }

/* The measure itself: under plain malloc, and without reclaiming, the memory is really needed. */
Test(leaks, grow_without, .timeout = 120) {
  struct run plain = run_program("collect=off", 60, "leak", "1024", "2", NULL);
  cr_assert_gt(plain.peak_kib, 1000 * 1024, "%s", run_describe(&plain));
  run_discard(&plain);
}

static void freed(const char *threads) {
  struct run run = run_collected("", 60, "leak", "8192", threads, "free", NULL);
  fprintf(stderr, "freed 8192 %s: peak %ld KiB, %u cycles, %.1f s\n", threads, run.peak_kib,
          run.cycles.done, run.seconds);
  cr_assert_leq(run.cycles.done + run.cycles.skipped, 5, "%s", run_describe(&run));
  cr_assert_lt(run.peak_kib, MOST_KIB, "%s", run_describe(&run));
  run_discard(&run);
}

Test(leaks, freed_by_one_thread, .timeout = 120) { freed("1"); }
Test(leaks, freed_by_eight_threads, .timeout = 120) { freed("8"); }

/* The injector */

static void inject(struct command command) {
  command.seconds = 150;
  struct run plain = run_command(&command);
  expect_success(&plain);

  command.options = "drop-free=20,collect-every-ms=100";
  struct run run = run_command(&command);
  expect_same_result(&plain, &run);
  const struct cycle_totals *c = &run.cycles;
  double share = c->dropped ? 100.0 * (double)c->recovered / (double)c->dropped : 0;

  command.options = "drop-free=20,collect=off";
  struct run off = run_command(&command);
  expect_same_result(&plain, &off);
  fprintf(stderr,
          "%s %s: plain %ld KiB, injected %ld KiB in %u cycles, not collected %ld KiB; "
          "dropped %llu, recovered %llu (%.1f %%)\n",
          command.argv[0], command.argv[1], plain.peak_kib, run.peak_kib, c->done, off.peak_kib,
          c->dropped, c->recovered, share);
  cr_assert_gt(c->dropped, 10000, "%s", run_describe(&run));
  cr_assert_geq(share, 90.0, "%.1f %% recovered%s", share, run_describe(&run));
  cr_assert_leq(run.peak_kib, 2 * plain.peak_kib, "plain %ld KiB%s", plain.peak_kib,
                run_describe(&run));
  cr_assert_gt(off.peak_kib, 4 * plain.peak_kib, "plain %ld KiB%s", plain.peak_kib,
               run_describe(&off));
  run_discard(&plain);
  run_discard(&run);
  run_discard(&off);
}

Test(injector, lua, .timeout = 460) {
  inject((struct command){.argv = {"lua5.4", "@INPUTS@/steady.lua"}});
}

Test(injector, sqlite, .timeout = 460) {
  inject((struct command){.argv = {"sh", "@INPUTS@/steady-sqlite.sh"}});
}

Test(injector, redis, .timeout = 460) {
  inject((struct command){.argv = {"sh", "@INPUTS@/steady-redis.sh"}});
}

/* A day of a server */

static struct run serve(const char *options) {
  struct command command = {
      .argv = {"server_day", "6000", "leak=20", "slots=512"}, .options = options, .seconds = 100};
  return run_command(&command);
}

Test(server_day, levels_off, .timeout = 120) {
  struct run run = serve("");
  fprintf(stderr, "%s%.1f s\n", run.errors, run.seconds);
  expect_success(&run);
  expect_cycles(&run, 20);
  expect_few_skipped(&run, 5);
  run_discard(&run);
}

/* The measure itself: what is forgotten shows where nothing is collected. */
Test(server_day, grows_without, .timeout = 120) {
  struct run run = serve("collect=off");
  cr_assert(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 1, "%s", run_describe(&run));
  cr_assert_not_null(strstr(run.errors, "resident memory grew"), "%s", run_describe(&run));
  run_discard(&run);
}
