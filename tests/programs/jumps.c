/* jumps.c: ways out of malloc that never come back. jumps CASE

   handler   a timer's handler, which allocates, leaves by siglongjmp whatever it interrupted,
   malloc and free among it. Forbidden by POSIX, and done. Under plain malloc a lock would be held
             for ever, so there the signal stays blocked while malloc runs
   cancel    threads are cancelled asynchronously in the middle of malloc and free; under plain
   malloc in the middle of a computation deferred  threads are cancelled at a cancellation point
   with blocks to free in their cleanups */
#include "reclaimed.h"
#include "roots.h"

#include <sched.h>
#include <setjmp.h>
#include <sys/time.h>

enum { SLOTS = 64, JUMPS = 1500 };
static unsigned char *volatile slots[SLOTS];
static volatile size_t lengths[SLOTS];
static volatile unsigned jumps, abandoned;
static sigjmp_buf place;

static void on_timer(int number) {
  unsigned char *mine = malloc(100);
  CHECK(mine != NULL && number == SIGALRM);
  memset(mine, 0x77, 100);
  for (int i = 0; i < 100; i++) CHECK(mine[i] == 0x77);
  free(mine);
  jumps++;
  siglongjmp(place, 1);
}

static void block_alarm(bool block) {
  sigset_t set;
  if (collector != NULL) return;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  CHECK(pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL) == 0);
}

/* A slot is empty while it changes hands: what is abandoned in between is garbage. */
static void exchange(uint64_t *random) {
  unsigned which = next_random(random) % SLOTS;
  unsigned char *old = slots[which];
  if (old != NULL) {
    if (!pattern_holds(old, lengths[which], which)) fail("a block was overwritten");
    slots[which] = NULL;
    free(old);
  }
  size_t length = 16 + next_random(random) % 3000;
  unsigned char *fresh = malloc(length);
  CHECK(fresh != NULL);
  fill_pattern(fresh, length, which);
  lengths[which] = length;
  slots[which] = fresh;
}

static void out_of_handler(void) {
  static uint64_t random = 88172645463325252u;
  struct sigaction action = {.sa_handler = on_timer};
  struct itimerval timer = {{0, 300}, {0, 300}};
  static unsigned rounds;
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  block_alarm(true);
  if (sigsetjmp(place, 1) != 0) abandoned++;
  CHECK(abandoned > 0 || setitimer(ITIMER_REAL, &timer, NULL) == 0);
  while (jumps < JUMPS) {
    block_alarm(true);
    for (int i = 0; i < 200; i++) exchange(&random);
    if (rounds++ % 64 == 0) collect();
    block_alarm(false);
  }
  timer = (struct itimerval){0};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  CHECK(abandoned > 0);
  for (unsigned i = 0; i < SLOTS; i++)
    if (slots[i] != NULL) CHECK(pattern_holds(slots[i], lengths[i], i));
  for (int i = 0; i < 100; i++) exchange(&random);
  collect();
  expect_garbage_back();
}

/* Cancellation */

static volatile int working;

static void *work_asynchronously(void *unused) {
  uint64_t random = (uintptr_t)&random;
  int old;
  CHECK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old) == 0);
  working = 1;
  for (;;) {
    if (collector == NULL) {
      next_random(&random);
      continue;
    }
    void *volatile block = malloc(16 + next_random(&random) % 2000);
    free(block);
  }
  return unused;
}

static void asynchronously(void) {
  pthread_t collecting;
  uint64_t random = 12345;
  CHECK(pthread_create(&collecting, NULL, collect_until_end, NULL) == 0);
  for (int i = 0; i < 150; i++) {
    pthread_t thread;
    void *result;
    working = 0;
    CHECK(pthread_create(&thread, NULL, work_asynchronously, NULL) == 0);
    while (!working) sched_yield();
    for (volatile unsigned n = next_random(&random) % 20000; n > 0; n--) continue;
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED);
  }
  collections_end = true;
  CHECK(pthread_join(collecting, NULL) == 0);
  expect_garbage_back();
}

static volatile int cleanups;

static void clean_up(void *block) {
  CHECK(pattern_holds(block, 500, 3));
  free(block);
  cleanups++;
}

static void *wait_deferred(void *ends) {
  unsigned char *block = malloc(500);
  char byte;
  fill_pattern(block, 500, 3);
  pthread_cleanup_push(clean_up, block);
  block = NULL;
  working = 1;
  while (read(((int *)ends)[0], &byte, 1) != 0) continue;
  pthread_cleanup_pop(0);
  return NULL;
}

static void deferred(void) {
  pthread_t collecting;
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(pthread_create(&collecting, NULL, collect_until_end, NULL) == 0);
  for (int i = 0; i < 150; i++) {
    pthread_t thread;
    void *result;
    working = 0;
    CHECK(pthread_create(&thread, NULL, wait_deferred, ends) == 0);
    while (!working) sched_yield();
    if (i % 4 == 0) usleep(1000);
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED && cleanups == i + 1);
  }
  collections_end = true;
  CHECK(pthread_join(collecting, NULL) == 0);
  expect_garbage_back();
}

static const struct root_case cases[] = {
    {"handler", out_of_handler}, {"cancel", asynchronously}, {"deferred", deferred}, {NULL, NULL}};

int main(int count, char **arguments) { return count == 2 ? run_case(cases, arguments[1]) : 2; }
