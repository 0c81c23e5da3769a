/* hazards_processes.c: processes, threads' ends and other libraries (sections 6, 8a and 8b of
   tests/HAZARDS). */
#include "hazards.h"

ONE_TEST_AT_A_TIME

#define PROCESS(identifier, name, remedy, ...)                                                     \
  HAZARD(identifier, remedy, .command.argv = {"process", name}, .command.seconds = 40, __VA_ARGS__)

PROCESS(fork, "announced", "fork_child_reset", .cycles = 60)
PROCESS(bare_fork, "bare", "own_fork", .cycles = 60)
PROCESS(cloned_fork, "cloned", "own_fork", .cycles = 60)
/* The first of its 800 forks that is interrupted inside hangs, about one in ten. */
PROCESS(filtered_fork, "filtered", "lone_fork", .hangs = 5)
CASE_BY_DESIGN(foreign_fork, "process", "foreign")
CASE_BY_DESIGN(waited_fork, "process", "waited")
PROCESS(unannounced_fork, "unannounced", "identity_check", .cycles = 5)
PROCESS(borrowed_memory, "borrowed", "identity_check")
PROCESS(single_thread, "single", "collector_thread_ends")
PROCESS(waiters, "waiters", "stoppable_wait", .cycles = 100)
PROCESS(late_signal, "late", "late_signal_epoch")
PROCESS(watchdog, "watchdog", "parking+stopped_sleep", .cycles = 5)
/* Mark bits and states lie in tables of their own. */
CASE_BY_DESIGN(copied_pages, "process", "copied")
/* ld.so ignores us where it must, and we never write unasked. */
CASE_BY_DESIGN(environments, "process", "environments")

HAZARD(exec_storm, "exec_announce", .command.argv = {"exec_storm", "250"}, .command.seconds = 100,
       .cycles = 50)

HAZARD(dropped_privileges, "undumpable_fallback", .command.argv = {"hostile", "setuid"},
       .cycles = 30)
HAZARD(main_thread_ended, "thread_self_maps", .command.argv = {"hostile", "mainexit"}, .cycles = 30)
HAZARD(fortified, "parking+restart_calls", .command.argv = {"fortified"}, .cycles = 50)

#define LAST_THREAD(identifier, group, remedy)                                                     \
  HAZARD(                                                                                          \
      identifier, remedy,                                                                          \
      .command = {.argv = {"last_thread", group}, .options = "collect-every-ms=2", .seconds = 40}, \
      .hangs = 4)
LAST_THREAD(last_thread, "exits", "last_thread")
LAST_THREAD(last_thread_of_a_child, "unannounced", "absent_thread")
LAST_THREAD(last_thread_unseen, "unseen", "alone")

/* Other libraries */
HAZARD(libc_blocks, "foreign_blocks", .command.argv = {"foreign", "libc-block"})
HAZARD(deepbind, "deepbind", .command.argv = {"foreign", "deepbind"})
HAZARD(offsets, "pin", .command.argv = {"foreign", "offsets"},
       .command.options = "pin=foreign_module")
HAZARD(offsets_late, "pin_late", .command.argv = {"foreign", "offsets-late"},
       .command.options = "pin=foreign_module")
/* The memory of other libc's is scanned like any. */
CASE_BY_DESIGN(namespace, "foreign", "namespace")
CASE_BY_DESIGN(audit, "foreign", "audit")
/* Nothing waits for a constructor, nothing is torn down by a destructor. */
HAZARD_BY_DESIGN(early_and_late, .command.argv = {"foreign", "early"}, .cycles = 3)
/* Storage not yet filled is zero, and zero leads the fast paths to their slow path. */
HAZARD_BY_DESIGN(resolver, .command.argv = {"resolver"}, .cycles = 10)
HAZARD_BY_DESIGN(early_and_late_in_the_program, .command.argv = {"early_late"})

/* A program with an allocator of its own is left alone: it runs, and nothing is collected. */
static void passive(const char *program) {
  struct command command = {.argv = {program}};
  struct run plain = run_command(&command);
  expect_success(&plain);
  command.options = "collect-every-ms=5";
  struct run run = run_command(&command);
  expect_same_result(&plain, &run);
  cr_assert_eq(run.cycles.done + run.cycles.skipped, 0, "it was collected%s", run_describe(&run));
  run_discard(&run);
  command.without = "passive";
  run = run_command(&command);
  cr_assert_gt(run.cycles.done, 0, "the test proves nothing%s", run_describe(&run));
  run_discard(&run);
  run_discard(&plain);
}

Test(passive, own_family, .timeout = 100) { passive("own_malloc"); }
HAZARD_BY_DESIGN(only_referred_to, .command.argv = {"refers"}, .cycles = 300)
Test(passive, part_of_the_family, .timeout = 100) { passive("part_malloc"); }
