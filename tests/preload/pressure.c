/* pressure.c: little memory, and none.

   A limit, be it an option or of a control group, is kept to by a program that leaks.

   The kernel refuses memory: each call of the library that asks for address space or
   memory, gives it back or protects it fails with ENOMEM, one after the other and from one on all;
   the program of tests/programs/refused.c must not notice but by malloc's NULL.

   The library makes its system calls itself, so they are caught where they arrive: the program runs
   under ptrace, and a call is ours when the instruction that makes it lies in the library. */
#include "harness.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

ONE_TEST_AT_A_TIME

enum { TASKS = 64, SECONDS = 20 };

/* One run of the program, of which the calls [first, last] of ours are refused; `moving`: they
   count from the first one on by which a block is moved. */
struct trial {
  const char *how;
  bool moving;
  unsigned first, last;
  const char *options;
  const char *without; /* a remedy left out; NULL: none */
  /* What came of it: */
  unsigned calls, refused, nulls;
  int status; /* as waitpid gave it; -1: it hung and was killed */
  char output[400];
};

struct task {
  pid_t id;
  bool inside;  /* a system call: the next stop is its end */
  bool refused; /* that call */
};

static struct {
  struct trial *trial;
  pid_t program;
  uintptr_t begin, end; /* the library's code; 0: not loaded yet, or not known */
  struct task tasks[TASKS];
} traced;

static struct task *task_of(pid_t id) {
  struct task *free = NULL;
  for (unsigned i = 0; i < TASKS; i++) {
    if (traced.tasks[i].id == id) return &traced.tasks[i];
    if (traced.tasks[i].id == 0) free = &traced.tasks[i];
  }
  cr_assert(free != NULL, "more tasks than the test foresees");
  *free = (struct task){.id = id};
  return free;
}

static bool asks_for_memory(long number) {
  return number == SYS_mmap || number == SYS_munmap || number == SYS_mprotect ||
         number == SYS_madvise || number == SYS_mremap;
}

static void find_library(pid_t id) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%d/maps", (int)id);
  FILE *maps = fopen(path, "r");
  while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
    unsigned long begin, end;
    char protection[8];
    if ((strstr(line, "/libreclaim.so") != NULL || strstr(line, "/libwithout.so") != NULL) &&
        sscanf(line, "%lx-%lx %7s", &begin, &end, protection) == 3 && protection[2] == 'x')
      traced.begin = begin, traced.end = end;
  }
  if (maps != NULL) fclose(maps);
}

static void enter(struct task *task, struct user_regs_struct *registers) {
  struct trial *trial = traced.trial;
  if (!asks_for_memory((long)registers->orig_rax)) return;
  if (traced.begin == 0) find_library(task->id);
  if (registers->rip - traced.begin >= traced.end - traced.begin) return;
  if (trial->moving && registers->orig_rax != SYS_mremap && trial->calls == 0) return;
  unsigned number = ++trial->calls;
  if (number < trial->first || number > trial->last) return;
  if (registers->orig_rax == SYS_mremap && registers->r10 & MREMAP_FIXED) {
    /* As it fails late: the target is unmapped already. */
    registers->orig_rax = SYS_munmap;
    registers->rdi = registers->r8;
  } else {
    registers->orig_rax = (unsigned long long)-1;
  }
  task->refused = ptrace(PTRACE_SETREGS, task->id, NULL, registers) == 0;
  trial->refused += task->refused;
}

static void leave(struct task *task, struct user_regs_struct *registers) {
  if (!task->refused) return;
  task->refused = false;
  registers->rax = (unsigned long long)-ENOMEM;
  cr_assert_eq(ptrace(PTRACE_SETREGS, task->id, NULL, registers), 0);
}

/* A task has stopped; the signal with which it goes on. */
static int look(struct task *task, int status) {
  int signal = WSTOPSIG(status);
  if (signal == (SIGTRAP | 0x80)) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, task->id, NULL, &registers) != 0) return 0; /* it was killed */
    task->inside = !task->inside;
    if (task->inside) enter(task, &registers);
    else leave(task, &registers);
    return 0;
  }
  if (status >> 16 == PTRACE_EVENT_EXEC) traced.begin = traced.end = 0;
  if (status >> 16 != 0 || signal == SIGSTOP) return 0; /* new tasks begin with it */
  return signal;
}

