/* filter.c: a function run in a child of our own memory, and the trial under filters. */
#include "tests/unit/ports/filters.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <sched.h>
#include <sys/wait.h>

TestSuite(filter, .timeout = 60);

static char stack[64 * 1024] __attribute__((aligned(16)));
static int seen_process;

static void in_child(void *argument) {
  *(int *)argument = 7;
  seen_process = port_process_id();
}

Test(filter, a_child_in_our_memory) {
  int value = 0;
  long child = port_call_in_child(in_child, &value, stack + sizeof stack);
  cr_assert(child > 0);
  cr_assert_eq(value, 7, "it has ended when the call returns");
  cr_assert_eq(seen_process, child);
  int status;
  cr_assert_eq(waitpid(-1, &status, 0), -1, "it is no child as others are");
  cr_assert_eq(waitpid((pid_t)child, &status, __WALL), child);
  cr_assert_eq(status, 0);
}

static void expect_trial(enum port_trial expected, const char *expected_call) {
  const char *call = NULL;
  cr_assert_eq(port_try_calls(stack, sizeof stack, &call), expected, "at %s", call);
  if (expected_call) cr_assert_str_eq(call, expected_call);
  int status;
  cr_assert_eq(waitpid(-1, &status, __WALL), -1, "nothing is left of it");
}

Test(filter, without_one) {
  /* A container may have given us one; then it must be harmless for all this to work at all. */
  expect_trial(PORT_TRIAL_PASSED, NULL);
  cr_assert(port_is_filter_request(PR_SET_SECCOMP) && !port_is_filter_request(PR_SET_NAME));
}

static void install(long number, uint32_t action) {
  if (!filter_call(number, action)) cr_skip_test("no filter can be installed");
  cr_assert(port_is_filtered());
}

Test(filter, that_kills) {
  install(SYS_rt_tgsigqueueinfo, SECCOMP_RET_KILL_PROCESS);
  expect_trial(PORT_TRIAL_KILLED, "rt_tgsigqueueinfo");
}
Test(filter, that_kills_for_the_last_call) {
  install(SYS_clock_gettime, SECCOMP_RET_KILL_THREAD);
  expect_trial(PORT_TRIAL_KILLED, "clock_gettime");
}
Test(filter, that_traps) {
  install(SYS_getdents64, SECCOMP_RET_TRAP);
  expect_trial(PORT_TRIAL_KILLED, "getdents64");
}
Test(filter, that_refuses) {
  install(SYS_rt_tgsigqueueinfo, SECCOMP_RET_ERRNO | EPERM);
  expect_trial(PORT_TRIAL_REFUSED, "rt_tgsigqueueinfo");
}
Test(filter, that_refuses_what_can_be_done_without) {
  install(SYS_process_vm_readv, SECCOMP_RET_ERRNO | ENOSYS);
  expect_trial(PORT_TRIAL_PASSED, NULL);
}
Test(filter, that_refuses_the_child) {
  install(SYS_clone, SECCOMP_RET_ERRNO | EPERM);
  expect_trial(PORT_TRIAL_REFUSED, "clone");
}

/* A task that runs beside, as helpers of a collection do. */
static bool helper_works(void) {
  bool works = port_try_helper(stack, sizeof stack);
  int status;
  cr_assert_eq(waitpid(-1, &status, __WALL), -1, "nothing is left of it");
  return works;
}

Test(filter, a_helper_without_one) { cr_expect(helper_works()); }
Test(filter, that_refuses_helpers) {
  install(SYS_sched_getaffinity, SECCOMP_RET_KILL_PROCESS);
  cr_expect(!helper_works());
}

/* Kills for making a thread, by the first argument of clone, and not for making a process. */
Test(filter, that_kills_for_threads) {
  struct sock_filter code[] = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, SYS_clone},
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, args[0])},
      {BPF_JMP | BPF_JSET | BPF_K, 0, 1, CLONE_THREAD},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  if (!filter_install(code, sizeof code / sizeof *code)) cr_skip_test("no filter can be installed");
  expect_trial(PORT_TRIAL_PASSED, NULL);
  cr_expect(!helper_works());
}
