/* corrupt_stack_free.c: memory on a stack is freed: of the thread that does it, of one that waits,
   and of main, where the environment is. See corruption.h. */
#include "corruption.h"

extern char **environ;
static char *volatile elsewhere;
static pthread_barrier_t met;

static void *wait_with_variable(void *unused) {
  _Alignas(16) char here[64];
  fill_pattern(here, sizeof here, 3);
  elsewhere = here + 16;
  pthread_barrier_wait(&met);
  pthread_barrier_wait(&met);
  if (!pattern_holds(here, sizeof here, 3)) exploitable("a stack was written to");
  return unused;
}

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  _Alignas(16) char here[64];
  pthread_t thread;
  fill_pattern(here, sizeof here, 3);
  free(opaque(here) + 16);
  free((void *)((uintptr_t)opaque(environ) & ~(uintptr_t)15));
  CHECK(pthread_barrier_init(&met, NULL, 2) == 0);
  CHECK(pthread_create(&thread, NULL, wait_with_variable, NULL) == 0);
  pthread_barrier_wait(&met);
  free(opaque(elsewhere));
  pthread_barrier_wait(&met);
  CHECK(pthread_join(thread, NULL) == 0);
  if (!pattern_holds(here, sizeof here, 3)) exploitable("a stack was written to");
}
