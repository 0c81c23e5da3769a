/* random.c: see random.h. */
#include "heap/random.h"

#include "ports/port.h"

static struct {
  uint64_t secret[2];
  uint64_t count;
} state;

void random_start(void) {
  port_random(state.secret, sizeof state.secret);
  state.secret[1] |= 1;
}

/* The halves of a product, as in mutator/canary.c, over Weyl's sequence. The bound is met without a
   division: Lemire, "Fast random integer generation in an interval" (2019). */
uint32_t random_below(size_t bound) {
  uint64_t count = __atomic_add_fetch(&state.count, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
  unsigned __int128 product = (unsigned __int128)(count ^ state.secret[0]) * state.secret[1];
  uint64_t mixed = (uint64_t)(product >> 64) ^ (uint64_t)product;
  return (uint32_t)((mixed >> 32) * bound >> 32);
}
