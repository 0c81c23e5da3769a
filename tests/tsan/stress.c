/* stress.c: the core's concurrent parts under ThreadSanitizer: stress SECONDS

   Threads attach, allocate, exchange objects through a shared table, free what others made, leak,
   and end, so that pages change hands: remote frees, full pages that are handed back, orphans and
   their adoption, the page heap, the registry, the locks. A collector marks what stands in the
   table, flips, and sweeps beside the mutators' refills.

   The stop is a lock here: stopping at any instruction cannot be modelled, and is argued where it
   matters (collect/world.c, mutator/mutator.c). Objects carry their own address and size, so that
   a cell in two hands is noticed even where no race is. Linked with the core's sources only, all
   built with -fsanitize=thread; malloc is the C library's. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/option.h"
#include "collect/mark.h"
#include "collect/sweep.h"
#include "heap/heap.h"
#include "heap/page_heap.h"
#include "mutator/allocate.h"
#include "mutator/mutator.h"

enum { THREADS = 6, SLOTS = 3000, BATCH = 200 };

struct object {
  struct object *self;
  size_t size;
};

static _Atomic(struct object *) table[SLOTS];
static pthread_rwlock_t world = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static atomic_bool ending;
static atomic_ulong made, freed, leaked, reclaimed, ended;

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

static _Noreturn void wrong(const char *what) {
  fprintf(stderr, "stress: %s\n", what);
  _Exit(1);
}

static struct object *make(uint64_t *random) {
  uint64_t r = next_random(random);
  size_t size = sizeof(struct object) + (r >> 20) % (r % 256 == 0 ? 200000
                                                     : r % 8 == 0 ? 9000
                                                                  : 200);
  struct object *object = allocate_fast(size);
  if (!object) object = allocate(size, NULL);
  if (!object) wrong("out of memory");
  object->size = size;
  object->self = object;
  ((char *)object)[size - 1] = 1;
  atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
  return object;
}

static void give_up(struct object *object) {
  if (object->self != object) wrong("an object was overwritten");
  object->self = NULL;
  if (!release_fast(object) && release(object) != RELEASED) wrong("an object could not be freed");
  atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
}

static void *mutate(void *number) {
  uint64_t random = (uintptr_t)number * 0x9e3779b97f4a7c15u | 1;
  pthread_rwlock_rdlock(&world);
  if (!thread_attach()) wrong("no thread record");
  pthread_rwlock_unlock(&world);
  for (unsigned turns = 20 + next_random(&random) % 40; turns > 0; turns--) {
    pthread_rwlock_rdlock(&world);
    for (int i = 0; i < BATCH; i++) {
      size_t slot = next_random(&random) % SLOTS;
      struct object *object =
          atomic_exchange(&table[slot], next_random(&random) % 3 ? make(&random) : NULL);
      if (!object) continue;
      if (next_random(&random) % 16) give_up(object);
      else atomic_fetch_add_explicit(&leaked, 1, memory_order_relaxed);
    }
    pthread_rwlock_unlock(&world);
  }
  pthread_rwlock_rdlock(&world);
  thread_detach();
  pthread_rwlock_unlock(&world);
  atomic_fetch_add(&ended, 1);
  return NULL;
}

/* What cycle.c does, with the table as the only root. */
static void *collect(void *unused) {
  const struct sweep_policy policy = {.live = true, .confirm = 1};
  const struct mark_words words = {.stride = 8};
  for (bool by_pages = false; !atomic_load(&ending); by_pages = !by_pages) {
    struct timespec rest = {0, 2000000};
    nanosleep(&rest, NULL);
    pthread_rwlock_wrlock(&world);
    mark_by_pages(by_pages);
    mark_begin(&words, NULL);
    for (int i = 0; i < SLOTS; i++) mark_word((uintptr_t)atomic_load(&table[i]));
    if (!mark_drain()) wrong("marking failed");
    mark_end();
    atomic_fetch_add(&reclaimed, sweep_flip(&policy).dead_objects);
    pthread_rwlock_unlock(&world);
    sweep_rest();
    page_heap_decay((uint64_t)time(NULL) * 1000000000);
  }
  return unused;
}

/* Reads the registry as the collector does before anybody has stopped. */
static void *look(void *unused) {
  int ids[64];
  while (!atomic_load(&ending)) {
    for (const struct thread *t = thread_first(); t; t = t->next)
      if (atomic_get_acquire(&t->id) < -1) wrong("an impossible task id");
    if (thread_list(ids, 64) > THREADS + 2) wrong("too many threads in the registry");
    struct timespec rest = {0, 100000};
    nanosleep(&rest, NULL);
  }
  return unused;
}

int main(int count, char **arguments) {
  time_t end = time(NULL) + (count > 1 ? atoi(arguments[1]) : 5);
  pthread_t threads[THREADS], collector, observer;
  uintptr_t begun = 0;
  options_default(&options);
  if (!heap_init(2 * GIB, NULL)) wrong("no heap");
  mutator_init();
  if (!mark_init()) wrong("no mark stack");
  sweep_init();
  pthread_create(&collector, NULL, collect, NULL);
  pthread_create(&observer, NULL, look, NULL);
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, mutate, (void *)++begun);
  for (int i = 0; time(NULL) < end; i = (i + 1) % THREADS) {
    pthread_join(threads[i], NULL);
    pthread_create(&threads[i], NULL, mutate, (void *)++begun);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  atomic_store(&ending, true);
  pthread_join(collector, NULL);
  pthread_join(observer, NULL);
  unsigned long live = 0;
  for (int i = 0; i < SLOTS; i++) {
    struct object *object = atomic_load(&table[i]);
    if (!object) continue;
    if (object->self != object) wrong("an object of the table was lost");
    live++;
  }
  printf("%lu threads, %lu objects made, %lu freed, %lu leaked, %lu reclaimed, %lu live\n",
         (unsigned long)begun, (unsigned long)made, (unsigned long)freed, (unsigned long)leaked,
         (unsigned long)reclaimed, live);
  if (made != freed + leaked + live) wrong("the sums do not agree");
  if (reclaimed > leaked || reclaimed == 0) wrong("not what leaked was reclaimed");
  return 0;
}
