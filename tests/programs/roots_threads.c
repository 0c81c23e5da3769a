/* roots_threads.c: the cases of roots in which a thread holds the pointer: on its stack or the one
   it was given, in keys, as its argument before it starts and as its result after it ended, and
   alternate signal stacks. */
#include "roots.h"

#include <semaphore.h>

static __thread void *tls_slots[SIZES];

/* Other threads. The thread stores, reports, waits on a semaphore and verifies. */

static sem_t stored, checked;
static bool block_signals;

void start_and_wait(void *(*body)(void *), void *argument) {
  pthread_t thread;
  sem_init(&stored, 0, 0);
  sem_init(&checked, 0, 0);
  CHECK(pthread_create(&thread, NULL, body, argument) == 0);
  while (sem_wait(&stored) != 0)
    ;
  collect_often();
  sem_post(&checked);
  CHECK(pthread_join(thread, NULL) == 0);
}

void hold_until_checked(void) {
  sem_post(&stored);
  while (sem_wait(&checked) != 0)
    ;
}

void *thread_with_stack_slots(void *unused) {
  void *volatile slots[SIZES];
  (void)unused;
  if (block_signals) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
  }
  store_blocks((void **)slots);
  wipe_stack();
  hold_until_checked();
  verify_blocks((void **)slots);
  return NULL;
}

static void *thread_with_tls_slots(void *unused) {
  (void)unused;
  store_blocks(tls_slots);
  wipe_stack();
  hold_until_checked();
  verify_blocks(tls_slots);
  return NULL;
}

static void in_thread_stack(void) { start_and_wait(thread_with_stack_slots, NULL); }
static void in_thread_tls(void) { start_and_wait(thread_with_tls_slots, NULL); }

static void in_masked_thread(void) {
  block_signals = true;
  start_and_wait(thread_with_stack_slots, NULL);
}

/* A stack the program gave to the thread; the only reference to it is the thread itself. */
static void in_given_stack(void) {
  size_t size = 512 * 1024;
  pthread_attr_t attributes;
  pthread_t thread;
  sem_init(&stored, 0, 0);
  sem_init(&checked, 0, 0);
  pthread_attr_init(&attributes);
  void *stack = aligned_alloc(4096, size);
  CHECK(pthread_attr_setstack(&attributes, stack, size) == 0);
  CHECK(pthread_create(&thread, &attributes, thread_with_stack_slots, NULL) == 0);
  pthread_attr_destroy(&attributes);
  memset(&attributes, 0, sizeof attributes);
  uintptr_t kept = ~(uintptr_t)stack;
  stack = NULL;
  while (sem_wait(&stored) != 0)
    ;
  collect_often();
  sem_post(&checked);
  CHECK(pthread_join(thread, NULL) == 0);
  free((void *)~kept);
}

/* Thread keys: the first 32 lie in the thread's descriptor, later ones in blocks of their own. */
static void in_keys(void) {
  pthread_key_t keys[40];
  for (int n = 0; n < 40; n++) CHECK(pthread_key_create(&keys[n], NULL) == 0);
  const int chosen[] = {0, 39};
  for (int c = 0; c < 2; c++)
    for (int i = 0; i < SIZES; i++) {
      pthread_setspecific(keys[chosen[c]], make_block(i));
      wipe_stack();
      collect_often();
      verify_block(pthread_getspecific(keys[chosen[c]]), i);
    }
}

/* Thread arguments: the only pointer travels from the creator to the thread that starts. */
static volatile bool stop_collecting;

static void *collect_without_end(void *unused) {
  (void)unused;
  while (!stop_collecting)
    if (!collect()) usleep(1000);
  return NULL;
}

static void *thread_takes_argument(void *argument) {
  for (int turn = 0; turn < 3; turn++) {
    CHECK(pattern_holds(argument, 200, 9));
    void *others[8];
    for (int n = 0; n < 8; n++) {
      others[n] = malloc(200);
      memset(others[n], 0x55, 200);
    }
    for (int n = 0; n < 8; n++) free(others[n]);
  }
  free(argument);
  return NULL;
}

static void in_thread_argument(void) {
  pthread_t collecting, threads[8];
  CHECK(pthread_create(&collecting, NULL, collect_without_end, NULL) == 0);
  double end = seconds_now() + 2.0;
  for (int round = 0; round < 1000 && seconds_now() < end; round++) {
    for (int n = 0; n < 8; n++) {
      void *argument = malloc(200);
      fill_pattern(argument, 200, 9);
      CHECK(pthread_create(&threads[n], NULL, thread_takes_argument, argument) == 0);
    }
    for (int n = 0; n < 8; n++) CHECK(pthread_join(threads[n], NULL) == 0);
  }
  stop_collecting = true;
  CHECK(pthread_join(collecting, NULL) == 0);
}

