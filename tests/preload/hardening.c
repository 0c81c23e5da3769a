/* hardening.c: what the options find that are off by default: each bug where it must be found and
   how it is told, and real programs with all of them on. What becomes of every bug under them is in
   the table of corruption.c, mode hardened. */
#include "programs.h"

#include <signal.h>
#include <sys/wait.h>

static struct run corrupt(const char *options, const char *bug, const char *size) {
  char program[64];
  snprintf(program, sizeof program, "corrupt_%s", bug);
  struct command command = {.argv = {program, size, "same"}, .options = options, .seconds = 60};
  return run_command(&command);
}

static int count(const char *text, const char *word) {
  int found = 0;
  while (*word != 0 && (text = strstr(text, word)) != NULL) text += strlen(word), found++;
  return found;
}

/* It runs on, and each of so many lines has all of this in it; MANY: at least one. */
enum { MANY = -1 };
static void tells(const char *options, const char *bug, const char *size, int lines, const char *by,
                  const char *what) {
  struct run run = corrupt(options, bug, size);
  expect_success(&run);
  cr_expect_str_eq(run.output, "ran on\n", "%s", run_describe(&run));
  int told = count(run.errors, "\n");
  cr_expect(lines == MANY ? told > 0 : told == lines, "%d lines%s", told, run_describe(&run));
  cr_expect_eq(count(run.errors, by), told, "not \"%s\"%s", by, run_describe(&run));
  cr_expect_eq(count(run.errors, what), told, "not \"%s\"%s", what, run_describe(&run));
  run_discard(&run);
}

/* --- canary=on -------------------------------------------------------------------------------- */

static const char *const sizes[] = {"small", "page", "large"};
static const char *const byte_8[] = {"): overflow, byte 8 was written of a block of 8 bytes",
                                     "): overflow, byte 4096 was written of a block of 4096 bytes",
                                     "): overflow, byte 3000000 was written of a block of 3000000 "
                                     "bytes"};

static void tells_each(const char *options, const char *bug, int lines, const char *by) {
  for (int s = 0; s < 3; s++) tells(options, bug, sizes[s], lines, by, byte_8[s]);
}

#define CANARY(name, options)                                                                      \
  Test(canary, overflow_is_found_by_free##name, .timeout = 60) {                                   \
    tells_each("canary=on" options, "overflow_byte", 1, "free(0x");                                \
  }                                                                                                \
  Test(canary, overflow_is_found_by_realloc##name, .timeout = 60) {                                \
    tells_each("canary=on" options, "overflow_realloc", 1, "realloc(0x");                          \
  }
CANARY(, "")
CANARY(_zeroing, ",zero=on")
CANARY(_quarantine, ",free=quarantine")
CANARY(_ignored, ",free=ignore")
CANARY(_stripping, ",strip-high-bits=on")

Test(canary, overflow_of_what_was_lost_is_found_by_the_sweep, .timeout = 120) {
  static const char *const options[] = {"canary=on", "canary=on,free=ignore",
                                        "canary=on,free=quarantine,reclaim=on",
                                        "canary=on,check=poison", "canary=on,zero=on"};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++)
    tells_each(options[i], "overflow_swept", MANY, "sweep(0x");
}

Test(canary, overflow_of_what_was_freed_is_found_by_the_sweep, .timeout = 60) {
  for (int s = 0; s < 2; s++)
    tells("canary=on,free=quarantine", "overflow_late", sizes[s], MANY, "sweep(0x", byte_8[s]);
}

/* The last byte of the cell before, and nothing before it. */
Test(canary, underflow_is_found_with_the_block_before, .timeout = 60) {
  tells("canary=on", "underflow_freed", "small", MANY, "free(0x",
        "): overflow, byte 15 was written of a block of 8 bytes");
  tells("canary=on", "underflow_freed", "page", MANY, "free(0x",
        "): overflow, byte 4111 was written of a block of 4096 bytes");
}

Test(canary, site_is_told, .timeout = 60) {
  tells("canary=on,check=condemn", "overflow_byte", "page", 1, "free(0x",
        "bytes, allocated at corrupt_overflow_byte+0x");
}

Test(canary, errors_are_told_as_was_asked, .timeout = 60) {
  tells("canary=on,errors=ignore", "overflow_byte", "page", 0, "", "");
  struct run run = corrupt("canary=on,errors=abort", "overflow_byte", "page");
  cr_expect(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGABRT, "%s", run_describe(&run));
  cr_expect(strstr(run.errors, byte_8[1]) && strstr(run.errors, "  called from "), "%s",
            run_describe(&run));
  run_discard(&run);
  run = corrupt("canary=on,errors=abort", "overflow_swept", "page");
  cr_expect(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGABRT, "%s", run_describe(&run));
  cr_expect(strstr(run.errors, byte_8[1]) && !strstr(run.errors, "called from"), "%s",
            run_describe(&run));
  run_discard(&run);
}

/* It can fail: nothing is said where nobody looks. */
Test(canary, off_nothing_is_found, .timeout = 60) {
  tells("", "overflow_byte", "small", 0, "", "");
  tells("", "overflow_realloc", "page", 0, "", "");
  tells("", "overflow_swept", "large", 0, "", "");
}

/* --- guard=on --------------------------------------------------------------------------------- */

static void faults(const char *options, const char *bug, const char *size) {
  struct run run = corrupt(options, bug, size);
  cr_expect(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGSEGV, "%s", run_describe(&run));
  cr_expect_eq(run.output_size + run.errors_size, 0, "%s", run_describe(&run));
  run_discard(&run);
}

