/* unanswered.c: threads that cannot answer: the collector gives up or goes without them, never
   hangs, and collects again when they are back. unanswered CASE

   vfork, spawn   the parent of a child by vfork stands still in the kernel until the child execs
   traced         another process holds one thread by ptrace, as a debugger does
   stopped        the whole process is stopped and continued while it collects
   no-room        the user has used up the signals that may be pending: none can be sent
   workers        io_uring's kernel workers are listed among the threads
   leader         the first thread has ended, and stays listed
   realtime       threads under SCHED_FIFO on one processor, one of which collects; they spin */
#include "reclaimed.h"
#include "roots.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;
static volatile int ready, release;
static volatile pid_t thread_id;

static void wait_until_ready(void) {
  while (!ready) sched_yield();
}

static void expect_end(pid_t child, int value) {
  int status;
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != value) fail("the child ended with %#x", status);
}

/* A collection must come to an end while the thread is held, without what is garbage. */
static void collect_while_held(void) {
  double begin = seconds_now();
  unsigned long before = given_up("timeout");
  collect();
  collect();
  if (collector != NULL && given_up("timeout") != before + 2) fail("nothing was given up");
  if (seconds_now() - begin > 4) fail("gave up after %.1f s only", seconds_now() - begin);
}

/* Parents by vfork: the child holds its parent until it is told to go on. */

static volatile int child_may_go;

static void *by_vfork(void *unused) {
  char *const arguments[] = {"true", NULL};
  pid_t child = vfork();
  if (child == 0) {
    ready = 1;
    while (!child_may_go) syscall(SYS_sched_yield);
    execv("/bin/true", arguments);
    _exit(9);
  }
  CHECK(child > 0);
  expect_end(child, 0);
  return unused;
}

static void held_by_vfork(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, by_vfork, NULL) == 0);
  wait_until_ready();
  collect_while_held();
  child_may_go = 1;
  CHECK(pthread_join(thread, NULL) == 0);
  expect_garbage_back();
}

/* posix_spawn of a program that is not there yet: a pipe keeps the child in open. */
static char fifo[40];

static void *by_spawn(void *unused) {
  char *const arguments[] = {"true", NULL};
  posix_spawn_file_actions_t actions;
  pid_t child;
  CHECK(posix_spawn_file_actions_init(&actions) == 0);
  CHECK(posix_spawn_file_actions_addopen(&actions, 0, fifo, O_RDONLY, 0) == 0);
  ready = 1;
  CHECK(posix_spawn(&child, "/bin/true", &actions, NULL, arguments, environ) == 0);
  expect_end(child, 0);
  posix_spawn_file_actions_destroy(&actions);
  return unused;
}

static void held_by_spawn(void) {
  pthread_t thread;
  snprintf(fifo, sizeof fifo, "held-fifo-%d", getpid());
  CHECK(mkfifo(fifo, 0600) == 0);
  CHECK(pthread_create(&thread, NULL, by_spawn, NULL) == 0);
  wait_until_ready();
  usleep(100000); /* it is in the kernel by then */
  collect_while_held();
  int writer = open(fifo, O_WRONLY);
  CHECK(writer >= 0 && pthread_join(thread, NULL) == 0);
  close(writer);
  CHECK(unlink(fifo) == 0);
  expect_garbage_back();
}

/* A thread in a debugger's hands */

static void *yield_until_release(void *unused) {
  thread_id = (pid_t)syscall(SYS_gettid);
  ready = 1;
  while (!release) sched_yield();
  return unused;
}

static void trace(pid_t thread, int held, int let_go) {
  char byte = 'h';
  int status;
  if (ptrace(PTRACE_SEIZE, thread, 0, 0) != 0) _exit(77);
  if (ptrace(PTRACE_INTERRUPT, thread, 0, 0) != 0) _exit(1);
  if (waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status)) _exit(1);
  if (write(held, &byte, 1) != 1 || read(let_go, &byte, 1) != 1) _exit(1);
  if (ptrace(PTRACE_DETACH, thread, 0, 0) != 0) _exit(1);
  _exit(0);
}

