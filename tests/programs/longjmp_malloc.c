/* longjmp_malloc.c: handlers that leave malloc, free and the collector by siglongjmp.

   A program with timeouts of the old kind: SIGALRM longjmps out of whatever runs, malloc included.
   What malloc was doing is abandoned then; that may lose memory, but later calls and collections
   work. longjmp_malloc SECONDS */
#include "program.h"

#include <setjmp.h>
#include <sys/time.h>

static sigjmp_buf back;
static volatile sig_atomic_t armed;

static void on_alarm(int number) {
  (void)number;
  if (!armed) return;
  armed = 0;
  siglongjmp(back, 1);
}

static void *blocks[4096];

static NOINLINE void allocate(uint64_t *random) {
  for (;;) {
    uint64_t r = next_random(random);
    size_t size = 16 + (r >> 20) % 8000;
    void *block = malloc(size);
    CHECK(block != NULL);
    memset(block, 0x5a, 16);
    blocks[r % 4096] = block; /* what was there leaks: the collector has something to sweep */
  }
}

static void *collect_beside(void *unused) {
  for (;;) {
    collect();
    usleep(200);
  }
  return unused;
}

int main(int count, char **arguments) {
  volatile double seconds = count > 1 ? strtod(arguments[1], NULL) : 3, start = seconds_now();
  struct sigaction action = {.sa_handler = on_alarm};
  struct itimerval often = {{0, 100}, {0, 100}};
  volatile unsigned long jumps = 0;
  static uint64_t random = 88172645463325252u;
  pthread_t thread;
  sigset_t alarm;
  if (collector == NULL) seconds = 0; /* glibc's malloc, in a program with threads, may hang */
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  CHECK(pthread_sigmask(SIG_BLOCK, &alarm, NULL) == 0);
  CHECK(pthread_create(&thread, NULL, collect_beside, NULL) == 0);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &alarm, NULL) == 0);
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  while (seconds_now() - start < seconds) {
    if (sigsetjmp(back, 1) == 0) {
      armed = 1;
      allocate(&random);
    }
    jumps++;
  }
  armed = 0;
  CHECK(jumps > 0 || seconds == 0);
  puts("malloc works after it was left");
  return 0;
}
