/* conditions.c: where a collector's usual means are missing the program runs, collections go on
   where they can, and the log says what was given up. */
#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* Options: a bare preload says in one line what is wrong, with the option and the text given, and
   runs on with the default. */
static const char *const wrong[][2] = {
    {"grwoth=50", "grwoth"},
    {"markers=17", "markers"},
    {"growth=many", "growth"},
    {"growth=-5", "growth"},
    {"growth=", "growth"},
    {"free=perhaps", "free"},
    {"collect=maybe", "collect"},
    {"stride=3", "stride"},
    {"kernel=2.4", "kernel"},
    {"limit=12parsecs", "limit"},
    {"drop-free=200", "drop-free"},
    {"growth", "growth"},
    {"=5", "option"},
    {"growth=99999999999999999999999", "growth"},
};

Test(conditions, wrong_options, .timeout = 120) {
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct command command = {.argv = {"early_late"}};
    struct run plain = run_command(&command);
    command.options = wrong[i][0];
    struct run run = run_command(&command);
    expect_same_result(&plain, &run);
    unsigned lines = 0;
    for (const char *p = run.errors; *p; p++) lines += *p == '\n';
    cr_assert_eq(lines, 1, "%s: %u lines on standard error%s", wrong[i][0], lines,
                 run_describe(&run));
    cr_assert(strstr(run.errors, wrong[i][1]) != NULL, "%s: not named%s", wrong[i][0],
              run_describe(&run));
    run_discard(&plain);
    run_discard(&run);
  }
}

Test(conditions, right_options_are_silent, .timeout = 60) {
  static const char *const right[] = {
      "collect=on",  "free=trust",      "free=quarantine",   "free=ignore",
      "reclaim=on",  "reclaim=off",     "growth=50",         "limit=512M",
      "idle=0",      "zero=off",        "canary=on",         "guard=on",
      "freed=fault", "zero-size=fault", "random=on",         "errors=ignore",
      "stride=8",    "stride=1",        "pin=libfoo+libbar", "kernel=baseline",
      "inherit=off", "check=poison",    "markers=16",        ""};
  for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
    struct run run = run_collected(right[i], 30, "early_late", NULL);
    cr_assert_eq(run.errors_size, 0, "%s", run_describe(&run));
    run_discard(&run);
  }
}

/* The environment without any RECLAIM at all: silent too, and no log. */
Test(conditions, children_by_exec, .timeout = 60) {
  struct command command = {.argv = {"sh", "-c", "jq -n '[range(3)]' | sort -r"},
                            .options = "inherit=off"};
  struct run off = run_command(&command);
  expect_success(&off);
  command.options = "inherit=on";
  struct run on = run_command(&command);
  expect_same_result(&off, &on);
  cr_assert_gt(on.cycles.exits, off.cycles.exits, "children under the library: %u and %u",
               on.cycles.exits, off.cycles.exits);
  run_discard(&off);
  run_discard(&on);
}

/* least: completed cycles, of 64 that the program asks for. */
static void hostile(const char *name, unsigned least, const char *options) {
  struct command command = {.argv = {"hostile", name}, .seconds = 60};
  struct run plain = run_command(&command);
  if (WIFEXITED(plain.status) && WEXITSTATUS(plain.status) == 77) cr_skip_test("%s", plain.errors);
  expect_success(&plain);
  command.options = options;
  struct run run = run_command(&command);
  fprintf(stderr, "%-16s %-16s %u cycles done, %u skipped (%s), peak %ld KiB of %ld plain\n", name,
          options, run.cycles.done, run.cycles.skipped, run.cycles.reasons, run.peak_kib,
          plain.peak_kib);
  expect_same_result(&plain, &run);
  cr_assert_gt(run.cycles.done + run.cycles.skipped, 0, "no cycle at all%s", run_describe(&run));
  cr_assert_geq(run.cycles.done, least, "%s", run_describe(&run));
  if (least > 0) {
    expect_few_skipped(&run, 5);
    cr_assert_lt(run.peak_kib, plain.peak_kib, "the leak stayed%s", run_describe(&run));
  }
  cr_assert(run.cycles.skipped == 0 || *run.cycles.reasons, "%s", run_describe(&run));
  run_discard(&plain);
  run_discard(&run);
}

#define CONDITION(identifier, name, least)                                                         \
  Test(conditions, identifier, .timeout = 150) { hostile(name, least, ""); }                       \
  Test(conditions_baseline, identifier, .timeout = 150) { hostile(name, least, "kernel=baseline"); }

CONDITION(none, "none", 30)
CONDITION(files, "files", 30)
CONDITION(setuid, "setuid", 30)
CONDITION(setuid_gap, "setuid-gap", 30)
CONDITION(setuid_hole, "setuid-hole", 30)
CONDITION(nodump, "nodump", 30)
CONDITION(mainexit, "mainexit", 30)
CONDITION(setuid_mainexit, "setuid-mainexit", 30)
CONDITION(limit, "limit", 30)
CONDITION(lockall, "lockall", 30)
CONDITION(noproc, "noproc", 0) /* without a map of memory nothing may be reclaimed */

/* Where not even the log can be opened, its lines go to stderr on request, and say what was given
   up: without descriptors and without /proc nothing may be reclaimed. */
