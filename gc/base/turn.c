/* turn.c: see turn.h. Waiters sleep on one of several words, so that a change wakes few of them in
   vain. No wake is lost: of the two, who draws a ticket and who passes the turn on, the later one
   sees what the earlier one wrote. */
#include "base/turn.h"

#include "ports/port.h"

static uint32_t *place_of(struct turn *turn, uint32_t ticket) {
  return &turn->places[ticket % TURN_PLACES];
}

void turn_take(struct turn *turn) {
  uint32_t ticket = __atomic_fetch_add(&turn->next, 1, __ATOMIC_SEQ_CST);
  uint32_t *place = place_of(turn, ticket);
  for (;;) {
    uint32_t seen = atomic_get_acquire(place);
    if (__atomic_load_n(&turn->serving, __ATOMIC_SEQ_CST) == ticket) return;
    port_futex_wait(place, seen, 0);
  }
}

bool turn_take_if_free(struct turn *turn) {
  uint32_t serving = atomic_get_acquire(&turn->serving);
  return __atomic_compare_exchange_n(&turn->next, &serving, serving + 1, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED);
}

void turn_drop(struct turn *turn) {
  uint32_t serving = __atomic_add_fetch(&turn->serving, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&turn->next, __ATOMIC_SEQ_CST) == serving) return;
  uint32_t *place = place_of(turn, serving);
  __atomic_fetch_add(place, 1, __ATOMIC_RELEASE);
  port_futex_wake(place, INT32_MAX);
}
