/* debugged.c: what a session of gdb is tried on: threads that compute, and collections all the
   time, from a thread of their own in the first half, then from main. The line it prints follows
   from its work alone. */
#include "reclaimed.h"

enum { WORKERS = 3, TURNS = 30 };

struct item {
  struct item *next;
  int value;
};

/* The function that the session breaks in: it steps through, prints, and finishes. Volatile: every
   variable is in its place, whatever the build was told. */
NOINLINE int add_up(const struct item *first) {
  const struct item *volatile at = first;
  volatile int sum = 0;
  while (at != NULL) {
    sum += at->value;
    at = at->next;
  }
  return sum;
}

static struct item *make_list(int length) {
  struct item *list = NULL;
  for (int i = 1; i <= length; i++) {
    struct item *item = malloc(sizeof *item);
    CHECK(item != NULL);
    item->value = i;
    item->next = list;
    list = item;
  }
  return list;
}

static volatile bool ending;
static volatile int turn;

static void *work(void *unused) {
  while (!ending) { /* lists are dropped, not freed */
    struct item *list = make_list(50);
    int sum = 0;
    for (struct item *item = list; item != NULL; item = item->next) sum += item->value;
    CHECK(sum == 1275);
    usleep(100);
  }
  return unused;
}

int main(void) {
  pthread_t workers[WORKERS], collecting;
  long sum = 0;
  for (int i = 0; i < WORKERS; i++) CHECK(pthread_create(&workers[i], NULL, work, NULL) == 0);
  CHECK(pthread_create(&collecting, NULL, collect_until_end, NULL) == 0);
  struct item *volatile list = make_list(3);
  for (turn = 0; turn < TURNS; turn++) {
    sum += add_up(list);
    usleep(2000);
    if (turn == TURNS / 2) {
      collections_end = true;
      CHECK(pthread_join(collecting, NULL) == 0);
    }
    if (turn > TURNS / 2) collect();
  }
  ending = true;
  for (int i = 0; i < WORKERS; i++) CHECK(pthread_join(workers[i], NULL) == 0);
  expect_garbage_back();
  printf("sum %ld\n", sum);
  return 0;
}
