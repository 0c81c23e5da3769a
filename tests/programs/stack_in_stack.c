/* stack_in_stack.c: stacks that lie in a frame of another stack: stack_in_stack CASE

   An alternate stack, or a coroutine's, may be a local array of main or of a thread's function.
   While a handler or the coroutine runs on it, the stack pointer is above frames that are only
   suspended, and what these hold is as alive as ever.

     handler            the collection happens in a handler on such an alternate stack
     thread-handler     the thread that is stopped is in such a handler
     coroutine, thread-coroutine   the same with makecontext
     child              a child made by clone runs on such an array */
#include "program.h"

#include <sched.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <ucontext.h>

enum { SIZE = 64 * 1024, BLOCKS = 50 };

static sem_t there, checked;
static bool in_thread;

static void churn(void) {
  for (int round = 0; round < 5; round++) {
    collect();
    for (int i = 0; i < 1000; i++) {
      void *volatile block = malloc(300);
      memset(block, 0x5a, 300);
      free(block);
    }
  }
}

/* On the inner stack. */
static void at_the_worst_moment(void) {
  if (!in_thread) {
    churn();
    return;
  }
  sem_post(&there);
  while (sem_wait(&checked) != 0)
    ;
}

static void on_signal(int number) {
  (void)number;
  at_the_worst_moment();
}

static ucontext_t caller, inner;

static void switch_to_inner(void) { CHECK(swapcontext(&caller, &inner) == 0); }
static void raise_signal(void) { CHECK(raise(SIGUSR1) == 0); }

static void *volatile *held;
static char *child_stack;

static int run_child(void *unused) {
  (void)unused;
  churn();
  for (unsigned i = 0; i < BLOCKS; i++) CHECK(pattern_holds(held[i], 300, i));
  exit(0);
}

static void make_child(void) {
  int status;
  pid_t child = clone(run_child, child_stack, SIGCHLD, NULL);
  CHECK(child > 0 && waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

/* Well below the array that the inner stack lies in. */
static NOINLINE void hold_blocks(void (*enter)(void)) {
  void *volatile blocks[BLOCKS];
  held = blocks;
  for (unsigned i = 0; i < BLOCKS; i++) fill_pattern(blocks[i] = malloc(300), 300, i);
  wipe_stack();
  enter();
  for (unsigned i = 0; i < BLOCKS; i++) {
    CHECK(pattern_holds(blocks[i], 300, i));
    free(blocks[i]);
  }
}

static NOINLINE void with_handler(void) {
  char array[SIZE];
  stack_t stack = {.ss_sp = array, .ss_size = SIZE}, none = {.ss_flags = SS_DISABLE};
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
  CHECK(sigaltstack(&stack, NULL) == 0);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  hold_blocks(raise_signal);
  CHECK(sigaltstack(&none, NULL) == 0);
}

static NOINLINE void with_coroutine(void) {
  char array[SIZE];
  CHECK(getcontext(&inner) == 0);
  inner.uc_stack = (stack_t){.ss_sp = array, .ss_size = SIZE};
  inner.uc_link = &caller;
  makecontext(&inner, at_the_worst_moment, 0);
  hold_blocks(switch_to_inner);
}

static NOINLINE void with_child(void) {
  char array[SIZE];
  child_stack = array + SIZE;
  hold_blocks(make_child);
}

static void *run(void *pointer) {
  if (strcmp(pointer, "child") == 0) {
    with_child();
    return NULL;
  }
  bool coroutine = strstr(pointer, "coroutine") != NULL;
  coroutine ? with_coroutine() : with_handler();
  return NULL;
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  in_thread = strncmp(arguments[1], "thread-", 7) == 0;
  if (in_thread) {
    pthread_t thread;
    sem_init(&there, 0, 0);
    sem_init(&checked, 0, 0);
    CHECK(pthread_create(&thread, NULL, run, arguments[1]) == 0);
    while (sem_wait(&there) != 0)
      ;
    churn();
    sem_post(&checked);
    CHECK(pthread_join(thread, NULL) == 0);
  } else {
    run(arguments[1]);
  }
  puts("all blocks are there");
  return 0;
}