static pid_t start(const struct trial *trial, int output) {
  pid_t child = fork();
  cr_assert_geq(child, 0);
  if (child > 0) return child;
  char library[600], options[200], without[200];
  snprintf(library, sizeof library, "LD_PRELOAD=%s",
           trial->without != NULL ? library_without_path() : library_path());
  snprintf(options, sizeof options, "RECLAIM=%s", trial->options);
  snprintf(without, sizeof without, "RECLAIM_WITHOUT=%s",
           trial->without != NULL ? trial->without : "");
  char *const environment[] = {library, options, without, NULL};
  char *const arguments[] = {(char *)"refused", (char *)trial->how, NULL};
  dup2(output, 1);
  dup2(output, 2);
  if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(77);
  raise(SIGSTOP);
  execve(program_path("refused"), arguments, environment);
  _exit(127);
}

static void ignore(int signal) { (void)signal; }

static void run(struct trial *trial) {
  int pipes[2], status;
  cr_assert_eq(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
  memset(&traced, 0, sizeof traced);
  traced.trial = trial;
  traced.program = start(trial, pipes[1]);
  close(pipes[1]);
  cr_assert_eq(waitpid(traced.program, &status, 0), traced.program);
  if (!WIFSTOPPED(status)) cr_skip_test("no ptrace here");
  cr_assert_eq(ptrace(PTRACE_SETOPTIONS, traced.program, NULL,
                      PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC |
                          PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK),
               0);
  ptrace(PTRACE_SYSCALL, traced.program, NULL, 0);
  struct sigaction action = {.sa_handler = ignore}; /* no SA_RESTART: waitpid returns */
  sigaction(SIGALRM, &action, NULL);
  alarm(SECONDS);
  trial->status = 0;
  bool ended = false;
  for (;;) {
    pid_t id = waitpid(-1, &status, __WALL);
    if (id < 0 && errno == EINTR) {
      if (ended) continue;
      trial->status = -1; /* once it is dead, so are the others: their tracer ends them */
      for (unsigned i = 0; i < TASKS; i++)
        if (traced.tasks[i].id != 0) kill(traced.tasks[i].id, SIGKILL);
      ended = true;
      continue;
    }
    if (id < 0) break;
    struct task *task = task_of(id);
    if (!WIFSTOPPED(status)) {
      task->id = 0;
      if (id == traced.program && !ended) trial->status = status, ended = true;
      continue;
    }
    int signal = look(task, status);
    ptrace(PTRACE_SYSCALL, id, NULL, (void *)(long)signal);
  }
  alarm(0);
  ssize_t length = read(pipes[0], trial->output, sizeof trial->output - 1);
  trial->output[length > 0 ? length : 0] = 0;
  close(pipes[0]);
}

static void expect_held(struct trial *trial) {
  cr_expect(trial->status == 0 && sscanf(trial->output, "held, %u times", &trial->nulls) == 1,
            "calls %u to %u refused (%s, %s): %s %x: %s", trial->first, trial->last, trial->how,
            trial->options, trial->status == -1 ? "it hung," : "status", (unsigned)trial->status,
            trial->output);
}

/* Every call in turn, by steps; `length`: so many are refused from there on. Others may come and
   go with the threads' timing, but what is refused must be. */
static void refuse(const char *how, unsigned step, unsigned length, const char *options) {
  struct trial undisturbed = {.how = how, .options = options};
  run(&undisturbed);
  expect_held(&undisturbed);
  cr_assert_gt(undisturbed.calls, 60, "%u calls: the library's are not seen", undisturbed.calls);
  unsigned trials = 0, hit = 0, nulls = 0;
  for (unsigned n = 1; n <= undisturbed.calls; n += step) {
    struct trial trial = {.how = how, .options = options, .first = n, .last = n - 1 + length};
    run(&trial);
    expect_held(&trial);
    trials++;
    hit += trial.refused > 0;
    nulls += trial.nulls > 0;
  }
  fprintf(stderr, "%-5s %-24s %u calls of ours, %u trials, %u hit, %u with NULL\n", how, options,
          undisturbed.calls, trials, hit, nulls);
  cr_expect_geq(hit, trials * 9 / 10);
}

Test(pressure, one_call_is_refused, .timeout = 300) { refuse("once", 1, 1, ""); }
Test(pressure, all_are_refused_from_one_on, .timeout = 300) { refuse("ever", 9, 1 << 30, ""); }
Test(pressure, some_are_refused_in_a_row, .timeout = 300) {
  refuse("once", 9, 8, "free=quarantine,reclaim=on");
}

/* Where pages are to be moved to, the kernel has unmapped what was there, refuses, and refuses to
   map it again. */
static const struct trial lost = {
    .how = "once", .options = "", .moving = true, .first = 1, .last = 3};

Test(holds, lost_target, .timeout = 60) {
  struct trial trial = lost;
  run(&trial);
  expect_held(&trial);
  cr_assert_eq(trial.refused, 3);
}

Test(can_fail, lost_target, .timeout = 60) {
  struct trial trial = lost;
  trial.without = "lost_target";
  run(&trial);
  cr_assert_eq(trial.refused, 3);
  cr_assert(trial.status > 0 && WIFSIGNALED(trial.status), "status %x: %s", trial.status,
            trial.output);
}

/* --- limits -------------------------------------------------------------------------------------
 */

enum { LIMIT_KIB = 128 * 1024 };

static long peak_of(const struct run *run) {
  long kib = 0;
  cr_assert_eq(sscanf(run->output, "%ld KiB", &kib), 1, "%s", run_describe(run));
  return kib;
}

static bool log_tells(const struct run *run, const char *pattern) {
  char command[400];
  snprintf(command, sizeof command, "cat '%s'/cycles.* | grep -q '%s'", run->directory, pattern);
  return system(command) == 0;
}

/* Three quarters of the limit live, of small blocks, is as much as leaves room for their tables,
   for what rounding takes and for garbage that waits to be confirmed. */
static const struct {
  const char *live, *mix;
} mixes[] = {{"16", "mixed"}, {"64", "mixed"}, {"96", "small"}, {"96", "large"}};

Test(limits, option, .timeout = 200) {
  for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
    struct run run =
        run_collected("limit=128M", 60, "limited", mixes[i].live, "500", mixes[i].mix, NULL);
    long peak = peak_of(&run);
    fprintf(stderr, "%3s MiB live, %s: %ld KiB of %d\n", mixes[i].live, mixes[i].mix, peak,
            LIMIT_KIB);
    cr_expect_leq(peak, LIMIT_KIB / 100 * 105, "%s", run_describe(&run));
    if (i > 0) /* the first never comes near it */
      cr_expect(log_tells(&run, "reason=limit .* limit=12[0-9]* limit_by=option"), "%s",
                run_describe(&run));
    run_discard(&run);
  }
}

