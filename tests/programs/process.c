/* process.c: what a program does to its own process, and what the collector makes of it.
   process CASE

   announced     fork under threads that allocate and collect; the children collect as well
   bare          children by _Fork, which runs no handlers, during a collection: these collect, too
   cloned        the same by clone and by the calls' numbers
   filtered      forks behind a filter of the program's, by a lone thread whose handler allocates
   foreign       a raw thread forks while its maker, whose storage it has, allocates
   waited        the child of a clone that is waited for waits for another thread, which allocates
   unannounced   children by an instruction of the program's ask for a collection during another
   borrowed      so does a vfork child, while a thread of its parent has a pointer in a register
   single        after its threads have ended, calls that need a process of one thread succeed
   copied        a fork child collects: the pages it shares with its parent stay shared
   environments  exec with the environment cleared or changed, of a static or a set-user-id program
   waiters       three threads ask for collections at once: those that wait can be stopped
   late          the stop signal, blocked by a raw system call, comes when its cycle is long over
   watchdog      a stopped thread burns no processor time, whatever its watchdog may think */
#include "program.h"
#include "reclaimed.h"

#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

static atomic_bool ending;

static void *collect_always(void *unused) {
  (void)unused;
  while (!ending)
    if (!collect()) usleep(1000);
  return NULL;
}

enum { DEADLINE = 6 }; /* seconds for what takes milliseconds */

static void expect_good_end(pid_t pid) {
  int status;
  pid_t got;
  double begin = seconds_now();
  while ((got = waitpid(pid, &status, WNOHANG)) != pid) {
    CHECK(got == 0 || errno == EINTR);
    if (seconds_now() - begin > DEADLINE) {
      kill(pid, SIGKILL);
      fail("the child hangs");
    }
    usleep(500);
  }
  if (WIFSIGNALED(status)) fail("the child was killed by signal %d", WTERMSIG(status));
  CHECK(WEXITSTATUS(status) == 0);
}

/* Blocks that stay the same, to be verified on either side of a fork. */
enum { KEPT = 200 };
static void *kept[KEPT];

static void fill_kept(void) {
  for (int i = 0; i < KEPT; i++) fill_pattern(kept[i] = malloc(300), 300, (unsigned)i);
}

static bool kept_hold(void) {
  for (int i = 0; i < KEPT; i++)
    if (!pattern_holds(kept[i], 300, (unsigned)i)) return false;
  return true;
}

static void *allocate_always(void *unused) {
  (void)unused;
  void *blocks[50] = {0};
  for (unsigned i = 0; !ending; i++) {
    free(blocks[i % 50]);
    fill_pattern(blocks[i % 50] = malloc(100 + i % 3000), 100, i);
  }
  for (int i = 0; i < 50; i++) free(blocks[i]);
  return NULL;
}

static void *allocate_once(void *unused) {
  (void)unused;
  for (int i = 0; i < 200; i++) memset(malloc(1000), 1, 1000);
  collect();
  return NULL;
}

static void announced(void) {
  enum { CHILDREN = 20 };
  pthread_t threads[3];
  fill_kept();
  for (int i = 0; i < 3; i++)
    CHECK(pthread_create(&threads[i], NULL, i ? allocate_always : collect_always, NULL) == 0);
  for (int turn = 0; turn < CHILDREN; turn++) {
    usleep((useconds_t)(turn * 137 % 2000));
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      pthread_t thread;
      for (int again = 0; again < 3; again++) {
        collect();
        allocate_once(NULL);
        CHECK(kept_hold());
      }
      CHECK(pthread_create(&thread, NULL, allocate_once, NULL) == 0);
      CHECK(pthread_join(thread, NULL) == 0);
      _exit(kept_hold() ? 0 : 3);
    }
    expect_good_end(pid);
  }
  ending = true;
  for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(kept_hold());
}

