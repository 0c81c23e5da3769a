/* late_keys.c: destructors of thread keys that allocate, free and set their keys again, in every
   round that pthreads gives them. What hangs on a key lives until its destructor has had it, and
   collections run all the time.

   late_keys        keys as programs make them
   late_keys unseen made by libc's own function, looked up by name: nobody has told the library */
#include "program.h"

#include <limits.h>

enum { KEYS = 3, THREADS = 60, BLOCKS = 40 };

struct list {
  struct list *next;
  unsigned round;
  unsigned char bytes[200];
};

static pthread_key_t keys[KEYS];
static unsigned ended, most;

static struct list *make_list(unsigned round) {
  struct list *list = NULL;
  for (int i = 0; i < BLOCKS; i++) {
    struct list *block = malloc(sizeof *block);
    CHECK(block != NULL);
    *block = (struct list){.next = list, .round = round};
    memset(block->bytes, (int)(round + 1), sizeof block->bytes);
    list = block;
  }
  return list;
}

static void on_end(unsigned key, struct list *list) {
  unsigned round = list->round, count = 0;
  collect();
  for (struct list *next; list; list = next, count++) {
    next = list->next;
    CHECK(list->round == round);
    for (size_t i = 0; i < sizeof list->bytes; i++) CHECK(list->bytes[i] == round + 1);
    free(list);
  }
  CHECK(count == BLOCKS);
  __atomic_add_fetch(&ended, 1, __ATOMIC_RELAXED);
  if (round > __atomic_load_n(&most, __ATOMIC_RELAXED))
    __atomic_store_n(&most, round, __ATOMIC_RELAXED);
  if (round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS)
    CHECK(pthread_setspecific(keys[key], make_list(round + 1)) == 0);
}
static void on_end_0(void *list) { on_end(0, list); }
static void on_end_1(void *list) { on_end(1, list); }
static void on_end_2(void *list) { on_end(2, list); }

static void *work(void *unused) {
  for (int i = 0; i < KEYS; i++) CHECK(pthread_setspecific(keys[i], make_list(0)) == 0);
  return unused;
}

int main(int count, char **arguments) {
  typedef int make_key(pthread_key_t *, void (*)(void *));
  make_key *make = pthread_key_create;
  if (count == 2 && strcmp(arguments[1], "unseen") == 0) {
    void *libc = dlopen("libc.so.6", RTLD_NOLOAD | RTLD_NOW);
    CHECK(libc != NULL);
    make = (make_key *)(uintptr_t)dlsym(libc, "pthread_key_create");
    CHECK(make != NULL);
  }
  static void (*const destructors[KEYS])(void *) = {on_end_0, on_end_1, on_end_2};
  for (int i = 0; i < KEYS; i++) CHECK(make(&keys[i], destructors[i]) == 0);
  for (int n = 0; n < THREADS / 4; n++) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  }
  CHECK(ended == THREADS * KEYS * PTHREAD_DESTRUCTOR_ITERATIONS);
  CHECK(most == PTHREAD_DESTRUCTOR_ITERATIONS - 1);
  return 0;
}