static void traced(void) {
  pthread_t thread;
  int held[2], let_go[2], status;
  char byte = 'g';
  CHECK(pipe(held) == 0 && pipe(let_go) == 0);
  CHECK(pthread_create(&thread, NULL, yield_until_release, NULL) == 0);
  wait_until_ready();
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* where the kernel asks for it */
  pid_t tracer = fork();
  CHECK(tracer >= 0);
  if (tracer == 0) trace(thread_id, held[1], let_go[0]);
  close(held[1]);
  if (read(held[0], &byte, 1) != 1) {
    CHECK(waitpid(tracer, &status, 0) == tracer);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) not_possible("ptrace is not permitted");
    fail("the tracer failed");
  }
  collect_while_held();
  CHECK(write(let_go[1], &byte, 1) == 1);
  expect_end(tracer, 0);
  expect_garbage_back();
  release = 1;
  CHECK(pthread_join(thread, NULL) == 0);
}

/* All threads stopped at once: job control */

static void stopped(void) {
  pthread_t thread, collecting;
  CHECK(pthread_create(&thread, NULL, yield_until_release, NULL) == 0);
  CHECK(pthread_create(&collecting, NULL, collect_until_end, NULL) == 0);
  pid_t parent = getpid(), child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    for (int i = 0; i < 30; i++) {
      if (kill(parent, SIGSTOP) != 0) _exit(1);
      usleep(20000);
      if (kill(parent, SIGCONT) != 0) _exit(1);
      usleep(10000);
    }
    _exit(0);
  }
  expect_end(child, 0);
  collections_end = true;
  CHECK(pthread_join(collecting, NULL) == 0);
  expect_garbage_back();
  release = 1;
  CHECK(pthread_join(thread, NULL) == 0);
}

/* Workers of the kernel: a read that was asked for asynchronously waits in one. */

static bool has_worker(void) {
  char name[64], text[64] = "";
  for (int i = 1; i < 4000; i++) {
    snprintf(name, sizeof name, "/proc/self/task/%d/comm", getpid() + i);
    FILE *file = fopen(name, "r");
    if (file == NULL) continue;
    bool read = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    if (read && strncmp(text, "iou-", 4) == 0) return true;
  }
  return false;
}

/* Signals that wait for this user's processes, whoever sent them. */
static long queued_signals(void) {
  char line[256];
  long count = -1;
  FILE *file = fopen("/proc/self/status", "r");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) sscanf(line, "SigQ: %ld", &count);
  CHECK(fclose(file) == 0 && count >= 0);
  return count;
}

/* Collections leave no signals behind; other programs' come and go. */
static void expect_no_signals_left(void) {
  enum { WINDOWS = 8, COLLECTIONS = 100 };
  long least = COLLECTIONS;
  for (int i = 0; i < WINDOWS; i++) {
    long before = queued_signals();
    for (int k = 0; k < COLLECTIONS; k++) collect();
    long more = queued_signals() - before;
    if (more < least) least = more;
  }
  if (least > COLLECTIONS / 10) fail("%ld signals of %d collections wait", least, COLLECTIONS);
}