static void told_on_stderr(const char *name, const char *why) {
  struct command command = {.argv = {"hostile", name}, .seconds = 60};
  struct run plain = run_command(&command);
  if (WIFEXITED(plain.status) && WEXITSTATUS(plain.status) == 77) cr_skip_test("%s", plain.errors);
  command.options = "log=stderr";
  struct run run = run_command(&command);
  expect_same_result(&plain, &run);
  cr_assert(strstr(run.errors, "result=skipped why=") && strstr(run.errors, why), "%s",
            run_describe(&run));
  run_discard(&plain);
  run_discard(&run);
}

Test(conditions, files_hard, .timeout = 150) { told_on_stderr("files-hard", "why=maps"); }
Test(conditions, chroot, .timeout = 150) { told_on_stderr("chroot", "why=tasks"); }

/* /proc covered before the program starts. */
Test(conditions, noproc_from_start, .timeout = 60) {
  struct command command = {
      .argv = {"unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc && exec $0 none", NULL},
      .environment = {"POSIXLY_CORRECT=1"}};
  char program[512];
  snprintf(program, sizeof program, "%s", program_path("hostile"));
  command.argv[5] = program;
  struct run plain = run_command(&command);
  if (plain.status != 0) cr_skip_test("no private mount of /proc: %s", plain.errors);
  command.options = "";
  struct run run = run_command(&command);
  expect_same_result(&plain, &run);
  run_discard(&plain);
  run_discard(&run);
}

/* 512 MiB of address space from the start. */
static void exhaust(const char *how, const char *options) {
  struct command command = {.argv = {"exhaust", how},
                            .options = options,
                            .address_space = (size_t)512 << 20,
                            .seconds = 60};
  struct run run = run_command(&command);
  expect_success(&run);
  run_discard(&run);
}

Test(conditions, limited_address_space_leak, .timeout = 90) { exhaust("leak", ""); }
Test(conditions, limited_address_space_keep, .timeout = 90) { exhaust("keep", ""); }
Test(conditions, limited_address_space_leak_baseline, .timeout = 90) {
  exhaust("leak", "kernel=baseline");
}

Test(conditions, limited_address_space_programs, .timeout = 90) {
  struct command command = {.argv = {"/usr/bin/python3", "@INPUTS@/work.py"},
                            .environment = {"PYTHONHASHSEED=0", "PYTHONMALLOC=malloc"},
                            .address_space = (size_t)512 << 20};
  struct run plain = run_command(&command);
  expect_success(&plain);
  command.options = "collect-every-ms=20";
  struct run run = run_command(&command);
  expect_same_result(&plain, &run);
  expect_cycles(&run, 10);
  expect_few_skipped(&run, 5);
  run_discard(&plain);
  run_discard(&run);
}

/* A limit of our own: the leak stays below it. */
Test(conditions, limit_option, .timeout = 90) {
  struct run run = run_collected("limit=64M", 60, "leak", "1024", "2", NULL);
  cr_assert_lt(run.peak_kib, 128 * 1024, "%s", run_describe(&run));
  run_discard(&run);
}

/* Silent unless asked: nothing on either stream, also when the log cannot be written. */
Test(conditions, silence, .timeout = 60) {
  struct command command = {.argv = {"hostile", "none"}, .options = "log=/nonexistent/x"};
  struct run run = run_command(&command);
  cr_assert_str_eq(run.output, "whole\n", "%s", run_describe(&run));
  run_discard(&run);
}

/* Marking with helpers leaves a program of one thread what it was, and marks all the same. */
Test(conditions, helpers_leave_no_trace, .timeout = 120) {
  struct run run = run_collected("markers=4", 60, "helpers", NULL);
  expect_cycles(&run, 200);
  expect_few_skipped(&run, 1);
  run_discard(&run);
}

/* How many collections of the run say in its log that they went by pages. */
static unsigned by_pages(const char *mebibytes, const char *locked, const char *options) {
  struct command command = {.argv = {"scattered", mebibytes, locked}, .seconds = 100};
  char all[200];
  snprintf(all, sizeof all, "%s,log=stderr", options);
  command.options = all;
  struct run run = run_command(&command);
  expect_success(&run);
  unsigned count = 0;
  for (const char *at = run.errors; (at = strstr(at, " order=pages")); at++) count++;
  cr_assert(count || strstr(run.errors, " order=pointers"), "%s", run_describe(&run));
  run_discard(&run);
  return count;
}

/* Small heaps go by pointers; so does a large one until a collection has found it scattered. */
Test(conditions, a_large_scattered_heap_is_marked_by_pages, .timeout = 300) {
  cr_expect_geq(by_pages("230", NULL, "growth=1000,confirm=1"), 4);
  cr_expect_eq(by_pages("230", NULL, "growth=1000,confirm=1,mark-order=pointers"), 0);
  cr_expect_eq(by_pages("20", NULL, "growth=1000,confirm=1"), 0);
  cr_expect_geq(by_pages("20", NULL, "growth=1000,confirm=1,mark-order=pages"), 5);
  cr_expect_eq(by_pages("20", NULL, "free=quarantine,mark-order=pages"), 0);
}

/* What cannot be given back after a marking is not zero by itself for the next one. */
Test(conditions, locked_memory_is_marked_by_pages, .timeout = 150) {
  struct command command = {.argv = {"scattered", "20", "locked"}, .seconds = 60};
  struct run plain = run_command(&command);
  if (WIFEXITED(plain.status) && WEXITSTATUS(plain.status) == 77) cr_skip_test("%s", plain.errors);
  run_discard(&plain);
  cr_expect_geq(by_pages("20", "locked", "growth=1000,confirm=1,mark-order=pages"), 5);
}
