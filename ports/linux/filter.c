/* filter.c: system call filters (seccomp).

   A filter that came with the process cannot be read without privileges, and a wrong guess may be
   death. So the calls that a cycle needs are tried in a child made to be lost: it shares our memory
   (nothing is copied, and a heap without room for a copy is no hindrance), the calling thread waits
   in the kernel until it is gone (CLONE_VFORK), it has no exit signal that the program could see,
   and every signal is blocked in it, so that a filter that answers by SIGSYS kills it as well
   instead of running a handler of the program. It leaves word in memory of how far it came.

   Its own death by a filter would dump core: it forbids itself that first. (Before Linux 5.16 the
   dump would have killed all that share its memory.) A filter that kills for clone is not found
   out: no call could tell. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "ports/port.h"
#include "ports/x86_64/system_call.h"

bool port_sealed;

bool port_is_filtered(void) {
  char status[4096];
  long length = port_read_file("/proc/thread-self/status", status, sizeof status - 1);
  if (length <= 0) return true; /* cannot be told: try */
  status[length] = 0;
  const char *line = strstr(status, "\nSeccomp:");
  if (!line) return false; /* a kernel without */
  line += sizeof "\nSeccomp:" - 1;
  while (*line == ' ' || *line == '\t') line++;
  return *line != '0';
}

bool port_is_filter_request(int option) { return option == PR_SET_SECCOMP; }

/* What the child was about to do, in order. */
static const char *const steps[] = {"clone",
                                    "prlimit64",
                                    "wait4",
                                    "openat",
                                    "ioctl",
                                    "pread64",
                                    "process_vm_readv",
                                    "mincore",
                                    "read",
                                    "getdents64",
                                    "newfstatat",
                                    "tgkill",
                                    "rt_tgsigqueueinfo",
                                    "rt_sigaction",
                                    "sigaltstack",
                                    "futex",
                                    "sched_yield",
                                    "clock_gettime",
                                    "close"};
enum step {
  CLONE,
  PRLIMIT,
  WAIT,
  OPEN,
  IOCTL,
  PREAD,
  COPY,
  MINCORE,
  READ,
  LIST,
  STAT,
  TGKILL,
  QUEUE,
  ACTION,
  STACK,
  FUTEX,
  YIELD,
  CLOCK,
  CLOSE,
  DONE
};
_Static_assert(sizeof steps / sizeof *steps == DONE, "one name a step");

static struct {
  volatile enum step step;
  volatile enum step refused; /* the first that a cycle cannot do without; DONE: none */
} trial;

static void begin(enum step step) { trial.step = step; }

/* The error numbers that filters answer with; none of these calls fails so by itself. */
static void need(long result) {
  if ((result == -EPERM || result == -ENOSYS) && trial.refused == DONE) trial.refused = trial.step;
}

static void dump_no_core(void) {
  struct rlimit core = {0, 0};
  if (SYSTEM_CALL(SYS_prlimit64, 0, RLIMIT_CORE, 0, &core) != 0) return;
  core.rlim_cur = core.rlim_max ? 1 : 0; /* 1 stops dumps through a pipe as well (core(5)) */
  SYSTEM_CALL(SYS_prlimit64, 0, RLIMIT_CORE, &core, 0);
}

/* Runs in the child. Calls without need() have a second way in mappings.c. */
static void try_calls(void *unused) {
  (void)unused;
  char buffer[256];
  struct stat status;
  struct timespec time;
  stack_t stack;
  siginfo_t info;
  uint32_t word = 0;
  begin(PRLIMIT);
  dump_no_core();
  begin(WAIT);
  need(SYSTEM_CALL(SYS_wait4, -1, 0, WNOHANG | __WALL, 0));
  begin(OPEN);
  int maps = (int)SYSTEM_CALL(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
  int tasks = (int)SYSTEM_CALL(SYS_openat, AT_FDCWD, "/proc/self/task",
                               O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  need(maps);
  need(tasks);
  begin(IOCTL);
  SYSTEM_CALL(SYS_ioctl, maps, 0, 0);
  begin(PREAD);
  SYSTEM_CALL(SYS_pread64, maps, buffer, sizeof buffer, 0);
  begin(COPY);
  SYSTEM_CALL(SYS_process_vm_readv, 0, 0, 0, 0, 0, 0);
  begin(MINCORE);
  SYSTEM_CALL(SYS_mincore, 0, 0, 0);
  begin(READ);
  need(SYSTEM_CALL(SYS_read, maps, buffer, sizeof buffer));
  begin(LIST);
  need(SYSTEM_CALL(SYS_getdents64, tasks, buffer, sizeof buffer));
  begin(STAT);
  need(SYSTEM_CALL(SYS_newfstatat, AT_FDCWD, "/proc/self/task", &status, 0));
  begin(TGKILL);
  int id = port_process_id();
  need(SYSTEM_CALL(SYS_tgkill, id, id, 0));
  begin(QUEUE);
  memset(&info, 0, sizeof info);
  info.si_code = SI_QUEUE;
  info.si_pid = id;
  need(SYSTEM_CALL(SYS_rt_tgsigqueueinfo, id, id, 0, &info));
  begin(ACTION);
  char action[32];
  need(SYSTEM_CALL(SYS_rt_sigaction, SIGTERM, 0, action, 8));
  begin(STACK);
  need(SYSTEM_CALL(SYS_sigaltstack, 0, &stack));
  begin(FUTEX);
  need(SYSTEM_CALL(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
  begin(YIELD);
  need(SYSTEM_CALL(SYS_sched_yield));
  begin(CLOCK);
  need(SYSTEM_CALL(SYS_clock_gettime, CLOCK_MONOTONIC, &time));
  begin(CLOSE);
  SYSTEM_CALL(SYS_close, maps);
  SYSTEM_CALL(SYS_close, tasks);
  begin(DONE);
}

enum port_trial port_try_calls(void *stack, size_t size, const char **call) {
  trial.step = CLONE;
  trial.refused = DONE;
  *call = steps[CLONE];
  uint64_t mask = port_signals_block_faults();
  long child = port_call_in_child(try_calls, NULL, (char *)stack + size);
  /* Reaped only where the child has shown that the call is allowed. */
  if (child > 0 && trial.step > WAIT && trial.refused != WAIT) port_reap(child);
  port_signals_restore(mask);
  if (child == -EAGAIN || child == -ENOMEM) return PORT_TRIAL_LATER;
  if (child < 0) return PORT_TRIAL_REFUSED;
  if (trial.step != DONE) {
    *call = steps[trial.step];
    return PORT_TRIAL_KILLED;
  }
  if (trial.refused == DONE) return PORT_TRIAL_PASSED;
  *call = steps[trial.refused];
  return PORT_TRIAL_REFUSED;
}

static void be_helper(void *helped) { *(volatile bool *)helped = true; }

static struct {
  char stack[4096] __attribute__((aligned(16)));
  uint32_t alive;
  bool helped, done;
} helper;

static void try_helper(void *unused) {
  (void)unused;
  uint64_t mask[128];
  dump_no_core();
  SYSTEM_CALL(SYS_sched_getaffinity, 0, sizeof mask, mask);
  SYSTEM_CALL(SYS_sched_getscheduler, 0);
  if (port_start_helper(be_helper, &helper.helped, helper.stack + sizeof helper.stack,
                        &helper.alive) <= 0)
    return;
  port_await_helper(&helper.alive);
  helper.done = helper.helped;
}

bool port_try_helper(void *stack, size_t size) {
  helper.helped = helper.done = false;
  return port_call_apart(try_helper, NULL, stack, size) && helper.done;
}