static void bare_child(void) {
  pthread_t thread;
  expect_garbage_back();
  CHECK(pthread_create(&thread, NULL, allocate_once, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void unannounced_child(void) { collect(); }

static pid_t by_instruction(void) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_fork) : "rcx", "r11", "memory");
  return (pid_t)result;
}

static int run_copied(void *pointer) {
  bare_child();
  _exit(kept_hold() && *(int *)pointer == 7 ? 0 : 3);
}

/* Each way in turn. */
static pid_t by_number(void) {
  static int turn;
  struct clone_args arguments = {.exit_signal = SIGCHLD};
  static char stack[256 * 1024] __attribute__((aligned(16)));
  int seven = 7, number = 0;
  pid_t child;

  switch (turn++ % 4) {
  case 0: return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
  case 1: return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
  case 2: return (pid_t)syscall(SYS_fork);
  default:
    child = clone(run_copied, stack + sizeof stack, CLONE_PARENT_SETTID | SIGCHLD, &seven, &number);
    CHECK(number == child);
    return child;
  }
}

static void during_collections(pid_t (*make)(void), void (*act)(void)) {
  enum { CHILDREN = 60 };
  pthread_t thread;
  fill_kept();
  CHECK(pthread_create(&thread, NULL, collect_always, NULL) == 0);
  for (int turn = 0; turn < CHILDREN; turn++) {
    usleep((useconds_t)(turn * 37 % 500));
    pid_t pid = make();
    CHECK(pid >= 0);
    if (pid == 0) {
      act();
      _exit(kept_hold() ? 0 : 3);
    }
    expect_good_end(pid);
  }
  ending = true;
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(kept_hold());
}

static void set_alarm(long microseconds) {
  struct itimerval once = {.it_value.tv_usec = microseconds};
  CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

static void allocate_and_set_alarm(int number) {
  (void)number;
  int error = errno;
  if (collector != NULL) { /* glibc's own malloc does not bear it: one run of sixty aborts */
    void *volatile block = malloc(3000000);
    free(block);
  }
  set_alarm(3000);
  errno = error;
}

static int leave_at_once(void *unused) {
  (void)unused;
  _exit(0);
}

static void filtered(void) {
  enum { FORKS = 800 };
  static char stack[64 * 1024] __attribute__((aligned(16)));
  struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  struct sock_fprog filter = {1, &allow};
  struct sigaction action = {.sa_handler = allocate_and_set_alarm, .sa_flags = SA_RESTART};
  collect();
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  set_alarm(3000);
  for (int i = 0; i < FORKS; i++) {
    pid_t child = i % 4 == 0   ? fork()
                  : i % 4 == 1 ? _Fork()
                  : i % 4 == 2 ? (pid_t)syscall(SYS_fork)
                               : clone(leave_at_once, stack + sizeof stack, SIGCHLD, NULL);
    if (child == 0) _exit(0);
    CHECK(child > 0);
    while (waitpid(child, NULL, 0) < 0) CHECK(errno == EINTR);
  }
  CHECK(signal(SIGALRM, SIG_IGN) != SIG_ERR); /* it must not interrupt malloc there */
}

static int fork_often(void *unused) {
  (void)unused;
  for (int i = 0; i < 200; i++) {
    pid_t child = i % 2 ? (pid_t)syscall(SYS_fork) : _Fork();
    if (child == 0) syscall(SYS_exit_group, 0);
    int status;
    while (syscall(SYS_wait4, child, &status, 0, NULL) < 0)
      ;
  }
  ending = true;
  syscall(SYS_exit, 0);
  return 0;
}

static void foreign(void) {
  static char stack[64 * 1024] __attribute__((aligned(16)));
  sigset_t mask;
  collect();
  CHECK(clone(fork_often, stack + sizeof stack,
              CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
              NULL) > 0);
  while (!ending) {
    void *volatile blocks[40];
    for (int i = 0; i < 40; i++) blocks[i] = malloc(100000);
    for (int i = 0; i < 40; i++) free(blocks[i]);
  }
  CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
  for (int number = 1; number < 32; number++) CHECK(sigismember(&mask, number) == 0);
}

static int answer[2];

static void *allocate_and_answer(void *unused) {
  usleep(20000);
  for (int i = 0; i < 200; i++) free(malloc(3000000));
  for (int i = 0; i < 200000; i++) CHECK(malloc(64) != NULL);
  CHECK(write(answer[1], "a", 1) == 1);
  return unused;
}

static int await_answer(void *unused) {
  char byte;
  (void)unused;
  _exit(read(answer[0], &byte, 1) == 1 ? 0 : 3);
}

static void waited(void) {
  static char stack[64 * 1024] __attribute__((aligned(16)));
  collect();
  for (int i = 0; i < 2; i++) {
    pthread_t thread;
    CHECK(pipe(answer) == 0);
    CHECK(pthread_create(&thread, NULL, allocate_and_answer, NULL) == 0);
    pid_t child = i ? clone(await_answer, stack + sizeof stack, CLONE_VFORK | SIGCHLD, NULL)
                    : (pid_t)syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) await_answer(NULL);
    expect_good_end(child);
    CHECK(pthread_join(thread, NULL) == 0);
  }
}

