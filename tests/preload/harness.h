/* harness.h: starts a program as a child, alone or with the library preloaded, and judges what
   came of it: exit status, output, peak memory, and what the cycle log says.

   The test process itself never runs under the library: LD_PRELOAD is put into the environment
   of the child alone. Each run gets a directory of its own for output and logs; run_discard
   removes it, so that the directory of a run that failed stays behind for inspection (its name
   is part of every failure message). */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A command to run. argv[0] without a slash is looked up in the directory of the test programs
   first and then in /usr/bin:/bin. "@INPUTS@" at the start of an argument stands for the folder
   of inputs. */
struct command {
  const char *argv[16];
  const char *options;        /* value of RECLAIM; NULL: plain malloc, nothing preloaded */
  const char *without;        /* remedies left out, by the library built for it; NULL: none */
  const char *environment[8]; /* NAME=value, on top of the small fixed environment */
  const char *input;          /* file for standard input, in the inputs; NULL: /dev/null */
  const char *directory;      /* working directory; NULL: a fresh one of this run */
  size_t address_space;       /* RLIMIT_AS in bytes; 0: as inherited */
  unsigned seconds;           /* then the whole process group is killed; 0: 60 */
};

/* What the log files of all processes of a run add up to. */
struct cycle_totals {
  unsigned processes;    /* that wrote at least one line */
  unsigned exits;        /* that wrote their exit line */
  unsigned done;         /* cycles completed through sweep */
  unsigned skipped;      /* cycles given up */
  unsigned below;        /* cycles completed in other processes than the first */
  unsigned least_served; /* the smallest number completed in one of the processes whose ids stand in
                            the file "served" of the run's directory */
  double longest_pause;  /* milliseconds */
  double summed_pause;
  unsigned long long reclaimed, cells, dropped, recovered, condemned; /* last figures, summed */
  unsigned long long false_reclaims; /* lines of the oracle, or its counter if that is larger */
  char reasons[400];                 /* "timeout:3 open:1", why cycles were given up */
  char first_false[300];             /* the first line of the oracle */
};

struct run {
  char directory[128];
  char *output, *errors; /* what it wrote on standard output and standard error */
  char *threads;         /* of a run that did not end: what its threads were at; else NULL */
  size_t output_size, errors_size;
  bool timed_out;
  int status;    /* as wait4 gave it */
  long peak_kib; /* the largest resident set in the tree of the command */
  double seconds;
  struct cycle_totals cycles;
  char command_line[512]; /* for messages, with the options */
};

/* Starts the command and waits for its end. Never fails silently: what the harness itself cannot
   do (fork, open) fails the running test. */
struct run run_command(const struct command *command);
void run_discard(struct run *run);

/* One text on what happened in a run, for failure messages; a static buffer. */
const char *run_describe(const struct run *run);

/* Assertions on runs; each fails the running test with run_describe's text. */
void expect_success(const struct run *run);
void expect_same_result(const struct run *plain, const struct run *collected);
void expect_cycles(const struct run *run, unsigned at_least);
void expect_no_false_reclaim(const struct run *run);

/* The share of started cycles that were given up must be below percent. */
void expect_few_skipped(const struct run *run, double percent);

/* Runs a test program by name: under plain malloc first, where it must succeed, then with the
   options. Returns the collected run, which has succeeded too; caller discards it. */
struct run run_program(const char *options, unsigned seconds, const char *name, ...)
    __attribute__((sentinel));

/* The same without the run under plain malloc. */
struct run run_collected(const char *options, unsigned seconds, const char *name, ...)
    __attribute__((sentinel));

const char *program_path(const char *name); /* a test program, in a static buffer */
const char *library_path(void);
const char *library_without_path(void); /* the library that can leave out remedies */
const char *inputs_path(void);

/* Suites whose tests compete for the two cores or measure memory run one test at a time. */
#define ONE_TEST_AT_A_TIME                                                                         \
  __attribute__((constructor)) static void one_test_at_a_time(void) { criterion_options.jobs = 1; }

#endif
