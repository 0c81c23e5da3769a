/* programs.h: real, unmodified programs give under the library the output they give without it.

   Each program runs on data made on the spot, in four ways: reclaiming with a collection every few
   milliseconds, then with the fallbacks for older kernels and three threads that mark, and both
   again under the condemn oracle with a collection every so many allocations. A run passes when
   output and exit status equal those under plain malloc, when at least 20 cycles went through
   sweep, when fewer than 5 % of those started were given up, and when the oracle is silent. Child
   processes are under the library too: the figures are sums over the whole tree of processes. Where
   a shell script does the steps, the shell's own cycles do not count towards the 20; where it
   starts servers, each of the processes that it names in the file "served" must make the 20 alone.
 */
#ifndef TESTS_PROGRAMS_H
#define TESTS_PROGRAMS_H

#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { LEAST_CYCLES = 20, MOST_SKIPPED_PERCENT = 5 };

/* How to run it; after how many allocations of a process the condemn oracle collects, and after how
   many milliseconds the reclaiming run does: chosen so that each sees some tens to hundreds of
   cycles. */
struct program {
  const char *name;
  struct command command;
  unsigned every;
  unsigned pace; /* 0: 5 */
  bool script;   /* the first process is but a shell */
  bool server;   /* the script names processes in the file "served" */
};

static inline unsigned cycles_that_count(const struct program *program, const struct run *run) {
  const struct cycle_totals *c = &run->cycles;
  return program->server ? c->least_served : program->script ? c->below : c->done;
}

static inline void hold_as(const struct program *program, const struct run *plain, bool condemn,
                           bool baseline) {
  struct command command = program->command;
  char options[200];
  if (condemn)
    snprintf(options, sizeof options, "check=condemn,collect-every=%u%s", program->every,
             baseline ? ",kernel=baseline,markers=3,mark-order=pages" : "");
  else
    snprintf(options, sizeof options, "collect-every-ms=%u%s", program->pace ? program->pace : 5,
             baseline ? ",kernel=baseline,markers=3,mark-order=pages" : "");
  command.options = options;
  command.seconds = 80;
  struct run run = run_command(&command);
  const struct cycle_totals *c = &run.cycles;
  unsigned counted = cycles_that_count(program, &run);
  fprintf(stderr,
          "%-13s %-7s %-8s %5u cycles, %5u counted, %u skipped (%s), longest pause %.1f ms, "
          "%.1f s of %.1f s plain\n",
          program->name, condemn ? "condemn" : "reclaim", baseline ? "baseline" : "", c->done,
          counted, c->skipped, c->reasons, c->longest_pause, run.seconds, plain->seconds);
  expect_no_false_reclaim(&run); /* first: it says most about a run that went wrong */
  expect_same_result(plain, &run);
  cr_assert_geq(counted, LEAST_CYCLES, "%u cycles completed%s", counted, run_describe(&run));
  expect_few_skipped(&run, MOST_SKIPPED_PERCENT);
  run_discard(&run);
}

static inline void hold(const struct program *program, bool condemn) {
  struct run plain = run_command(&program->command);
  expect_success(&plain);
  hold_as(program, &plain, condemn, false);
  hold_as(program, &plain, condemn, true);
  run_discard(&plain);
}

/* Where free() does not free: the same output, and memory that is bounded although nothing that is
   freed serves again before a collection. */
static inline void hold_policy(const struct program *program, const char *policy) {
  enum { TIMES = 3, MORE_KIB = 80 << 10 /* the least growth, and what is made beside a sweep */ };
  struct command command = program->command;
  struct run plain = run_command(&command);
  expect_success(&plain);
  char options[200];
  snprintf(options, sizeof options, "free=%s,collect-every-ms=%u", policy,
           program->pace ? program->pace : 5);
  command.options = options;
  command.seconds = 80;
  struct run run = run_command(&command);
  unsigned counted = cycles_that_count(program, &run);
  fprintf(stderr, "%-13s %-10s %5u cycles, %llu MB reclaimed, %ld of %ld MB plain\n", program->name,
          policy, counted, run.cycles.reclaimed >> 20, run.peak_kib >> 10, plain.peak_kib >> 10);
  expect_same_result(&plain, &run);
  cr_assert_geq(counted, LEAST_CYCLES, "%u cycles completed%s", counted, run_describe(&run));
  expect_few_skipped(&run, MOST_SKIPPED_PERCENT);
  cr_assert_gt(run.cycles.reclaimed, 0, "%s", run_describe(&run));
  cr_assert_leq(run.peak_kib, plain.peak_kib * TIMES + MORE_KIB, "%ld KiB plain%s", plain.peak_kib,
                run_describe(&run));
  run_discard(&run);
  run_discard(&plain);
}

#define POLICIES(identifier)                                                                       \
  Test(identifier, quarantine, .timeout = 200) {                                                   \
    hold_policy(&program_##identifier, "quarantine");                                              \
  }                                                                                                \
  Test(identifier, ignore, .timeout = 200) { hold_policy(&program_##identifier, "ignore"); }

#define PROGRAM(identifier, allocations, ...)                                                      \
  static const struct program program_##identifier = {                                             \
      .name = #identifier, .every = allocations, __VA_ARGS__};                                     \
  Test(identifier, reclaim, .timeout = 250) { hold(&program_##identifier, false); }                \
  Test(identifier, condemn, .timeout = 250) { hold(&program_##identifier, true); }

#define RUN(...) .command.argv = {__VA_ARGS__}
#define WITH(...) .command.environment = {__VA_ARGS__}
#define SCRIPT(file) .script = true, .command.argv = {"sh", "@INPUTS@/" file}

#endif
