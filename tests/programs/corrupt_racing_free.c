/* corrupt_racing_free.c: two threads free one block at the same moment, in many children one after
   the other. Says how many of them a report ended. See corruption.h. */
#include "corruption.h"

#include <sys/resource.h>
#include <sys/wait.h>

enum { CHILDREN = 100, CHILDREN_LARGE = 10, RACERS = 2 };
static volatile int ready, go;

static void *race(void *block) {
  __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
  while (!go) continue;
  free(block);
  return NULL;
}

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void run_race(char *block) {
  pthread_t threads[RACERS];
  for (int i = 0; i < RACERS; i++) CHECK(pthread_create(&threads[i], NULL, race, block) == 0);
  while (ready < RACERS) continue;
  go = 1;
  for (int i = 0; i < RACERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  victim.given_up = true;
  audit();
  _exit(0);
}

static void corrupt(char *block, size_t size) {
  int aborted = 0, children = size < 100000 ? CHILDREN : CHILDREN_LARGE;
  for (int i = 0; i < children; i++) {
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
      run_race(opaque(block));
    }
    while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) aborted++;
    else if (!WIFEXITED(status)) fail("a child was killed by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0) _exit(WEXITSTATUS(status));
  }
  printf("aborted %d of %d\n", aborted, children);
}
