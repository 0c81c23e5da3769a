/* fortified.c: compiled with -O2 -D_FORTIFY_SOURCE=2, so that calls into buffers of known size go
   by other names: __poll_chk, __ppoll_chk, __read_chk, __recv_chk, __recvfrom_chk, __pread_chk,
   __longjmp_chk and more. fortified: each of them waits 60 ms and longer while collections run, and
   must neither end early nor with EINTR; a jump out of a handler passes its check. */
#include "program.h"

#include <poll.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { PAUSE = 60 };
static atomic_bool ending;
static int sockets[2], streams[2];

static void *collect_always(void *unused) {
  (void)unused;
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM); /* the jump is the main thread's */
  CHECK(pthread_sigmask(SIG_BLOCK, &alarm, NULL) == 0);
  while (!ending) {
    collect();
    usleep(300);
  }
  return NULL;
}

static void *answer_late(void *call) {
  usleep((PAUSE + 40) * 1000);
  int descriptor = *(int *)call == 0 ? streams[1] : sockets[1];
  if (write(descriptor, "late", 4) != 4) fail("write: %s", strerror(errno));
  return NULL;
}

/* The size of these is known to the compiler, their number not: so the checked names are called. */
static volatile size_t four = 4;
static volatile unsigned one = 1;

static double since(double begin) { return (seconds_now() - begin) * 1000; }

static void expect_time(const char *name, double begin) {
  double passed = since(begin);
  if (passed < PAUSE - 1) fail("%s came back after %.1f ms", name, passed);
}

static void timeouts(void) {
  struct pollfd slots[1] = {{.fd = sockets[0], .events = POLLIN}};
  struct timespec moment = {0, PAUSE * 1000000};
  char buffer[8];
  double begin = seconds_now();
  errno = 0;
  if (poll(slots, one, PAUSE) != 0) fail("poll: %s", strerror(errno));
  expect_time("poll", begin);
  begin = seconds_now();
  if (ppoll(slots, one, &moment, NULL) != 0) fail("ppoll: %s", strerror(errno));
  expect_time("ppoll", begin);
  struct timeval limit = {0, PAUSE * 1000};
  CHECK(setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  struct {
    const char *name;
    ssize_t result;
  } calls[3];
  for (int i = 0; i < 3; i++) {
    begin = seconds_now();
    errno = 0;
    calls[i].result = i == 0   ? recv(sockets[0], buffer, four, 0)
                      : i == 1 ? recvfrom(sockets[0], buffer, four, 0, NULL, NULL)
                               : read(sockets[0], buffer, four);
    calls[i].name = i == 0 ? "recv" : i == 1 ? "recvfrom" : "read";
    if (calls[i].result != -1 || errno != EAGAIN) fail("%s: %s", calls[i].name, strerror(errno));
    expect_time(calls[i].name, begin);
  }
  limit.tv_usec = 0;
  CHECK(setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
}

static void answers(void) {
  for (int call = 0; call < 3; call++) {
    char buffer[8] = "";
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, answer_late, &call) == 0);
    ssize_t got = call == 0   ? read(streams[0], buffer, four)
                  : call == 1 ? recv(sockets[0], buffer, four, 0)
                              : recvfrom(sockets[0], buffer, four, 0, NULL, NULL);
    if (got != 4 || memcmp(buffer, "late", 4) != 0)
      fail("call %d: %zd, %s", call, got, strerror(errno));
    CHECK(pthread_join(thread, NULL) == 0);
  }
}

static void files(void) {
  char name[] = "fortified-XXXXXX", buffer[64], path[64];
  int file = mkstemp(name);
  CHECK(file >= 0 && unlink(name) == 0 && write(file, "contents", 8) == 8);
  CHECK(pread(file, buffer, four * 2, 0) == 8 && memcmp(buffer, "contents", 8) == 0);
  CHECK(readlink("/proc/self/exe", path, four * 2) == 8);
  CHECK(getcwd(path, four * 16) != NULL || errno == ERANGE);
  close(file);
}

static sigjmp_buf place;
static void jump(int number) { siglongjmp(place, number); }

static void jumps(void) {
  for (int turn = 0; turn < 5; turn++) {
    struct itimerval timer = {{0, 0}, {0, 30000}};
    signal(SIGALRM, jump);
    char buffer[8];
    if (sigsetjmp(place, 1) == 0) {
      CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
      CHECK(read(streams[0], buffer, four) == -1);
      fail("nobody wrote, nothing jumped");
    }
  }
}

int main(void) {
  pthread_t thread;
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0 && pipe(streams) == 0);
  CHECK(pthread_create(&thread, NULL, collect_always, NULL) == 0);
  for (int turn = 0; turn < 3; turn++) {
    timeouts();
    answers();
    files();
  }
  jumps();
  ending = true;
  CHECK(pthread_join(thread, NULL) == 0);
  puts("held");
  return 0;
}
