/* processes.c: fork, vfork, posix_spawn, exec and daemons, out of programs with many threads, while
   collections run. */
#include "harness.h"

#include <criterion/criterion.h>

ONE_TEST_AT_A_TIME

static void run_processes(const char *options, unsigned cycles, const char *name,
                          const char *argument) {
  struct run run = run_program(options, 100, name, argument, NULL);
  expect_no_false_reclaim(&run);
  expect_cycles(&run, cycles);
  run_discard(&run);
}

Test(processes, fork_under_threads, .timeout = 240) { run_processes("", 60, "fork_threads", "20"); }
Test(processes, fork_while_collecting, .timeout = 240) {
  run_processes("collect-every-ms=3", 100, "fork_threads", "20");
}
Test(processes, fork_condemn, .timeout = 240) {
  run_processes("check=condemn,collect-every-ms=20", 24, "fork_threads", "8");
}

/* 400 execs while another thread collects: none killed by a stop signal left pending. */
Test(processes, exec_storm, .timeout = 240) { run_processes("", 100, "exec_storm", "400"); }
Test(processes, exec_storm_baseline, .timeout = 240) {
  run_processes("kernel=baseline", 100, "exec_storm", "100");
}

Test(processes, vfork, .timeout = 240) { run_processes("", 50, "vfork", "20"); }
Test(processes, vfork_while_collecting, .timeout = 240) {
  run_processes("collect-every-ms=2", 50, "vfork", "20");
}

Test(processes, daemon, .timeout = 120) { run_processes("", 20, "daemon", NULL); }