Test(guard, overflow_past_the_page_faults, .timeout = 60) {
  faults("guard=on", "overflow_page", "large");
  faults("guard=on,free=quarantine", "overflow_page", "large");
  faults("guard=on,huge-pages=on", "overflow_cell", "large");
}

Test(guard, off_it_does_not, .timeout = 60) { tells("", "overflow_page", "large", 0, "", ""); }

/* Guarded blocks come back like others. */
Test(guard, what_leaked_comes_back, .timeout = 90) {
  struct run run = run_collected("guard=on", 60, "leak", "400", "1", NULL);
  expect_cycles(&run, 2);
  run_discard(&run);
}

/* --- freed=fault ------------------------------------------------------------------------------ */

Test(freed, large_blocks_fault, .timeout = 60) {
  faults("free=quarantine,freed=fault", "dangling_read", "large");
  faults("free=quarantine,freed=fault,guard=on", "dangling_read", "large");
  faults("free=quarantine,freed=fault,reclaim=on", "write_after_free", "large");
}

/* They make a collection due, however little of them is left. */
Test(freed, blocks_that_fault_come_again, .timeout = 60) {
  struct run run = run_program("free=quarantine,freed=fault,idle=0", 60, "short_threads", "2",
                               "200000000", "40000", NULL);
  expect_success(&run);
  expect_cycles(&run, 3);
  cr_assert_lt(run.peak_kib, 100 << 10, "%s", run_describe(&run));
  run_discard(&run);
}

Test(freed, others_do_not, .timeout = 60) {
  tells("free=quarantine,freed=fault", "dangling_read", "page", 0, "", "");
  tells("free=quarantine", "dangling_read", "large", 0, "", "");
  tells("freed=fault", "dangling_read", "small", 0, "", "");
  tells("freed=fault,free=ignore", "dangling_read", "large", 0, "", "");
}

/* Frees of them are told as ever, and what was closed is used again. */
Test(freed, wrong_calls_are_told, .timeout = 60) {
  const char *options = "free=quarantine,freed=fault,guard=on,canary=on";
  tells(options, "double_free", "large", 1, "free(0x", ": a block that was freed already");
  tells(options, "realloc_freed", "large", 1, "realloc(0x", ": a block that was freed already");
  tells(options, "size_of_freed", "large", 1, "size(0x", ": a block that was freed already");
  tells(options, "crossed_free", "large", 0, "", "");
}

/* --- zero-size=fault -------------------------------------------------------------------------- */

Test(zero_size, access_faults, .timeout = 60) {
  faults("zero-size=fault", "zero_size", "small");
  faults("zero-size=fault,free=quarantine", "zero_size", "page");
  faults("zero-size=fault,canary=on,zero=on", "zero_size", "large");
  tells("", "zero_size", "small", 0, "", "");
}

Test(zero_size, wrong_calls_are_told, .timeout = 60) {
  const char *told = "): a block of 0 bytes that was freed already or never allocated\n";
  for (int s = 0; s < 3; s++) {
    tells("zero-size=fault", "zero_size_free", sizes[s], 2, "free(0x", told);
    tells("zero-size=fault,canary=on", "zero_size_free", sizes[s], 2, "free(0x", told);
    tells("zero-size=fault,free=quarantine", "zero_size_free", sizes[s], 2, "free(0x", told);
    tells("zero-size=fault,free=ignore", "zero_size_free", sizes[s], 0, "", "");
  }
  struct run run = corrupt("zero-size=fault,errors=abort", "zero_size_free", "small");
  cr_expect(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGABRT, "%s", run_describe(&run));
  run_discard(&run);
}

/* --- all of them ------------------------------------------------------------------------------ */

#define ALL "canary=on,guard=on,freed=fault,zero-size=fault,random=on"

/* The same output and exit status; collected as often as any other run. */
static void hold_hardened(const struct program *program, const char *options) {
  struct command command = program->command;
  struct run plain = run_command(&command);
  expect_success(&plain);
  command.options = options;
  command.seconds = 80;
  struct run run = run_command(&command);
  fprintf(stderr, "%-8s %5u cycles, %ld of %ld MB plain, %.1f s of %.1f\n", program->name,
          run.cycles.done, run.peak_kib >> 10, plain.peak_kib >> 10, run.seconds, plain.seconds);
  expect_same_result(&plain, &run);
  expect_cycles(&run, LEAST_CYCLES);
  expect_few_skipped(&run, MOST_SKIPPED_PERCENT);
  run_discard(&run);
  run_discard(&plain);
}

#define HARDENED(identifier, ...)                                                                  \
  static const struct program program_##identifier = {.name = #identifier, __VA_ARGS__};           \
  Test(hardened, identifier, .timeout = 200) {                                                     \
    hold_hardened(&program_##identifier, ALL ",collect-every-ms=5");                               \
  }                                                                                                \
  Test(hardened, identifier##_quarantine, .timeout = 200) {                                        \
    hold_hardened(&program_##identifier, ALL ",free=quarantine,collect-every-ms=5");               \
  }

HARDENED(lua, RUN("lua5.4", "@INPUTS@/work.lua"))
HARDENED(python, RUN("/usr/bin/python3", "@INPUTS@/work.py"),
         WITH("PYTHONHASHSEED=0", "PYTHONMALLOC=malloc"))
HARDENED(perl, RUN("perl", "@INPUTS@/work.pl"), WITH("PERL_HASH_SEED=0"))
HARDENED(sqlite, RUN("sqlite3"), .command.input = "work.sql")
