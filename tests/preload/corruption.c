/* corruption.c: one memory bug a program (tests/programs/corrupt_*.c), by size of block and by
   thread, and what became of it under each policy:

     detected     a report named every wrong call, as many as were made
     neutralised  nothing was said, and the heap is as it should be
     crashed      a signal ended it, without a report
     exploitable  a block was handed out twice, overlaps another or lost its contents

   The table goes to standard error. A wrong call of free, realloc or malloc_usable_size must be
   detected where the policy has an eye on it, and nothing may be exploitable but what stands here
   as a limit of the policy. */
#include "harness.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum outcome { DETECTED, NEUTRALISED, CRASHED, EXPLOITABLE, OUTCOMES };
static const char *const outcome_names[OUTCOMES] = {"detected", "neutralised", "crashed",
                                                    "EXPLOITABLE"};

enum kind { WRONG_CALL, WRONG_WRITE, NO_BUG };

struct bug {
  const char *name;
  enum kind kind;
  int calls;            /* wrong ones in a run; SOME: at least one */
  const char *says;     /* in each report */
  bool outside;         /* the heap: also with libc's own allocator in use */
  bool needs_free;      /* no bug where free() does nothing */
  bool needs_collector; /* nor where nothing is taken back that was not freed */
  const char *hardened; /* with every hardening on, by size: first letters of what must become of
                           it; NULL: what must otherwise, '?': nothing more */
};
enum { SOME = -1 };

#define OVERFLOW "): overflow, byte "

static const struct bug bugs[] = {
    {.name = "double_free", .calls = 1, .says = "free(0x", .needs_free = true},
    {.name = "interior_free", .calls = 1, .says = "inside a block of "},
    {.name = "misaligned_free", .calls = 1, .says = "3 behind its beginning 0x"},
    {.name = "stack_free", .calls = 3, .says = "on the stack of th", .outside = true},
    {.name = "static_free", .calls = 4, .says = " of the program", .outside = true},
    {.name = "mapping_free", .calls = 6, .says = "free(0x", .outside = true},
    {.name = "realloc_freed", .calls = 1, .says = "realloc(0x", .needs_free = true},
    {.name = "size_of_freed", .calls = 1, .says = "malloc_usable_size(0x", .needs_free = true},
    {.name = "unallocated_free", .calls = 1, .says = "free(0x"},
    {.name = "reclaimed_free", .calls = SOME, .says = "free(0x", .needs_collector = true},
    {.name = "write_after_free", .kind = WRONG_WRITE, .hardened = "nnc"},
    {.name = "dangling_read", .kind = WRONG_WRITE, .hardened = "nnc"},
    {.name = "overflow_byte", .kind = WRONG_WRITE, .calls = 1, .says = OVERFLOW, .hardened = "ddd"},
    {.name = "overflow_cell",
     .kind = WRONG_WRITE,
     .calls = SOME,
     .says = OVERFLOW,
     .hardened = "ddc"},
    {.name = "overflow_realloc",
     .kind = WRONG_WRITE,
     .calls = 1,
     .says = OVERFLOW,
     .hardened = "ddd"},
    {.name = "overflow_page", .kind = WRONG_WRITE, .hardened = "??c"},
    {.name = "overflow_swept", .kind = WRONG_WRITE, .calls = SOME, .says = OVERFLOW},
    {.name = "overflow_late",
     .kind = WRONG_WRITE,
     .calls = SOME,
     .says = OVERFLOW,
     .hardened = "ddc"},
    {.name = "underflow", .kind = WRONG_WRITE},
    {.name = "underflow_freed", .kind = WRONG_WRITE, .calls = SOME, .says = OVERFLOW},
    {.name = "zero_size", .kind = WRONG_WRITE, .hardened = "ccc"},
    {.name = "zero_size_free", .calls = 2, .says = "free(0x", .needs_free = true},
    {.name = "crossed_free", .kind = NO_BUG},
};
enum { BUGS = sizeof bugs / sizeof *bugs };

static const char *const sizes[] = {"small", "page", "large"};
static const char *const threads[] = {"same", "other"};

struct policy {
  const char *options;
  bool aborts, silent, frees, keeps; /* keeps what was never freed */
  bool hardened;
};

static struct run run_bug(const struct policy *policy, const char *name, const char *size,
                          const char *thread, const char *used) {
  char program[64];
  snprintf(program, sizeof program, "corrupt_%s", name);
  struct command command = {
      .argv = {program, size, thread, used}, .options = policy->options, .seconds = 60};
  return run_command(&command);
}

