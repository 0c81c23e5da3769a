/* report.c: counters, and the lines as a reader outside takes them apart: words with one equals
   sign. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "report/report.h"

static int lines[2]; /* stderr, packet by packet */

static void start(void) {
  options_default(&options);
  strcpy(options.log, "stderr");
  cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lines), 0);
  dup2(lines[1], 2);
}

TestSuite(report, .init = start, .timeout = 30);

/* The next line, without its end; empty if there is none. */
static const char *next_line(void) {
  static char text[4096];
  ssize_t length = recv(lines[0], text, sizeof text - 1, MSG_DONTWAIT);
  text[length > 0 ? length - 1 : 0] = 0;
  return text;
}

/* Takes "reclaim[PID] " off. */
static const char *next_event(void) {
  const char *text = next_line();
  int pid = 0, used = 0;
  cr_assert(sscanf(text, "reclaim[%d] %n", &pid, &used) == 1 && used, "%s", text);
  cr_assert_eq(pid, getpid());
  return text + used;
}

/* The value of a field, which stands once in the line. */
static const char *field(const char *line, const char *name) {
  static char value[256];
  char pattern[64];
  snprintf(pattern, sizeof pattern, " %s=", name);
  const char *at = strstr(line, pattern);
  if (!at && !strncmp(line, pattern + 1, strlen(pattern) - 1)) at = line - 1;
  cr_assert(at, "no %s in %s", name, line);
  at += strlen(pattern);
  cr_assert_null(strstr(at, pattern), "%s stands twice in %s", name, line);
  size_t length = strcspn(at, " ");
  memcpy(value, at, length);
  value[length] = 0;
  return value;
}

#define EXPECT_FIELD(line, name, value) cr_expect_str_eq(field(line, name), value, "%s", name)

static const struct cycle_event event = {.reason = "growth",
                                         .pause = 1500000,
                                         .stop = 100000,
                                         .roots = 200000,
                                         .mark = 1000000,
                                         .flip = 200000,
                                         .sweep = 3000000,
                                         .heap = 4000000,
                                         .filled = 3900000,
                                         .due = 3800000,
                                         .limit = 4500000,
                                         .limited_by = "option",
                                         .live = 1000000,
                                         .reclaimed = 3000000,
                                         .cells = 30000,
                                         .root_bytes = 77777,
                                         .threads = 5,
                                         .mappings = 66,
                                         .order = "pages",
                                         .recovered = 7,
                                         .next = 36000000};

Test(report, a_cycle) {
  report_cycle(&event);
  const char *line = next_event();
  EXPECT_FIELD(line, "cycle", "1");
  EXPECT_FIELD(line, "reason", "growth");
  EXPECT_FIELD(line, "result", "done");
  EXPECT_FIELD(line, "pause", "1.500");
  EXPECT_FIELD(line, "stop", "0.100");
  EXPECT_FIELD(line, "roots", "0.200");
  EXPECT_FIELD(line, "mark", "1.000");
  EXPECT_FIELD(line, "flip", "0.200");
  EXPECT_FIELD(line, "sweep", "3.000");
  EXPECT_FIELD(line, "heap", "4000000");
  EXPECT_FIELD(line, "filled", "3900000");
  EXPECT_FIELD(line, "due", "3800000");
  EXPECT_FIELD(line, "limit", "4500000");
  EXPECT_FIELD(line, "limit_by", "option");
  EXPECT_FIELD(line, "live", "1000000");
  EXPECT_FIELD(line, "next", "36000000");
  EXPECT_FIELD(line, "reclaimed", "3000000");
  EXPECT_FIELD(line, "cells", "30000");
  EXPECT_FIELD(line, "threads", "5");
  EXPECT_FIELD(line, "order", "pages");
  EXPECT_FIELD(line, "mappings", "66");
  EXPECT_FIELD(line, "root_bytes", "77777");
  EXPECT_FIELD(line, "skipped", "0");
  EXPECT_FIELD(line, "recovered", "7");
  EXPECT_FIELD(line, "false", "0");
  cr_expect_null(strstr(line, "why="));
  cr_expect_null(strstr(line, "  "));
  cr_expect_str_eq(next_line(), "", "one line a cycle");
}

