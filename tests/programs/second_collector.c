/* second_collector.c: a program with a collector of its own, as guile, ruby and inkscape have one.
   Its heap is a mapping that malloc knows nothing of, whose objects hold the only pointers to
   malloc'ed blocks; it stops its threads by SIGPWR and lets them go by SIGXCPU, as bdwgc does; its
   objects move when it collects. Both collect at once. second_collector SECONDS */
#include "reclaimed.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { OBJECTS = 4000, MUTATORS = 3, BLOCK = 120 };

struct object {
  unsigned char *block; /* from malloc */
  unsigned seed, live;
};

static struct object *from,
    *to; /* semi-spaces; the mutators are stopped while they change places */
static pthread_t mutators[MUTATORS];
static atomic_int stopped;
static atomic_bool ending;
static sigset_t while_stopped;
static volatile unsigned long own_cycles;

static void on_suspend(int number) {
  int error = errno;
  (void)number;
  stopped++;
  sigsuspend(&while_stopped); /* until the restart signal */
  stopped--;
  errno = error;
}

static void on_restart(int number) { (void)number; }

/* Each mutator has a part of the objects of its own. */
static void *mutate(void *number) {
  uintptr_t me = (uintptr_t)number;
  uint64_t random = 977 * me + 1;
  while (!ending) {
    unsigned which = (unsigned)(next_random(&random) % (OBJECTS / MUTATORS) * MUTATORS + me);
    sigset_t stop, old; /* an object's address must not change in the middle */
    sigemptyset(&stop);
    sigaddset(&stop, SIGPWR);
    CHECK(pthread_sigmask(SIG_BLOCK, &stop, &old) == 0);
    struct object *object = &from[which];
    if (object->live) {
      if (!pattern_holds(object->block, BLOCK, object->seed)) fail("a block was lost");
      free(object->block);
    }
    object->seed = (unsigned)next_random(&random);
    object->block = malloc(BLOCK);
    fill_pattern(object->block, BLOCK, object->seed);
    object->live = 1;
    CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
  }
  return NULL;
}

static void collect_own(void) {
  for (int i = 0; i < MUTATORS; i++) CHECK(pthread_kill(mutators[i], SIGPWR) == 0);
  while (stopped < MUTATORS) sched_yield();
  memcpy(to, from, OBJECTS * sizeof *from);
  memset(from, 0, OBJECTS * sizeof *from);
  struct object *other = from;
  from = to;
  to = other;
  for (int i = 0; i < MUTATORS; i++) CHECK(pthread_kill(mutators[i], SIGXCPU) == 0);
  while (stopped > 0) sched_yield();
  own_cycles++;
}

int main(int count, char **arguments) {
  double seconds = count > 1 ? strtod(arguments[1], NULL) : 1;
  pthread_t collecting;
  struct sigaction suspend = {.sa_handler = on_suspend, .sa_flags = SA_RESTART};
  struct sigaction restart = {.sa_handler = on_restart, .sa_flags = SA_RESTART};
  sigfillset(&suspend.sa_mask);
  sigfillset(&while_stopped);
  sigdelset(&while_stopped, SIGXCPU);
  CHECK(sigaction(SIGPWR, &suspend, NULL) == 0 && sigaction(SIGXCPU, &restart, NULL) == 0);
  for (int i = 0; i < 2; i++) {
    struct object *space = mmap(NULL, OBJECTS * sizeof *space, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(space != MAP_FAILED);
    *(i == 0 ? &from : &to) = space;
  }
  for (uintptr_t i = 0; i < MUTATORS; i++)
    CHECK(pthread_create(&mutators[i], NULL, mutate, (void *)i) == 0);
  CHECK(pthread_create(&collecting, NULL, collect_until_end, NULL) == 0);
  double end = seconds_now() + seconds;
  while (seconds_now() < end || own_cycles < 20) {
    collect_own();
    usleep(500);
  }
  ending = true;
  for (int i = 0; i < MUTATORS; i++) CHECK(pthread_join(mutators[i], NULL) == 0);
  collections_end = true;
  CHECK(pthread_join(collecting, NULL) == 0);
  for (int i = 0; i < OBJECTS; i++)
    if (from[i].live) CHECK(pattern_holds(from[i].block, BLOCK, from[i].seed));
  expect_garbage_back();
  puts("two collectors");
  return 0;
}