/* Reports on standard error, of which each has to say this; -1: one does not. */
static int count_reports(const struct run *run, const char *says) {
  int count = 0;
  for (const char *line = run->errors; line != NULL && *line != 0;) {
    const char *end = strchr(line, '\n');
    size_t length = end != NULL ? (size_t)(end - line) : strlen(line);
    char text[1200];
    snprintf(text, sizeof text, "%.*s", (int)length, line);
    line = end != NULL ? end + 1 : NULL;
    if (strncmp(text, "reclaim: ", 9) != 0 || strstr(text, "  called from ") != NULL) continue;
    if (says == NULL || strstr(text, says) == NULL) return -1;
    count++;
  }
  return count;
}

static enum outcome judge(const struct run *run, const struct bug *bug,
                          const struct policy *policy) {
  int reports = count_reports(run, bug->says);
  bool aborted = WIFSIGNALED(run->status) && WTERMSIG(run->status) == SIGABRT;
  if (WIFEXITED(run->status) && WEXITSTATUS(run->status) == 3) return EXPLOITABLE;
  if (aborted && policy->aborts && reports == 1 && strstr(run->errors, "  called from ") != NULL)
    return DETECTED;
  if (run->status != 0 || run->timed_out || strcmp(run->output, "ran on\n") != 0) return CRASHED;
  if (reports != 0 && (reports == bug->calls || (bug->calls == SOME && reports > 0)))
    return DETECTED;
  return reports == 0 && run->errors_size == 0 ? NEUTRALISED : CRASHED;
}

static bool is_right(enum outcome outcome, const struct bug *bug, const struct policy *policy,
                     int size) {
  if (policy->hardened && bug->hardened && bug->hardened[size] != '?')
    return outcome_names[outcome][0] == bug->hardened[size];
  if (bug->kind == NO_BUG) return outcome == NEUTRALISED;
  if (bug->kind == WRONG_WRITE) return outcome != EXPLOITABLE;
  bool unseen = policy->silent || (bug->needs_free && !policy->frees) ||
                (bug->needs_collector && policy->keeps);
  return outcome == (unseen ? NEUTRALISED : DETECTED);
}

static void score(const struct policy *policy) {
  char table[8192], *at = table, *end = table + sizeof table;
  int counts[OUTCOMES] = {0}, wrong = 0;
  at +=
      snprintf(at, (size_t)(end - at), "%-18s", policy->options[0] ? policy->options : "defaults");
  for (int s = 0; s < 3; s++)
    for (int t = 0; t < 2; t++)
      at += snprintf(at, (size_t)(end - at), " %5s/%-6s", sizes[s], threads[t]);
  at += snprintf(at, (size_t)(end - at), "\n");
  for (int b = 0; b < BUGS; b++)
    for (int used = 0; used <= bugs[b].outside; used++) {
      char name[40];
      snprintf(name, sizeof name, "%s%s", bugs[b].name, used ? "+" : "");
      at += snprintf(at, (size_t)(end - at), "%-18s", name);
      for (int s = 0; s < 3; s++)
        for (int t = 0; t < 2; t++) {
          struct run run =
              run_bug(policy, bugs[b].name, sizes[s], threads[t], used ? "used" : NULL);
          enum outcome outcome = judge(&run, &bugs[b], policy);
          bool right = is_right(outcome, &bugs[b], policy, s);
          at += snprintf(at, (size_t)(end - at), " %-11s%s", outcome_names[outcome],
                         right ? " " : "!");
          counts[outcome]++;
          if (right) {
            run_discard(&run);
          } else {
            wrong++;
            fprintf(stderr, "%s: %s%s\n", bugs[b].name, outcome_names[outcome], run_describe(&run));
          }
        }
      at += snprintf(at, (size_t)(end - at), "\n");
    }
  fprintf(stderr, "%s", table);
  for (int o = 0; o < OUTCOMES; o++) fprintf(stderr, "%s %d  ", outcome_names[o], counts[o]);
  fprintf(stderr, "\n+ libc's own allocator is in use as well\n\n");
  cr_expect_eq(wrong, 0, "%d of the outcomes are not what they must be:\n%s", wrong, table);
}

Test(corruption, trust, .timeout = 300) { score(&(struct policy){.options = "", .frees = true}); }
Test(corruption, abort, .timeout = 300) {
  score(&(struct policy){.options = "errors=abort", .aborts = true, .frees = true});
}
Test(corruption, ignored, .timeout = 300) {
  score(&(struct policy){.options = "errors=ignore", .silent = true, .frees = true});
}
Test(corruption, free_ignored, .timeout = 300) {
  score(&(struct policy){.options = "free=ignore"});
}

Test(corruption, quarantine, .timeout = 300) {
  score(&(struct policy){.options = "free=quarantine", .frees = true, .keeps = true});
}