static void workers(void) {
  struct io_uring_params p = {0};
  int ring = (int)syscall(SYS_io_uring_setup, 8, &p), ends[2];
  if (ring < 0) not_possible("io_uring is not permitted");
  int access = PROT_READ | PROT_WRITE;
  char *queue =
      mmap(NULL, p.sq_off.array + p.sq_entries * 4, access, MAP_SHARED, ring, IORING_OFF_SQ_RING);
  struct io_uring_sqe *entry =
      mmap(NULL, p.sq_entries * sizeof *entry, access, MAP_SHARED, ring, IORING_OFF_SQES);
  CHECK(queue != MAP_FAILED && entry != MAP_FAILED && pipe(ends) == 0);
  static char byte;
  *entry = (struct io_uring_sqe){.opcode = IORING_OP_READ,
                                 .fd = ends[0],
                                 .addr = (uintptr_t)&byte,
                                 .len = 1,
                                 .flags = IOSQE_ASYNC};
  ((unsigned *)(queue + p.sq_off.array))[0] = 0;
  __atomic_store_n((unsigned *)(queue + p.sq_off.tail), 1, __ATOMIC_RELEASE);
  CHECK(syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1);
  for (int i = 0; i < 100 && !has_worker(); i++) usleep(10000);
  if (!has_worker()) not_possible("io_uring made no worker");
  unsigned long before = given_up(NULL);
  for (int i = 0; i < 5; i++) expect_garbage_back();
  CHECK(given_up(NULL) == before);
  expect_no_signals_left();
  CHECK(write(ends[1], "x", 1) == 1);
  CHECK(syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) >= 0);
  CHECK(byte == 'x');
}

static void *outlive_the_leader(void *leader) {
  CHECK(pthread_join(*(pthread_t *)leader, NULL) == 0);
  expect_garbage_back();
  expect_no_signals_left();
  expect_garbage_back();
  printf("held\n");
  exit(0);
}

static void leader(void) {
  static pthread_t me;
  pthread_t thread;
  me = pthread_self();
  CHECK(pthread_create(&thread, NULL, outlive_the_leader, &me) == 0);
  pthread_exit(NULL);
}

/* A thread that has to be asked by a signal, and the kernel takes none that carries a value. */

static void *compute(void *unused) {
  ready = 1;
  while (!release)
    for (volatile int i = 0; i < 100000; i++) continue;
  return unused;
}

static void no_room(void) {
  pthread_t thread;
  struct rlimit limit, none;
  CHECK(getrlimit(RLIMIT_SIGPENDING, &limit) == 0);
  CHECK(pthread_create(&thread, NULL, compute, NULL) == 0);
  wait_until_ready();
  none = (struct rlimit){0, limit.rlim_max};
  CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
  unsigned long before = given_up("signal");
  for (int i = 0; i < 3; i++) collect();
  CHECK(collector == NULL || given_up("signal") == before + 3);
  CHECK(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
  expect_garbage_back();
  release = 1;
  CHECK(pthread_join(thread, NULL) == 0);
}

/* Real-time threads, all on one processor: who spins for another keeps it from running. */

static void be_realtime(int priority) {
  struct sched_param parameters = {.sched_priority = priority};
  if (sched_setscheduler(0, SCHED_FIFO, &parameters) != 0)
    not_possible("SCHED_FIFO is not permitted");
}

static void *collect_above(void *unused) {
  double longest = 0;
  be_realtime(20);
  wait_until_ready(); /* sched_yield does not help a lower priority: it was ready before */
  for (int i = 0; i < 20; i++) {
    double begin = seconds_now();
    CHECK(garbage_comes_back() || i == 0);
    double took = seconds_now() - begin;
    if (took > longest) longest = took;
    usleep(1000);
  }
  if (longest > 0.3) fail("a collection took %.3f s", longest);
  release = 1;
  return unused;
}

static void *compute_in_realtime(void *body) {
  be_realtime(5);
  return compute(body);
}

static void realtime(void) {
  pthread_t low, high;
  cpu_set_t one;
  struct timespec moment = {0, 1000000};
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(pthread_create(&low, NULL, compute_in_realtime, NULL) == 0);
  while (!ready) nanosleep(&moment, NULL);
  CHECK(pthread_create(&high, NULL, collect_above, NULL) == 0);
  CHECK(pthread_join(high, NULL) == 0 && pthread_join(low, NULL) == 0);
}

static const struct root_case cases[] = {
    {"vfork", held_by_vfork}, {"spawn", held_by_spawn}, {"traced", traced},
    {"stopped", stopped},     {"workers", workers},     {"leader", leader},
    {"realtime", realtime},   {"no-room", no_room},     {NULL, NULL},
};

int main(int count, char **arguments) { return count == 2 ? run_case(cases, arguments[1]) : 2; }