/* The pointer is made from its complement inside the assembly, so that no temporary holds it. */
static volatile int spinning, released;

NOINLINE static uintptr_t hold_in_register(uintptr_t word) {
  __asm__ volatile("mov %[word], %%rbx\nnot %%rbx\nxor %[word], %[word]\n"
                   "movl $1, %[spinning]\n1: pause\ncmpl $0, %[released]\nje 1b\n"
                   "not %%rbx\nmov %%rbx, %[word]\nxor %%rbx, %%rbx"
                   : [spinning] "=m"(spinning), [word] "+r"(word)
                   : [released] "m"(released)
                   : "rbx", "memory", "cc");
  return word;
}

enum { HELD = 3000 };

NOINLINE static uintptr_t make_hidden(void) {
  void *block = malloc(HELD);
  fill_pattern(block, HELD, 9);
  return ~(uintptr_t)block;
}

static void *hold(void *unused) {
  (void)unused;
  uintptr_t word = make_hidden();
  wipe_stack();
  word = hold_in_register(word);
  if (!pattern_holds((void *)~word, HELD, 9)) fail("the block in the register was taken back");
  return NULL;
}

static void borrowed(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, hold, NULL) == 0);
  while (!spinning) usleep(1000);
  for (int turn = 0; turn < 3; turn++) {
    pid_t pid = vfork();
    if (pid == 0) {
      collect();
      _exit(0);
    }
    CHECK(pid > 0);
    expect_good_end(pid);
  }
  released = 1;
  CHECK(pthread_join(thread, NULL) == 0);
  collect();
}

static void *allocate_and_wait(void *unused) {
  (void)unused;
  for (int i = 0; i < 40; i++) {
    for (int n = 0; n < 100; n++) memset(malloc(1000), 1, 1000);
    usleep(2000);
  }
  return NULL;
}

/* A thread that was joined may still be known to the kernel for a moment. */
static int patiently(int (*call)(void)) {
  for (int turn = 0; turn < 200; turn++) {
    if (call() == 0) return 0;
    usleep(1000);
  }
  return errno;
}

static int leave_memory(void) { return unshare(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD); }
static int leave_users(void) { return unshare(CLONE_NEWUSER); }

static void single(void) {
  for (int turn = 0; turn < 3; turn++) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
      CHECK(pthread_create(&threads[i], NULL, allocate_and_wait, NULL) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    int error = patiently(leave_memory);
    if (error != 0) fail("after the threads: %s", strerror(error));
  }
  fflush(stdout);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    printf("unshare of users: %d\n", patiently(leave_users));
    exit(0);
  }
  expect_good_end(pid);
  collect();
}

static long private_dirty_kib(void) {
  char line[256];
  long kib = -1;
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  if (file == NULL) not_possible("no smaps_rollup");
  while (fgets(line, sizeof line, file) != NULL) sscanf(line, "Private_Dirty: %ld", &kib);
  fclose(file);
  return kib;
}

