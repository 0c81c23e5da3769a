/* programs.c: real, unmodified programs give under the library the output they give without it.

   Each program runs on data made on the spot, in four ways: reclaiming with a collection every few
   milliseconds, under the condemn oracle with a collection every so many allocations, and both
   again with the fallbacks for older kernels. A run passes when output and exit status equal those
   under plain malloc, when at least 20 cycles went through sweep, when fewer than 5 % of those
   started were given up, and when the oracle is silent. Child processes are under the library
   too: the figures are sums over the whole tree of processes. Where a shell script does the steps,
   the shell's own cycles do not count towards the 20. */
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
  bool server;   /* one process below the shell must make the 20 cycles alone */
};

static void hold(const struct program *program, bool condemn, bool baseline) {
  struct command command = program->command;
  char options[200];
  struct run plain = run_command(&command);
  expect_success(&plain);

  if (condemn)
    snprintf(options, sizeof options, "check=condemn,collect-every=%u%s", program->every,
             baseline ? ",kernel=baseline" : "");
  else
    snprintf(options, sizeof options, "collect-every-ms=%u%s", program->pace ? program->pace : 5,
             baseline ? ",kernel=baseline" : "");
  command.options = options;
  command.seconds = 80;
  struct run run = run_command(&command);
  const struct cycle_totals *c = &run.cycles;
  unsigned counted = program->server ? c->most_below : program->script ? c->below : c->done;
  fprintf(stderr,
          "%-13s %-7s %-8s %5u cycles, %5u counted, %u skipped (%s), longest pause %.1f ms, "
          "%.1f s of %.1f s plain\n",
          program->name, condemn ? "condemn" : "reclaim", baseline ? "baseline" : "", c->done,
          counted, c->skipped, c->reasons, c->longest_pause, run.seconds, plain.seconds);
  expect_no_false_reclaim(&run); /* first: it says most about a run that went wrong */
  expect_same_result(&plain, &run);
  cr_assert_geq(counted, LEAST_CYCLES, "%u cycles completed%s", counted, run_describe(&run));
  expect_few_skipped(&run, MOST_SKIPPED_PERCENT);
  run_discard(&plain);
  run_discard(&run);
}

#define PROGRAM(identifier, allocations, ...)                                                      \
  static const struct program program_##identifier = {                                             \
      .name = #identifier, .every = allocations, __VA_ARGS__};                                     \
  Test(identifier, reclaim, .timeout = 150) { hold(&program_##identifier, false, false); }         \
  Test(identifier, condemn, .timeout = 150) { hold(&program_##identifier, true, false); }          \
  Test(identifier, reclaim_baseline, .timeout = 150) { hold(&program_##identifier, false, true); } \
  Test(identifier, condemn_baseline, .timeout = 150) { hold(&program_##identifier, true, true); }

#define RUN(...) .command.argv = {__VA_ARGS__}
#define WITH(...) .command.environment = {__VA_ARGS__}
#define SCRIPT(file) .script = true, .command.argv = {"sh", "@INPUTS@/" file}

PROGRAM(python, 400, RUN("/usr/bin/python3", "@INPUTS@/work.py"), WITH("PYTHONHASHSEED=0"))
PROGRAM(python_malloc, 20000, RUN("/usr/bin/python3", "@INPUTS@/work.py"),
        WITH("PYTHONHASHSEED=0", "PYTHONMALLOC=malloc"))
PROGRAM(perl, 5000, RUN("perl", "@INPUTS@/work.pl"), WITH("PERL_HASH_SEED=0"), .pace = 10)
PROGRAM(ruby, 5000, RUN("ruby", "@INPUTS@/work.rb"), .pace = 3)
PROGRAM(php, 200, RUN("php", "-d", "memory_limit=1G", "@INPUTS@/work.php"))
PROGRAM(php_malloc, 20000, RUN("php", "-d", "memory_limit=1G", "@INPUTS@/work.php"),
        WITH("USE_ZEND_ALLOC=0"))
PROGRAM(lua, 15000, RUN("lua5.4", "@INPUTS@/work.lua"))
PROGRAM(sqlite, 5000, RUN("sqlite3"), .command.input = "work.sql", .pace = 2)
PROGRAM(gawk, 10000, RUN("gawk", "-f", "@INPUTS@/work.awk"), .pace = 3)
PROGRAM(rrdtool, 500, SCRIPT("rrdtool.sh"), .pace = 2)
PROGRAM(redis, 5000, SCRIPT("redis.sh"), .server = true)
PROGRAM(git, 1000, SCRIPT("git.sh"))
PROGRAM(gcc, 8000, SCRIPT("gcc.sh"))
PROGRAM(xz, 200, SCRIPT("xz.sh"))
PROGRAM(jq, 20000, SCRIPT("jq.sh"))
PROGRAM(curl, 300, SCRIPT("curl.sh"))
