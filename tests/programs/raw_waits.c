/* raw_waits.c: waits that a program makes by syscall(): a stop of the collector neither ends them
   early nor shows as EINTR, and a signal of the program's own does.

   raw_waits: under collections at short intervals (collect-every-ms=1) each call waits its time in
   a thread of its own. Then each is interrupted by a handler. */
#include "program.h"

#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/syscall.h>

enum { LIMIT = 40, LONG = 10000, EARLY = 20 }; /* milliseconds */
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

static int milliseconds, ends[2], epoll, semaphores, messages;
static aio_context_t context;
static uint32_t word;
static struct timespec rest;

static struct timespec limit(void) {
  return (struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L};
}
static struct timespec deadline(void) {
  struct timespec now, more = limit();
  clock_gettime(CLOCK_MONOTONIC, &now);
  now.tv_sec += more.tv_sec + (now.tv_nsec + more.tv_nsec) / 1000000000;
  now.tv_nsec = (now.tv_nsec + more.tv_nsec) % 1000000000;
  return now;
}

static long call_futex(void) {
  struct timespec time = limit();
  return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0);
}
static long call_futex_until(void) {
  struct timespec time = deadline();
  return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &time, NULL,
                 (long)FUTEX_BITSET_MATCH_ANY);
}
static long call_nanosleep(void) {
  struct timespec time = limit();
  return syscall(SYS_nanosleep, &time, &rest);
}
static long call_nanosleep_in_place(void) {
  struct timespec time = limit();
  return syscall(SYS_nanosleep, &time, &time);
}
static long call_clock_nanosleep(void) {
  struct timespec time = limit();
  return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL);
}
static long call_clock_nanosleep_until(void) {
  struct timespec time = deadline();
  return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}
static long call_poll(void) { return syscall(SYS_poll, NULL, 0, milliseconds); }
static long call_ppoll(void) {
  struct timespec time = limit();
  return syscall(SYS_ppoll, NULL, 0, &time, NULL, 8);
}
static long call_select(void) {
  struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
  return syscall(SYS_select, 0, NULL, NULL, NULL, &time);
}
static long call_pselect(void) {
  struct timespec time = limit();
  return syscall(SYS_pselect6, 0, NULL, NULL, NULL, &time, NULL);
}
static long call_epoll_wait(void) {
  struct epoll_event event;
  return syscall(SYS_epoll_wait, epoll, &event, 1, milliseconds);
}
static long call_epoll_pwait(void) {
  struct epoll_event event;
  return syscall(SYS_epoll_pwait, epoll, &event, 1, milliseconds, NULL, 8);
}
static long call_epoll_pwait2(void) {
  struct epoll_event event;
  struct timespec time = limit();
  return syscall(SYS_epoll_pwait2, epoll, &event, 1, &time, NULL, 8);
}
static long call_io_getevents(void) {
  struct io_event event;
  struct timespec time = limit();
  return syscall(SYS_io_getevents, context, 1, 1, &event, &time);
}
static long call_semtimedop(void) {
  struct sembuf operation = {0, -1, 0};
  struct timespec time = limit();
  return syscall(SYS_semtimedop, semaphores, &operation, 1, &time);
}
static long call_sigtimedwait(void) {
  uint64_t set = (uint64_t)1 << (SIGUSR2 - 1);
  struct timespec time = limit();
  return syscall(SYS_rt_sigtimedwait, &set, NULL, &time, 8);
}

/* Without a limit: ended by a message or a signal. */
static long call_msgrcv(void) {
  struct {
    long type;
    char text[8];
  } message;
  return syscall(SYS_msgrcv, messages, &message, sizeof message.text, 0, 0);
}
static void send_message(void) {
  struct {
    long type;
    char text[8];
  } message = {1, "x"};
  CHECK(msgsnd(messages, &message, 1, 0) == 0);
}
static long call_semop(void) {
  struct sembuf operation = {0, -1, 0};
  return syscall(SYS_semop, semaphores, &operation, 1);
}
static void post(void) {
  struct sembuf operation = {0, 1, 0};
  CHECK(semop(semaphores, &operation, 1) == 0);
}
static long call_pause(void) { return syscall(SYS_pause); }