Test(corruption, hardened, .timeout = 300) {
  score(&(struct policy){
      .options = "free=quarantine,canary=on,guard=on,freed=fault,zero-size=fault,random=on",
      .frees = true,
      .keeps = true,
      .hardened = true});
}

/* Two frees of one block at once. Under free=trust the state byte is exchanged only with
   errors=abort: without it two that come within a nanosecond may both go through (reclaim(1)). */
static void race(const char *options, const char *small, const char *large) {
  for (int s = 0; s < 3; s++) {
    struct run run =
        run_bug(&(struct policy){.options = options}, "racing_free", sizes[s], "same", NULL);
    expect_success(&run);
    cr_expect_str_eq(run.output, s < 2 ? small : large, "%s", run_describe(&run));
    run_discard(&run);
  }
}

Test(racing_free, abort, .timeout = 120) {
  race("errors=abort", "aborted 100 of 100\nran on\n", "aborted 10 of 10\nran on\n");
}
Test(racing_free, free_ignored, .timeout = 120) {
  race("free=ignore", "aborted 0 of 100\nran on\n", "aborted 0 of 10\nran on\n");
}

Test(racing_free, quarantine, .timeout = 120) {
  struct run run =
      run_bug(&(struct policy){.options = "free=quarantine"}, "racing_free", "small", "same", NULL);
  expect_success(&run);
  cr_expect_str_eq(run.output, "aborted 0 of 100\nran on\n", "%s", run_describe(&run));
  cr_expect_eq(count_reports(&run, "free(0x"), 100, "one in each child%s", run_describe(&run));
  run_discard(&run);
}

/* Behind a filter that kills for all but what malloc and write need. */
Test(corruption, filtered, .timeout = 60) {
  struct command command = {.argv = {"seccomp", "own-bad"}, .options = ""};
  struct run run = run_command(&command);
  if (run.status >> 8 == 77) cr_skip_test("%s", run.errors);
  expect_success(&run);
  cr_expect_str_eq(run.output, "lived\n", "%s", run_describe(&run));
  cr_expect_eq(count_reports(&run, "free(0x"), 4, "%s", run_describe(&run));
  run_discard(&run);
}

/* What a report says about the block. */
static void says(const char *options, const char *bug, const char *size, const char *text) {
  struct run run = run_bug(&(struct policy){.options = options}, bug, size, "same", NULL);
  expect_success(&run);
  cr_expect(strstr(run.errors, text), "not \"%s\"%s", text, run_describe(&run));
  run_discard(&run);
}

Test(reports, name_the_block, .timeout = 60) {
  says("", "double_free", "page", "): a block that was freed already or never allocated, of ");
  says("", "interior_free", "page", ", 2048 behind its beginning 0x");
  says("", "interior_free", "large", ", 1500000 behind its beginning 0x");
  says("", "reclaimed_free", "small", "): a block that the collector took back, of 15 bytes");
  says("", "reclaimed_free", "page", "): a block that the collector took back, of ");
  says("", "static_free", "small", "): in the data of the program\n");
  says("", "static_free", "small", "): in the read-only part of the program\n");
  says("", "mapping_free", "small", "): in no memory\n");
}
Test(reports, name_the_site, .timeout = 60) {
  says("check=condemn", "double_free", "page", " bytes, allocated at corrupt_double_free+0x");
}

/* A second free() when the block is in use again is a free() like any other under free=trust: no
   table can tell, and the programs show that they can find it. Where memory is not reused while a
   pointer is left, it is harmless. */
static void reused(const char *options, const char *report) {
  for (int s = 0; s < 3; s++)
    for (int t = 0; t < 2; t++) {
      struct run run =
          run_bug(&(struct policy){.options = options}, "reused_free", sizes[s], threads[t], NULL);
      expect_success(&run);
      cr_expect_str_eq(run.output, "ran on\n", "%s", run_describe(&run));
      cr_expect_eq(count_reports(&run, report), report != NULL, "%s", run_describe(&run));
      run_discard(&run);
    }
}

Test(reused_free, free_ignored, .timeout = 120) { reused("free=ignore", NULL); }
Test(reused_free, quarantine, .timeout = 120) {
  reused("free=quarantine", "a block that was freed already, of ");
}
Test(reused_free, is_exploitable_under_trust, .timeout = 60) {
  struct run run = run_bug(&(struct policy){.options = ""}, "reused_free", "page", "same", NULL);
  cr_expect_eq(WEXITSTATUS(run.status), 3, "%s", run_describe(&run));
  cr_expect_str_eq(run.output, "exploitable: a block in use was handed out\n");
  run_discard(&run);
}