Test(report, totals_are_sums) {
  struct cycle_event other = event;
  other.pause = 500000;
  other.live = 55;
  other.condemned = 9;
  report_cycle(&event);
  report_cycle(&event);
  report_cycle(&other);
  cr_expect_eq(report_totals.cycles, 3);
  cr_expect_eq(report_totals.skipped, 0);
  cr_expect_eq(report_totals.reclaimed, 9000000);
  cr_expect_eq(report_totals.cells, 90000);
  cr_expect_eq(report_totals.longest_pause, 1500000);
  cr_expect_eq(report_totals.total_pause, 3500000);
  cr_expect_eq(report_totals.recovered, 21);
  cr_expect_eq(report_totals.last_live, 55);
  cr_expect_eq(report_totals.condemned, 9, "now, not ever");
}

Test(report, a_cycle_that_was_given_up_adds_nothing) {
  struct cycle_event skipped = event;
  skipped.given_up = "timeout";
  report_cycle(&event);
  report_cycle(&skipped);
  next_event();
  const char *line = next_event();
  EXPECT_FIELD(line, "cycle", "2");
  EXPECT_FIELD(line, "result", "skipped");
  EXPECT_FIELD(line, "why", "timeout");
  EXPECT_FIELD(line, "skipped", "1");
  cr_expect_eq(report_totals.cycles, 1);
  cr_expect_eq(report_totals.skipped, 1);
  cr_expect_eq(report_totals.reclaimed, 3000000);
  cr_expect_eq(report_totals.total_pause, 1500000);
}

Test(report, the_largest_numbers_fit_a_line) {
  struct cycle_event largest;
  memset(&largest, 0xff, sizeof largest);
  largest.reason = "interval";
  largest.limited_by = "option";
  largest.order = "pointers";
  largest.given_up = "unreadable";
  memset(&report_totals, 0xff, sizeof report_totals);
  report_cycle(&largest);
  const char *line = next_event();
  EXPECT_FIELD(line, "root_bytes", "18446744073709551615");
  EXPECT_FIELD(line, "false", "18446744073709551615");
}

Test(report, the_end) {
  report_cycle(&event);
  report_totals.dropped = 12;
  next_event();
  report_exit();
  const char *line = next_event();
  cr_expect_eq(strncmp(line, "exit ", 5), 0);
  EXPECT_FIELD(line, "cycles", "1");
  EXPECT_FIELD(line, "reclaimed", "3000000");
  EXPECT_FIELD(line, "cells", "30000");
  EXPECT_FIELD(line, "longest_pause", "1.500");
  EXPECT_FIELD(line, "total_pause", "1.500");
  EXPECT_FIELD(line, "dropped", "12");
  EXPECT_FIELD(line, "recovered", "7");
}

Test(report, without_a_log_there_are_no_lines) {
  options.log[0] = 0;
  report_cycle(&event);
  report_note("something");
  report_exit();
  cr_expect_str_eq(next_line(), "");
  cr_expect_eq(report_totals.cycles, 1, "but counters");
}

Test(report, a_note) {
  report_note("passive: no memory");
  cr_expect_str_eq(next_event(), "note passive: no memory");
}

Test(report, a_fork_child_counts_from_zero) {
  report_cycle(&event);
  report_bad_free(&(struct report_pointer){"free", 1, "x", 0, 0});
  report_fork_child();
  static const struct report_totals zero;
  cr_expect(!memcmp(&report_totals, &zero, sizeof zero));
}

/* --- bad frees: to stderr whatever the log is ------------------------------------------------- */

static void bad_free(const char *by, uintptr_t address, const char *what) {
  report_bad_free(&(struct report_pointer){by, address, what, 0, 0});
}