static const struct call {
  const char *name;
  long (*run)(void);
  long result; /* when its time is over */
  int error;
  void (*release)(void);
} calls[] = {
    {"futex", call_futex, -1, ETIMEDOUT, NULL},
    {"futex_until", call_futex_until, -1, ETIMEDOUT, NULL},
    {"nanosleep", call_nanosleep, 0, 0, NULL},
    {"nanosleep_in_place", call_nanosleep_in_place, 0, 0, NULL},
    {"clock_nanosleep", call_clock_nanosleep, 0, 0, NULL},
    {"clock_nanosleep_until", call_clock_nanosleep_until, 0, 0, NULL},
    {"poll", call_poll, 0, 0, NULL},
    {"ppoll", call_ppoll, 0, 0, NULL},
    {"select", call_select, 0, 0, NULL},
    {"pselect", call_pselect, 0, 0, NULL},
    {"epoll_wait", call_epoll_wait, 0, 0, NULL},
    {"epoll_pwait", call_epoll_pwait, 0, 0, NULL},
    {"epoll_pwait2", call_epoll_pwait2, 0, 0, NULL},
    {"io_getevents", call_io_getevents, 0, 0, NULL},
    {"semtimedop", call_semtimedop, -1, EAGAIN, NULL},
    {"sigtimedwait", call_sigtimedwait, -1, EAGAIN, NULL},
    {"msgrcv", call_msgrcv, 1, 0, send_message},
    {"semop", call_semop, 0, 0, post},
    {"pause", call_pause, -1, EINTR, NULL}, /* ends by a signal alone */
};

static struct {
  const struct call *call;
  long result;
  int error;
  double seconds;
} last;

static void *run_call(void *unused) {
  double begin = seconds_now();
  errno = 0;
  last.result = last.call->run();
  last.error = errno;
  last.seconds = seconds_now() - begin;
  return unused;
}

static void on_signal(int number) { (void)number; }

static void judge(bool good, const char *what) {
  if (!good)
    fail("%s %s: result %ld, %s, after %.1f ms", last.call->name, what, last.result,
         strerrorname_np(last.error), last.seconds * 1e3);
}

int main(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  pthread_t thread;
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && pipe(ends) == 0);
  CHECK((epoll = epoll_create1(0)) >= 0);
  semaphores = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
  messages = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
  if (semaphores < 0 || messages < 0 || syscall(SYS_io_setup, 1, &context) != 0)
    not_possible("no System V semaphores and queues, or no asynchronous input and output");
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    bool ends_by_signal = calls[i].error == EINTR;
    last.call = &calls[i];
    milliseconds = LIMIT;
    CHECK(pthread_create(&thread, NULL, run_call, NULL) == 0);
    if (calls[i].release != NULL || ends_by_signal) usleep(LIMIT * 1000);
    if (calls[i].release != NULL) calls[i].release();
    if (ends_by_signal) CHECK(pthread_kill(thread, SIGUSR1) == 0);
    pthread_join(thread, NULL);
    bool early = last.seconds < (LIMIT - 2) * 1e-3 && calls[i].release == NULL && !ends_by_signal;
    judge(last.result == calls[i].result && last.error == calls[i].error && !early, "cut short");
    /* And a signal of the program's own ends it. */
    milliseconds = LONG;
    CHECK(pthread_create(&thread, NULL, run_call, NULL) == 0);
    usleep(EARLY * 1000);
    for (int tries = 0; tries < 4; tries++) { /* once may be too early on a busy machine */
      struct timespec end;
      clock_gettime(CLOCK_REALTIME, &end);
      end.tv_sec += 1;
      CHECK(pthread_kill(thread, SIGUSR1) == 0);
      if (pthread_timedjoin_np(thread, NULL, &end) == 0) break;
      if (tries == 3) fail("%s: not interrupted", last.call->name);
    }
    judge(last.result == -1 && last.error == EINTR, "not ended");
  }
  semctl(semaphores, 0, IPC_RMID);
  msgctl(messages, IPC_RMID, NULL);
  puts("waited");
  return 0;
}
