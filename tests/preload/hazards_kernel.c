/* hazards_kernel.c: words that only the kernel holds, calls made by number, and processes that must
   not be collected (1.16, 2.8, 4.1 to 4.4, 5.4, 5.10 of tests/HAZARDS). */
#include "hazards.h"

#define HELD(name, remedy) HAZARD(name, remedy, .command.argv = {"held", #name})
#define HELD_BY_DESIGN(name) CASE_BY_DESIGN(name, "held", #name)

HELD(epoll, "epoll_data")
HELD(epoll_raw, "raw_calls")
HELD(epoll_changed, "epoll_data")
HELD(epoll_copied, "epoll_data")
HELD(epoll_forked, "epoll_data")
HELD(timer_signal, "timer_values")
HELD(mq_notify, "timer_values")
HAZARD(mq_notify_attributes, "timer_values", .command.argv = {"held", "mq_notify_attributes"},
       .hangs = 5)
HELD(sigqueue, "queued_values")
HELD(pthread_sigqueue, "queued_values")
HELD(sigqueue_raw, "raw_calls")
HELD(io_submit, "queued_values")
HELD(io_submit_raw, "raw_calls")
HELD(io_uring, "rings")
HELD(io_uring_unseen, "rings")
HELD(pipe, "sent_words")
HELD(pipe_large, "sent_words")
HELD(pipe_interior, "sent_words")
HELD(pipe_resized, "sent_words")
HELD(pipe_pieces, "sent_words")
HELD(socket, "sent_words")
HELD(socket_packed, "sent_words")
HELD(socket_message, "sent_words")
HELD(mq_send, "sent_words")
HELD(msgsnd, "sent_words")
HELD(work, "sent_words")
/* glibc's lists of timers and requests are plain memory, which is scanned. */
HELD_BY_DESIGN(timer_thread)
HELD_BY_DESIGN(aio_flight)
HELD_BY_DESIGN(aio_done)
/* Looked at only after the kernel has read it. */
HELD_BY_DESIGN(bad_message)

/* As fast as it goes, with the oracle. */
HAZARD_BY_DESIGN(work_condemned, .command.argv = {"held", "work"},
                 .command.options = "collect-every-ms=1,check=condemn")
HAZARD_BY_DESIGN(work_ignored, .command.argv = {"held", "work"}, .command.options = "free=ignore")
HAZARD_BY_DESIGN(work_quarantined, .command.argv = {"held", "work"},
                 .command.options = "free=quarantine,reclaim=on")

HAZARD(raw_waits, "raw_calls", .command.argv = {"raw_waits"},
       .command.options = "collect-every-ms=1", .cycles = 20)

/* --- processes that must not be collected --- */

#define COLLECTED true
#define REFUSED false

/* Runs alone and collected; counts the cycles, and looks for the reason in the log. */
static void refuses(const char *name, const char *argument, const char *kind, const char *reason,
                    bool collected) {
  struct command command = {.argv = {name, argument, kind}};
  struct run plain = run_command(&command);
  if (plain.status >> 8 == 77) cr_skip_test("%s", plain.errors);
  expect_success(&plain);
  command.options = "log=stderr";
  struct run told = run_command(&command);
  expect_success(&told);
  cr_assert_eq(told.output_size, plain.output_size);
  bool found = strstr(told.errors, reason) != NULL;
  cr_assert(found, "the log does not say: %s%s", reason, run_describe(&told));
  bool cycles = strstr(told.errors, "result=done") != NULL;
  cr_assert_eq(cycles, collected, "%s", run_describe(&told));
  command.options = "";
  struct run run = run_command(&command);
  expect_success(&run);
  expect_same_result(&plain, &run);
  run_discard(&plain);
  run_discard(&told);
  run_discard(&run);
}

#define SHARED "nothing is collected from here on: a process made by clone(CLONE_VM)"
#define OWN "nothing is collected from here on: seccomp: the program installs a filter"
#define INHERITED                                                                                  \
  "nothing is collected from here on: seccomp: the filter that this process inherited "

static const struct hazard shared = {.remedy = "shared_heap", .command.argv = {"clone", "process"}};
static const struct hazard shared_raw = {.remedy = "raw_calls+shared_heap",
                                         .command.argv = {"clone", "raw"}};
Test(holds, clone_process) { refuses("clone", "process", NULL, SHARED, REFUSED); }
Test(can_fail, clone_process) { hazard_can_fail(&shared); }
Test(holds, clone_process_raw) { refuses("clone", "raw", NULL, SHARED, REFUSED); }
Test(can_fail, clone_process_raw) { hazard_can_fail(&shared_raw); }
HAZARD_BY_DESIGN(clone_thread, .command.argv = {"clone", "thread"}, .cycles = 3)
HAZARD_BY_DESIGN(clone_vfork, .command.argv = {"clone", "vfork"}, .cycles = 3)

static const struct hazard filter = {.remedy = "own_filter",
                                     .command.argv = {"seccomp", "own-prctl"}};
static const struct hazard filter_inherited = {.remedy = "filter_trial",
                                               .command.argv = {"seccomp", "inherit", "kill"}};
Test(holds, filter) { refuses("seccomp", "own-prctl", NULL, OWN, COLLECTED); }
Test(can_fail, filter) { hazard_can_fail(&filter); }
Test(holds, filter_by_number) { refuses("seccomp", "own-syscall", NULL, OWN, COLLECTED); }
Test(holds, filter_that_allows_malloc_alone) {
  refuses("seccomp", "own-tight", NULL, OWN, COLLECTED);
}
Test(holds, filter_inherited_that_kills) {
  refuses("seccomp", "inherit", "kill", INHERITED "kills for ", REFUSED);
}
Test(can_fail, filter_inherited_that_kills) { hazard_can_fail(&filter_inherited); }
Test(holds, filter_inherited_that_refuses) {
  refuses("seccomp", "inherit", "refuse", INHERITED "refuses ", REFUSED);
}
Test(holds, filter_inherited_that_traps) {
  refuses("seccomp", "inherit", "trap", INHERITED "kills for rt_tgsigqueueinfo", REFUSED);
}
Test(holds, filter_inherited_without_clone) {
  refuses("seccomp", "inherit", "no-clone", INHERITED "refuses clone", REFUSED);
}
/* The normal case in every container. */
Test(holds, filter_inherited_of_a_container) {
  refuses("seccomp", "inherit", "docker", "reason=request result=done", COLLECTED);
}
Test(holds, filter_refused_by_the_kernel) {
  refuses("seccomp", "refused", NULL, "collecting goes on: that call failed", COLLECTED);
}
