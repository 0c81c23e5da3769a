/* held.c: the table against a plain model, at every size; what it says when it has no room. */
#include "tests/unit/unit.h"

#include <sys/wait.h>

#include "collect/held.h"

TestSuite(held, .init = unit_start_heap, .timeout = 60);

enum { KEYS = 3000 };
static uintptr_t model[3][KEYS];
static uintptr_t visited[3 * KEYS];
static size_t visits;
static void visit(uintptr_t word) { visited[visits++] = word; }
static int by_value(const void *a, const void *b) {
  uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
  return x < y ? -1 : x > y;
}

static void expect_model(void) {
  static uintptr_t expected[3 * KEYS];
  size_t count = 0;
  for (int kind = 0; kind < 3; kind++)
    for (int key = 0; key < KEYS; key++)
      if (model[kind][key]) expected[count++] = model[kind][key];
  visits = 0;
  held_visit(visit);
  cr_assert_eq(visits, count);
  cr_assert_eq(held_count(), count);
  qsort(expected, count, sizeof *expected, by_value);
  qsort(visited, visits, sizeof *visited, by_value);
  cr_assert_eq(memcmp(expected, visited, count * sizeof *expected), 0);
}

Test(held, as_a_model) {
  uint64_t seed = 1;
  for (int step = 0; step < 300000; step++) {
    int kind = (int)unit_below(&seed, 3);
    /* Keys that are near each other, and whole stretches of them go again. */
    int key = (int)unit_below(&seed, step < 150000 ? KEYS : 100);
    uintptr_t word = unit_below(&seed, 3) ? (uintptr_t)unit_random(&seed) | 1 : 0, displaced;
    if (word || unit_below(&seed, 2)) {
      cr_assert(held_put(kind + 1, (uint64_t)key << 32 | 7, word, &displaced));
      cr_assert_eq(displaced, model[kind][key] == word ? 0 : model[kind][key]);
    } else {
      cr_assert_eq(held_take(kind + 1, (uint64_t)key << 32 | 7), model[kind][key]);
    }
    model[kind][key] = word;
    if (step % 10000 == 0) expect_model();
  }
  expect_model();
  for (int kind = 0; kind < 3; kind++)
    for (int key = 0; key < KEYS; key++) {
      cr_assert_eq(held_take(kind + 1, (uint64_t)key << 32 | 7), model[kind][key]);
      model[kind][key] = 0;
    }
  expect_model();
}

Test(held, the_same_word_displaces_nothing) {
  uintptr_t displaced = 1;
  cr_assert(held_put(HELD_EPOLL, 1, 100, &displaced) && displaced == 0);
  cr_assert(held_put(HELD_EPOLL, 1, 100, &displaced) && displaced == 0);
  cr_assert(held_put(HELD_EPOLL, 1, 200, &displaced) && displaced == 100);
  cr_assert(held_put(HELD_TIMER, 1, 300, &displaced) && displaced == 0, "another kind");
  cr_assert_eq(held_take(HELD_EPOLL, 1), 200);
  cr_assert_eq(held_take(HELD_EPOLL, 1), 0);
  cr_assert_eq(held_count(), 1);
}

/* A full table is told; what stood in it stays. */
Test(held, out_of_memory) {
  uintptr_t displaced;
  uint64_t key = 0;
  while (heap_metadata_reserve(64 * KIB))
    ;
  while (held_put(HELD_EPOLL, key, key + 1, &displaced)) key++;
  cr_assert_eq(held_count(), key);
  visits = 0;
  cr_assert(key < 3 * KEYS);
  held_visit(visit);
  cr_assert_eq(visits, key);
}

/* Walked at any instant, also in a fork child, it holds what was put in before. */
static void *churn(void *stop) {
  uintptr_t displaced;
  for (uint64_t key = 0; !atomic_get((bool *)stop); key++) {
    held_put(HELD_TIMER, key % 5000, key | 1, &displaced);
    held_take(HELD_TIMER, (key - 2000) % 5000);
  }
  return NULL;
}

Test(held, in_a_fork_child) {
  enum { STEADY = 50, CHILDREN = 40 };
  uintptr_t displaced;
  bool stop = false;
  pthread_t thread;
  for (uint64_t key = 0; key < STEADY; key++)
    cr_assert(held_put(HELD_EPOLL, key * 101, (uintptr_t)0xabc00000 + key, &displaced));
  pthread_create(&thread, NULL, churn, &stop);
  for (int i = 0; i < CHILDREN; i++) {
    heap_metadata_lock(); /* as fork does: the table may be about to grow */
    pid_t child = fork();
    heap_metadata_unlock();
    cr_assert(child >= 0);
    if (child == 0) {
      bool found[STEADY] = {false};
      held_fork_child();
      visits = 0;
      held_visit(visit);
      for (size_t v = 0; v < visits; v++)
        if (visited[v] - 0xabc00000 < STEADY) found[visited[v] - 0xabc00000] = true;
      for (int key = 0; key < STEADY; key++)
        if (!found[key]) _exit(1);
      _exit(held_put(HELD_QUEUE, 1, 5, &displaced) && held_take(HELD_QUEUE, 1) == 5 ? 0 : 2);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
  }
  atomic_set(&stop, true);
  pthread_join(thread, NULL);
}