Test(report, a_bad_free) {
  options.log[0] = 0;
  bad_free("realloc", 0x10, "in no memory");
  cr_expect_str_eq(next_line(), "reclaim: realloc(0x10): in no memory");
  struct report_pointer pointer = {"free", 0x7f00dead0010, "inside a block", 0x7f00dead0000, 47};
  report_bad_free(&pointer);
  cr_expect_str_eq(next_line(), "reclaim: free(0x7f00dead0010): inside a block of 47 bytes, "
                                "16 behind its beginning 0x7f00dead0000");
  pointer.address = pointer.block;
  pointer.what = "a block that was freed already,";
  report_bad_free(&pointer);
  cr_expect_str_eq(next_line(),
                   "reclaim: free(0x7f00dead0000): a block that was freed already, of 47 bytes");
  cr_expect_eq(report_totals.bad_frees, 3);
}

Test(report, an_overflow) {
  options.log[0] = 0;
  report_overflow(
      &(struct report_overflow){.by = "free", .block = 0x7f00dead0000, .size = 40, .at = 41});
  cr_expect_str_eq(next_line(), "reclaim: free(0x7f00dead0000): overflow, byte 41 was written of a "
                                "block of 40 bytes");
  cr_expect_eq(report_totals.bad_frees, 1);
  options.errors = ERRORS_IGNORE;
  report_overflow(&(struct report_overflow){.by = "sweep"});
  cr_expect_str_eq(next_line(), "");
  cr_expect_eq(report_totals.bad_frees, 2);
}

Test(report, bad_frees_may_be_ignored) {
  options.errors = ERRORS_IGNORE;
  bad_free("free", 0x10, "in no memory");
  cr_expect_str_eq(next_line(), "");
  cr_expect_eq(report_totals.bad_frees, 1);
}

static void trace(void) { report_note("traced"); }

Test(report, a_bad_free_may_abort) {
  options.errors = ERRORS_ABORT;
  report_trace = trace;
  pid_t child = fork();
  if (child == 0) {
    bad_free("free", 0x10, "in no memory");
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  cr_expect_str_eq(next_line(), "reclaim: free(0x10): in no memory");
  const char *line = next_line();
  cr_expect(strstr(line, "note traced"), "%s", line);
}

Test(report, a_false_reclaim_goes_to_the_log_or_to_stderr) {
  report_false_reclaim("free", 0x1230, 64, 0);
  const char *line = next_event();
  cr_expect_eq(strncmp(line, "false-reclaim ", 14), 0);
  EXPECT_FIELD(line, "by", "free");
  EXPECT_FIELD(line, "address", "0x1230");
  EXPECT_FIELD(line, "size", "64");
  EXPECT_FIELD(line, "allocated-at", "?");
  cr_expect_null(strstr(line, "used-at"));
  options.log[0] = 0;
  report_false_reclaim("free", 0x1230, 64, 0); /* nobody asked: silent */
  options.check = CHECK_CONDEMN;
  report_false_reclaim("write", 0x1230, 64, 0x5555);
  line = next_line();
  cr_expect_eq(strncmp(line, "reclaim: false-reclaim by=write ", 32), 0);
  EXPECT_FIELD(line, "used-at", "?");
  cr_expect_eq(report_totals.false_reclaims, 3);
}

Test(report, reasons_are_counted_one_by_one) {
  static const char *const reasons[] = {"timeout", "maps", "timeout"};
  for (int i = 0; i < 3; i++) {
    struct cycle_event skipped = event;
    skipped.given_up = reasons[i];
    report_cycle(&skipped);
    next_event();
  }
  cr_expect_str_eq(report_reasons[0].why, "timeout");
  cr_expect_eq(report_reasons[0].count, 2);
  cr_expect_str_eq(report_reasons[1].why, "maps");
  cr_expect_eq(report_reasons[1].count, 1);
  cr_expect_null(report_reasons[2].why);
  report_exit();
  cr_expect_not_null(strstr(next_event(), " given_up=timeout:2+maps:1"));
  report_fork_child();
  cr_expect_null(report_reasons[0].why);
}
