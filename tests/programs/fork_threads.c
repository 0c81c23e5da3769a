/* fork_threads.c: forks at random points under threads that allocate. fork_threads FORKS

   The child has one thread and a copy of everything. It verifies the parent's blocks, collects
   three times, allocates, frees, makes a thread of its own, and half of the time execs this
   program again, which does a little of the same. */
#include "program.h"

#include <stdatomic.h>
#include <sys/wait.h>

enum { THREADS = 8, KEPT = 100 };

static atomic_bool ending;
static void *shared_blocks[KEPT]; /* made by main, never changed: the child verifies them */

static void exercise(uint64_t seed, int turns) {
  void *blocks[64] = {0};
  uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
  size_t sizes[64];
  unsigned seeds[64];
  for (int i = 0; i < turns; i++) {
    uint64_t r = next_random(&random);
    size_t n = r % 64;
    if (blocks[n] != NULL) {
      CHECK(pattern_holds(blocks[n], sizes[n], seeds[n]));
      if (r >> 56 != 0) free(blocks[n]); /* one in 256 is leaked */
    }
    sizes[n] = 1 + (r >> 20) % (r % 100 == 0 ? 100000 : 500);
    seeds[n] = (unsigned)r;
    blocks[n] = malloc(sizes[n]);
    CHECK(blocks[n] != NULL);
    fill_pattern(blocks[n], sizes[n], seeds[n]);
  }
  for (int n = 0; n < 64; n++) free(blocks[n]);
}

static void *work(void *argument) {
  for (uint64_t turn = 1; !ending; turn++) exercise((uintptr_t)argument * 1000 + turn, 200);
  return NULL;
}

static void *short_work(void *argument) {
  exercise((uintptr_t)argument, 500);
  return NULL;
}

static _Noreturn void child(unsigned number, char *program) {
  for (int turn = 0; turn < 3; turn++) {
    collect();
    exercise(number + 77, 300);
    for (int i = 0; i < KEPT; i++) CHECK(pattern_holds(shared_blocks[i], 300, (unsigned)i));
  }
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, short_work, (void *)(uintptr_t)number) == 0);
  exercise(number, 500);
  collect();
  CHECK(pthread_join(thread, NULL) == 0);
  if (number % 2 == 0) {
    execl(program, program, "again", (char *)NULL);
    fail("exec: %s", strerror(errno));
  }
  number % 4 == 1 ? exit(0) : _exit(0);
}

static void reap(pid_t pid, unsigned number) {
  int status;
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  if (WIFSIGNALED(status)) fail("child %u was killed by signal %d", number, WTERMSIG(status));
  CHECK(WEXITSTATUS(status) == 0);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  if (strcmp(arguments[1], "again") == 0) {
    exercise(5, 3000);
    collect();
    return 0;
  }
  unsigned forks = (unsigned)atoi(arguments[1]);
  pthread_t threads[THREADS];
  for (int i = 0; i < KEPT; i++) fill_pattern(shared_blocks[i] = malloc(300), 300, (unsigned)i);
  for (uintptr_t i = 0; i < THREADS; i++)
    CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
  uint64_t random = 12345;
  for (unsigned i = 0; i < forks; i++) {
    usleep((useconds_t)(next_random(&random) % 3000));
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) child(i, "/proc/self/exe");
    reap(pid, i);
  }
  ending = true;
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 0; i < KEPT; i++) CHECK(pattern_holds(shared_blocks[i], 300, (unsigned)i));
  printf("%u children\n", forks);
  return 0;
}