static void copied(void) {
  enum { BLOCKS = 300000, SIZE = 200 };
  void **blocks = calloc(BLOCKS, sizeof *blocks);
  for (unsigned i = 0; i < BLOCKS; i++) fill_pattern(blocks[i] = malloc(SIZE), SIZE, i);
  collect();
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    for (int turn = 0; turn < 3; turn++) collect();
    long dirty = private_dirty_kib();
    if (dirty > BLOCKS * (SIZE / 1024.0) / 4) fail("the child copied %ld KiB", dirty);
    exit(0);
  }
  expect_good_end(pid);
  for (unsigned i = 0; i < BLOCKS; i++) CHECK(pattern_holds(blocks[i], SIZE, i));
}

/* Runs a command; says what it wrote and whether it kept quiet on standard error. */
static void run(const char *title, char *const arguments[], char *const environment[]) {
  int out[2];
  char text[512];
  size_t length = 0;
  ssize_t got;
  CHECK(pipe(out) == 0);
  fflush(stdout);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    dup2(out[1], 1), dup2(out[1], 2), close(out[0]), close(out[1]);
    execve(arguments[0], arguments, environment);
    _exit(9);
  }
  close(out[1]);
  while (length < sizeof text - 1 && (got = read(out[0], text + length, sizeof text - 1 - length)))
    if (got > 0) length += (size_t)got;
    else CHECK(errno == EINTR);
  text[length] = '\0';
  close(out[0]);
  expect_good_end(pid);
  printf("%s: %s", title, text);
}

extern char **environ;

static void be_exec(void) {
  char *blocks[100];
  for (unsigned i = 0; i < 100; i++) fill_pattern(blocks[i] = malloc(400), 400, i);
  collect();
  for (unsigned i = 0; i < 100; i++) CHECK(pattern_holds(blocks[i], 400, i));
  printf("whole, secure %lu\n", getauxval(AT_SECURE));
  exit(0);
}

static void environments(void) {
  static char program[4096];
  CHECK(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
  static char still[4096];
  char *const self[] = {program, "exec", NULL}, *const nothing[] = {NULL};
  char *const shell[] = {"/bin/sh", "-c", "unset LD_PRELOAD; \"$0\" exec; env -i \"$0\" exec",
                         program, NULL};
  char *const other[] = {"LD_PRELOAD=", "RECLAIM=", NULL};
  snprintf(still, sizeof still, "%s", program);
  memcpy(strrchr(still, '/') + 1, "static", sizeof "static");
  char *const fixed[] = {still, NULL};
  run("as it is", self, environ);
  run("cleared", self, nothing);
  run("emptied", self, other);
  run("through a shell", shell, environ);
  run("static", fixed, environ);
  if (geteuid() == 0) { /* a program of another user with the set-user-id bit */
    char copy[] = "raised-XXXXXX", absolute[4096], command[9000];
    int file = mkstemp(copy);
    CHECK(file >= 0 && close(file) == 0);
    snprintf(command, sizeof command, "cp '%s' '%s'", program, copy);
    CHECK(system(command) == 0 && chown(copy, 65534, 65534) == 0 && chmod(copy, 04755) == 0);
    CHECK(realpath(copy, absolute) != NULL);
    char *const raised[] = {absolute, "exec", NULL};
    run("raised", raised, environ);
    CHECK(unlink(copy) == 0);
  }
}

/* While one collects two wait, and the next has to stop the last. All go on until each has had its
   turns, so that they do meet, or for a second: the lock is not a fair one. */
enum { WAITERS = 3, TURNS = 200 };
static atomic_int with_turns_left = WAITERS;

static void *collect_often(void *unused) {
  (void)unused;
  double begin = seconds_now();
  for (int turn = 0; with_turns_left && seconds_now() - begin < 1; turn++) {
    collect();
    if (turn == TURNS) with_turns_left--;
  }
  return NULL;
}

static void waiters(void) {
  pthread_t threads[WAITERS];
  fill_kept();
  for (int i = 0; i < WAITERS; i++)
    CHECK(pthread_create(&threads[i], NULL, collect_often, NULL) == 0);
  for (int i = 0; i < WAITERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  if (given_up("timeout") > 3) fail("threads that waited did not stop"); /* 3: a busy machine */
  CHECK(kept_hold());
}

static void set_mask(uint64_t mask) {
  CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask) == 0);
}

