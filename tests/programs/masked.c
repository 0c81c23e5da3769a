/* masked.c: signals belong to the program: whatever it blocks, waits for, reads or handles, it sees
   no signal of the collector's, and collections run all the same. masked CASE

   pthread-mask, process-mask   a thread that blocks every signal, by libc
   raw-mask      by a system call of its own, which blocks what libc leaves open: the cycles are
   given up, and run again afterwards sigwait, signalfd   a thread takes every signal that there is
   handlers      a handler for every number that can be had; none runs unasked
   long-handler  a handler that runs long, with every signal masked */
#include "reclaimed.h"
#include "roots.h"

#include <sched.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

enum { REPEATS = 20, MARK = 4711 };
static volatile int ready, release;

static void wait_until_ready(void) {
  while (!ready) sched_yield();
}

static void expect_nothing_pending(void) {
  sigset_t pending;
  CHECK(sigpending(&pending) == 0);
  for (int number = 1; number < NSIG; number++)
    if (sigismember(&pending, number) == 1) fail("signal %d is pending", number);
}

static void collect_repeatedly(void) {
  for (int i = 0; i < REPEATS; i++) expect_garbage_back();
}

/* Blocking everything */

static void *masked_body(void *how) {
  sigset_t all;
  sigfillset(&all);
  CHECK((how ? sigprocmask : pthread_sigmask)(SIG_BLOCK, &all, NULL) == 0);
  void *volatile slots[SIZES];
  store_blocks((void **)slots);
  ready = 1;
  while (!release) sched_yield();
  verify_blocks((void **)slots);
  expect_nothing_pending();
  return NULL;
}

static void masked(void *how) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, masked_body, how) == 0);
  wait_until_ready();
  collect_repeatedly();
  release = 1;
  CHECK(pthread_join(thread, NULL) == 0);
}

static void pthread_mask(void) { masked(NULL); }
static void process_mask(void) { masked((void *)1); }

static void *raw_body(void *unused) {
  uint64_t all = ~0ull, old;
  CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, 8) == 0);
  ready = 1;
  while (!release) sched_yield();
  CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, 8) == 0);
  ready = 2;
  while (release < 2) sched_yield();
  return unused;
}

static void raw_mask(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, raw_body, NULL) == 0);
  wait_until_ready();
  unsigned long before = given_up("timeout");
  collect();
  collect();
  CHECK(collector == NULL || given_up("timeout") == before + 2);
  release = 1;
  while (ready < 2) sched_yield();
  expect_garbage_back();
  release = 2;
  CHECK(pthread_join(thread, NULL) == 0);
}

/* Taking everything. Each real-time signal is told from what may come by its value. */

static volatile int taken;

static void *wait_for_signals(void *unused) {
  sigset_t all;
  sigfillset(&all);
  ready = 1;
  while (taken < REPEATS) {
    int number = 0;
    CHECK(sigwait(&all, &number) == 0);
    if (number != SIGRTMIN) fail("signal %d came out of nowhere", number);
    taken++;
  }
  return unused;
}

static void *read_signals(void *unused) {
  sigset_t all;
  sigfillset(&all);
  int descriptor = signalfd(-1, &all, 0);
  CHECK(descriptor >= 0);
  ready = 1;
  while (taken < REPEATS) {
    struct signalfd_siginfo info;
    CHECK(read(descriptor, &info, sizeof info) == sizeof info);
    if (info.ssi_signo != (unsigned)SIGRTMIN || info.ssi_int != MARK + taken)
      fail("signal %u with value %d came out of nowhere", info.ssi_signo, info.ssi_int);
    taken++;
  }
  return unused;
}

static void taking(void *(*body)(void *)) {
  pthread_t thread;
  sigset_t all;
  sigfillset(&all);
  CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0); /* as programs do that have such a thread */
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
  wait_until_ready();
  for (int i = 0; i < REPEATS; i++) {
    expect_garbage_back();
    union sigval value = {.sival_int = MARK + i};
    CHECK(sigqueue(getpid(), SIGRTMIN, value) == 0);
    while (taken == i) sched_yield();
  }
  CHECK(pthread_join(thread, NULL) == 0);
  expect_nothing_pending();
}

static void by_sigwait(void) { taking(wait_for_signals); }
static void by_signalfd(void) { taking(read_signals); }

/* Handlers for every number */

static volatile sig_atomic_t runs[NSIG];
static void count_run(int number) { runs[number]++; }

static void *idle_body(void *unused) {
  ready = 1;
  while (!release) sched_yield();
  return unused;
}

static void handlers(void) {
  pthread_t thread;
  int installed = 0;
  for (int number = 1; number < NSIG; number++) {
    struct sigaction action = {.sa_handler = count_run};
    sigfillset(&action.sa_mask);
    installed += sigaction(number, &action, NULL) == 0;
  }
  CHECK(installed == NSIG - 1 - 4); /* not SIGKILL, SIGSTOP and libc's two */
  CHECK(pthread_create(&thread, NULL, idle_body, NULL) == 0);
  wait_until_ready();
  collect_repeatedly();
  for (int number = 1; number < NSIG; number++)
    if (runs[number] != 0) fail("signal %d came out of nowhere", number);
  for (int number = 1; number < NSIG; number++) {
    struct sigaction now;
    if (number == SIGKILL || number == SIGSTOP || sigaction(number, NULL, &now) != 0) continue;
    if (now.sa_handler != count_run) fail("the handler of signal %d was replaced", number);
    CHECK(sigismember(&now.sa_mask, SIGUSR1) == 1 && sigismember(&now.sa_mask, SIGRTMAX) == 1);
  }
  CHECK(pthread_kill(thread, SIGPWR) == 0 && pthread_kill(thread, SIGXCPU) == 0);
  while (runs[SIGPWR] == 0 || runs[SIGXCPU] == 0) sched_yield();
  release = 1;
  CHECK(pthread_join(thread, NULL) == 0);
}

static void long_run(int number) {
  runs[number]++;
  ready = 1;
  while (!release) sched_yield();
}

static void *raise_long(void *unused) {
  CHECK(raise(SIGUSR1) == 0);
  return unused;
}

static void long_handler(void) {
  pthread_t thread;
  struct sigaction action = {.sa_handler = long_run};
  sigfillset(&action.sa_mask);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  CHECK(pthread_create(&thread, NULL, raise_long, NULL) == 0);
  wait_until_ready();
  collect_repeatedly();
  release = 1;
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(runs[SIGUSR1] == 1);
}

static const struct root_case cases[] = {
    {"pthread-mask", pthread_mask}, {"process-mask", process_mask},
    {"raw-mask", raw_mask},         {"sigwait", by_sigwait},
    {"signalfd", by_signalfd},      {"handlers", handlers},
    {"long-handler", long_handler}, {NULL, NULL},
};

int main(int count, char **arguments) { return count == 2 ? run_case(cases, arguments[1]) : 2; }
