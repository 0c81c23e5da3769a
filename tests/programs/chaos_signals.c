/* chaos_signals.c: signal masks, alternate stacks from malloc with handlers on them, coroutines on
   stacks from malloc and mmap. */
#include "chaos.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { ALTERNATE = 64 * 1024, STACK = 64 * 1024 };

static __thread volatile unsigned handled; /* runs of our handlers in this thread */

unsigned handled_mark(void) { return handled; }
bool handled_since(unsigned mark) { return handled != mark; }

/* Allocates, although it may have interrupted malloc, and keeps a chain on the stack it runs on. */
static void on_signal(int number, siginfo_t *info, void *context) {
  int error = errno;
  struct chain *volatile place = NULL;
  uint64_t random = (uintptr_t)&place * 0x9e3779b97f4a7c15u | 1;
  (void)number, (void)info, (void)context;
  handled++;
  random ^= (uint64_t)handled << 20;
  uint32_t seed = chain_make(&place, &random);
  if (random % 4 == 0) collect();
  else if (random % 4 == 1) usleep((useconds_t)(random >> 10) % 1000);
  chain_end(&place, seed, "a handler's stack", &random);
  errno = error;
}

void signals_prepare(void) {
  struct sigaction action = {.sa_sigaction = on_signal,
                             .sa_flags = SA_ONSTACK | SA_SIGINFO | SA_RESTART};
  sigemptyset(&action.sa_mask);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  sigfillset(&action.sa_mask);
  CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
}

/* Only the kernel knows where the alternate stack lies. */
static NOINLINE void give_alternate_stack(void) {
  stack_t stack = {.ss_sp = malloc(ALTERNATE), .ss_size = ALTERNATE};
  CHAOS_CHECK(stack.ss_sp != NULL);
  fill_pattern(stack.ss_sp, 4096, 77); /* handlers do not reach down so far */
  CHAOS_CHECK(sigaltstack(&stack, NULL) == 0);
}

static NOINLINE void take_alternate_stack(void) {
  stack_t none = {.ss_flags = SS_DISABLE}, stack;
  CHAOS_CHECK(sigaltstack(&none, &stack) == 0);
  if (!pattern_holds(stack.ss_sp, 4096, 77))
    chaos_fail("the alternate stack %p is lost or overwritten", stack.ss_sp);
  free(stack.ss_sp);
}

static void alternate(struct actor *actor) {
  struct chain *volatile place;
  uint32_t seed = chain_make(&place, &actor->random);
  give_alternate_stack();
  meanwhile(&actor->random);
  for (unsigned turns = next_random(&actor->random) % 3; turns > 0; turns--)
    CHAOS_CHECK(raise(next_random(&actor->random) % 2 ? SIGUSR1 : SIGUSR2) == 0);
  meanwhile(&actor->random);
  take_alternate_stack();
  chain_end(&place, seed, "under a handler", &actor->random);
}

/* Everything blocked for a while, and signals that wait meanwhile. */
static void masks(struct actor *actor) {
  struct chain *volatile place;
  sigset_t all, old;
  uint32_t seed = chain_make(&place, &actor->random);
  sigfillset(&all);
  CHAOS_CHECK(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
  if (next_random(&actor->random) % 2) CHAOS_CHECK(raise(SIGUSR1) == 0);
  if (next_random(&actor->random) % 2) CHAOS_CHECK(raise(SIGUSR2) == 0);
  meanwhile(&actor->random);
  CHAOS_CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
  chain_end(&place, seed, "a masked thread", &actor->random);
}

/* A coroutine that lives in its own stack's memory: when it runs, the stack pointer alone refers
   to that; when it is suspended, its handle. */
struct coroutine {
  ucontext_t context, caller;
  uint64_t random;
  bool ended;
};

static void coroutine_body(unsigned high, unsigned low) {
  struct coroutine *self = (struct coroutine *)((uintptr_t)high << 32 | low);
  struct chain *volatile place;
  uint64_t random = self->random;
  uint32_t seed = chain_make(&place, &random);
  for (int turn = 0; turn < 3; turn++) {
    meanwhile(&random);
    chain_verify(&place, seed, "a running coroutine");
    CHAOS_CHECK(swapcontext(&self->context, &self->caller) == 0);
    chain_verify(&place, seed, "a coroutine that was suspended");
  }
  chain_end(&place, seed, "a coroutine", &random);
  self->ended = true;
}

static NOINLINE struct coroutine *make_coroutine(struct actor *actor, bool mapped) {
  char *memory = mapped
                     ? mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                     : malloc(STACK);
  CHAOS_CHECK(memory != NULL && memory != MAP_FAILED);
  struct coroutine *coroutine = (struct coroutine *)memory;
  size_t head = (sizeof *coroutine + 63) / 64 * 64;
  coroutine->random = new_random(&actor->random);
  coroutine->ended = false;
  CHAOS_CHECK(getcontext(&coroutine->context) == 0);
  coroutine->context.uc_stack = (stack_t){.ss_sp = memory + head, .ss_size = STACK - head};
  coroutine->context.uc_link = &coroutine->caller;
  uintptr_t address = (uintptr_t)coroutine;
  makecontext(&coroutine->context, (void (*)(void))coroutine_body, 2, (unsigned)(address >> 32),
              (unsigned)address);
  return coroutine;
}

static void coroutines(struct actor *actor) {
  struct chain *volatile place;
  struct coroutine *volatile both[2];
  uint32_t seed = chain_make(&place, &actor->random);
  for (int i = 0; i < 2; i++) both[i] = make_coroutine(actor, i);
  for (int running = 2; running > 0;) {
    int i = next_random(&actor->random) % 2;
    if (both[i] == NULL) continue;
    CHAOS_CHECK(swapcontext(&both[i]->caller, &both[i]->context) == 0);
    if (!both[i]->ended) continue;
    if (i) CHAOS_CHECK(munmap(both[i], STACK) == 0);
    else free(both[i]);
    both[i] = NULL;
    running--;
  }
  chain_end(&place, seed, "under coroutines", &actor->random);
}

const struct ingredient signal_ingredients[] = {
    {"alternate", alternate},
    {"masks", masks},
    {"coroutines", coroutines},
    {NULL, NULL},
};
