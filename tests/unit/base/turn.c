/* turn.c: mutual exclusion, and that nobody is overtaken. */
#include "tests/unit/unit.h"

#include "base/turn.h"

enum { THREADS = 4, ROUNDS = 5000, CROWD = 3 * TURN_PLACES };

static struct turn turn;
static long guarded; /* no atomic: the turn is all that protects it */
static int order[CROWD];

TestSuite(turn, .timeout = 60);

static void *contend(void *unused) {
  (void)unused;
  for (int i = 0; i < ROUNDS; i++) {
    if (i % 3) turn_take(&turn);
    else
      while (!turn_take_if_free(&turn)) port_yield();
    long value = guarded;
    if (value % 64 == 0) port_yield(); /* so that others really sleep */
    guarded = value + 1;
    turn_drop(&turn);
  }
  return NULL;
}

Test(turn, four_threads_exclude_each_other) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, contend, NULL);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  cr_expect_eq(guarded, (long)THREADS * ROUNDS);
  cr_expect(turn_take_if_free(&turn));
}

static void *queue(void *number) {
  turn_take(&turn);
  order[guarded++] = (int)(intptr_t)number;
  turn_drop(&turn);
  return NULL;
}

Test(turn, who_came_first_is_served_first) {
  pthread_t threads[CROWD];
  turn_take(&turn);
  for (int i = 0; i < CROWD; i++) {
    pthread_create(&threads[i], NULL, queue, (void *)(intptr_t)i);
    while (atomic_get(&turn.next) != (uint32_t)i + 2) port_yield();
  }
  turn_drop(&turn);
  turn_take(&turn); /* behind all of them */
  cr_expect_eq(guarded, CROWD);
  turn_drop(&turn);
  for (int i = 0; i < CROWD; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < CROWD; i++) cr_expect_eq(order[i], i);
}

Test(turn, it_is_not_free_while_somebody_waits) {
  pthread_t thread;
  turn_take(&turn);
  pthread_create(&thread, NULL, queue, NULL);
  while (atomic_get(&turn.next) != 2) port_yield();
  cr_expect(!turn_take_if_free(&turn));
  turn_drop(&turn);
  pthread_join(thread, NULL);
  cr_expect(turn_take_if_free(&turn));
}

Test(turn, tickets_wrap_around) {
  turn.next = turn.serving = UINT32_MAX - 1;
  for (int i = 0; i < 4; i++) {
    turn_take(&turn);
    cr_expect(!turn_take_if_free(&turn));
    turn_drop(&turn);
  }
  cr_expect_eq(turn.next, 2);
}