static atomic_int blocked, free_to_go;

static void *block_everything(void *unused) {
  (void)unused;
  set_mask(~(uint64_t)0);
  blocked = 1;
  while (!free_to_go) sched_yield();
  set_mask(0); /* here the signal of the cycle that was given up arrives */
  for (unsigned i = 0; i < 1000; i++) free(malloc(i));
  return NULL;
}

static void late(void) {
  pthread_t thread;
  fill_kept();
  CHECK(pthread_create(&thread, NULL, block_everything, NULL) == 0);
  while (!blocked) usleep(1000);
  collect(); /* given up */
  free_to_go = 1;
  struct timespec until;
  CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
  until.tv_sec += DEADLINE;
  if (pthread_timedjoin_np(thread, NULL, &until) != 0) fail("the thread was stopped by nobody");
  collect();
  CHECK(kept_hold());
}

static double burnt(clockid_t clock) {
  struct timespec t;
  CHECK(clock_gettime(clock, &t) == 0);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static atomic_int waiting;

/* Waits by a raw system call, so that it has to be stopped by a signal. */
static void *wait_quietly(void *unused) {
  (void)unused;
  struct timespec moment = {0, 1000000};
  waiting = 1;
  while (!ending) syscall(SYS_nanosleep, &moment, NULL);
  return NULL;
}

static void watchdog(void) {
  enum { BLOCKS = 1000000 };
  void **list = NULL;
  for (int i = 0; i < BLOCKS; i++) { /* enough to keep the world stopped for a while */
    void **block = malloc(40);
    *block = list;
    list = block;
  }
  pthread_t thread;
  clockid_t clock;
  CHECK(pthread_create(&thread, NULL, wait_quietly, NULL) == 0);
  CHECK(pthread_getcpuclockid(thread, &clock) == 0);
  while (!waiting) usleep(1000);
  double before = burnt(clock), own = burnt(CLOCK_THREAD_CPUTIME_ID);
  for (int turn = 0; turn < 5; turn++) collect();
  double used = burnt(clock) - before;
  own = burnt(CLOCK_THREAD_CPUTIME_ID) - own;
  ending = true;
  CHECK(pthread_join(thread, NULL) == 0);
  if (used > own / 5 + 0.02) fail("%.3f s of processor time, the collector %.3f s", used, own);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  const char *name = arguments[1];
  if (strcmp(name, "exec") == 0) be_exec();
  else if (strcmp(name, "announced") == 0) announced();
  else if (strcmp(name, "bare") == 0) during_collections(_Fork, bare_child);
  else if (strcmp(name, "cloned") == 0) during_collections(by_number, bare_child);
  else if (strcmp(name, "filtered") == 0) filtered();
  else if (strcmp(name, "foreign") == 0) foreign();
  else if (strcmp(name, "waited") == 0) waited();
  else if (strcmp(name, "unannounced") == 0) during_collections(by_instruction, unannounced_child);
  else if (strcmp(name, "borrowed") == 0) borrowed();
  else if (strcmp(name, "single") == 0) single();
  else if (strcmp(name, "copied") == 0) copied();
  else if (strcmp(name, "environments") == 0) environments();
  else if (strcmp(name, "waiters") == 0) waiters();
  else if (strcmp(name, "late") == 0) late();
  else if (strcmp(name, "watchdog") == 0) watchdog();
  else return 2;
  puts("held");
  return 0;
}