/* A stand-in for /sys/fs/cgroup in a namespace of its own, where a shell does what the kernel does.
   What decides is how much of it the program has. */
static struct command in_group(const char *options, const char *without) {
  static char program[512];
  snprintf(program, sizeof program, "%s", program_path("limited"));
  return (struct command){
      .argv = {"unshare", "-m", "sh", "-c",
               "mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup || exit 77\n"
               "echo 134217728 >memory.max; echo 0 >memory.current\n"
               "$0 80 500 mixed & while read size resident rest </proc/$!/statm &&\n"
               "[ ${resident:-0} -gt 0 ]; do echo $((resident * 4096)) >new\n"
               "mv new memory.current; sleep .02; done; wait $!",
               program},
      .environment = {"POSIXLY_CORRECT=1"},
      .options = options,
      .without = without};
}

Test(holds, group_limit, .timeout = 100) {
  struct command command = in_group("", NULL);
  struct run run = run_command(&command);
  if (run.status != 0 && run.output_size == 0) cr_skip_test("%s", run.errors);
  expect_success(&run);
  cr_expect_leq(peak_of(&run), LIMIT_KIB / 100 * 105, "%s", run_describe(&run)); /* told late */
  cr_expect(log_tells(&run, "reason=limit .* limit_by=group"), "%s", run_describe(&run));
  run_discard(&run);
}

Test(can_fail, group_limit, .timeout = 100) {
  struct command command = in_group("", "group_limit");
  struct run run = run_command(&command);
  if (run.status != 0 && run.output_size == 0) cr_skip_test("%s", run.errors);
  cr_expect_gt(peak_of(&run), LIMIT_KIB, "%s", run_describe(&run));
  run_discard(&run);
}

/* A real one, where the system lets us make it: the kernel ends the program that grows beyond. */
Test(limits, group, .timeout = 150) {
  char program[512];
  snprintf(program, sizeof program, "%s", program_path("limited"));
  struct command command = {
      .argv = {"sh", "-c",
               "top=/sys/fs/cgroup; group=$top/reclaim-test-$$\n"
               "grep -qw memory $top/cgroup.subtree_control && mkdir $group || exit 77\n"
               "echo 134217728 >$group/memory.max; echo 0 >$group/memory.swap.max\n"
               "(sh -c 'echo $PPID' >$group/cgroup.procs && exec $0 80 500 mixed); status=$?\n"
               "rmdir $group; exit $status",
               program}};
  struct run plain = run_command(&command);
  if (plain.status >> 8 == 77) cr_skip_test("%s", plain.errors);
  cr_assert_neq(plain.status, 0, "no limit%s", run_describe(&plain));
  command.options = "";
  struct run run = run_command(&command);
  expect_success(&run);
  cr_expect(log_tells(&run, "limit_by=group"), "%s", run_describe(&run));
  run_discard(&plain);
  run_discard(&run);
}