/* The result of a thread that has ended and was not joined yet. */
static void *thread_returns_block(void *number) {
  void *block = make_block((int)(intptr_t)number);
  wipe_stack();
  return block;
}

static void in_thread_result(void) {
  for (int i = 0; i < SIZES; i++) {
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, thread_returns_block, (void *)(intptr_t)i) == 0);
    usleep(50000);
    collect_often();
    CHECK(pthread_join(thread, &result) == 0);
    verify_block(result, i);
  }
}

/* The alternate signal stack: the textbook idiom leaves its only reference in the kernel. */
enum { ALTERNATE = 64 * 1024 };
static volatile bool handled;

static void on_signal(int number) {
  volatile char room[8192];
  memset((void *)room, number, sizeof room);
  handled = true;
}

NOINLINE static void give_alternate_stack(void) {
  stack_t stack = {.ss_size = ALTERNATE};
  stack.ss_sp = malloc(ALTERNATE);
  fill_pattern(stack.ss_sp, ALTERNATE, 5);
  hidden[0] = ~(uintptr_t)stack.ss_sp;
  CHECK(sigaltstack(&stack, NULL) == 0);
  explicit_bzero(&stack, sizeof stack);
}

NOINLINE static void check_alternate_stack(void) {
  stack_t stack;
  CHECK(sigaltstack(NULL, &stack) == 0 && (uintptr_t)stack.ss_sp == ~hidden[0]);
  /* The collector itself may have run its handler here; only the far end must be whole. */
  CHECK(pattern_holds(stack.ss_sp, ALTERNATE / 2, 5));
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  handled = false;
  raise(SIGUSR1);
  CHECK(handled);
}

static void churn_alternate(void) {
  void *blocks[40];
  for (int turn = 0; turn < 4; turn++) {
    wipe_stack();
    collect();
    for (int n = 0; n < 40; n++) {
      blocks[n] = malloc(ALTERNATE);
      memset(blocks[n], 0x55, ALTERNATE);
    }
    for (int n = 0; n < 40; n++) free(blocks[n]);
  }
}

static void in_alternate_stack(void) {
  give_alternate_stack();
  churn_alternate();
  check_alternate_stack();
}

static void *thread_with_alternate_stack(void *unused) {
  (void)unused;
  give_alternate_stack();
  wipe_stack();
  hold_until_checked();
  check_alternate_stack();
  stack_t off = {.ss_flags = SS_DISABLE};
  sigaltstack(&off, NULL);
  return NULL;
}

static void in_thread_alternate_stack(void) {
  pthread_t thread;
  sem_init(&stored, 0, 0);
  sem_init(&checked, 0, 0);
  CHECK(pthread_create(&thread, NULL, thread_with_alternate_stack, NULL) == 0);
  while (sem_wait(&stored) != 0)
    ;
  churn_alternate();
  sem_post(&checked);
  CHECK(pthread_join(thread, NULL) == 0);
}

/* A thread stopped inside a handler on its alternate stack: what it interrupted counts too. */
static void hold_in_handler(int number) {
  (void)number;
  hold_until_checked();
}

static void *thread_in_handler(void *unused) {
  void *volatile slots[SIZES];
  (void)unused;
  stack_t stack = {.ss_sp = malloc(ALTERNATE), .ss_size = ALTERNATE};
  sigaltstack(&stack, NULL);
  struct sigaction action = {.sa_handler = hold_in_handler, .sa_flags = SA_ONSTACK};
  CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
  store_blocks((void **)slots);
  wipe_stack();
  raise(SIGUSR2);
  verify_blocks((void **)slots);
  return NULL;
}

static void under_handler(void) { start_and_wait(thread_in_handler, NULL); }

const struct root_case thread_cases[] = {
    {"thread-stack", in_thread_stack},
    {"thread-tls", in_thread_tls},
    {"masked-thread", in_masked_thread},
    {"given-stack", in_given_stack},
    {"keys", in_keys},
    {"thread-argument", in_thread_argument},
    {"thread-result", in_thread_result},
    {"alternate-stack", in_alternate_stack},
    {"thread-alternate-stack", in_thread_alternate_stack},
    {"under-handler", under_handler},
    {NULL, NULL},
};
