/* random.c: see random.h. */
#include "heap/random.h"

#include "ports/port.h"

static struct {
  struct random_secret secret;
  uint64_t count;
} state;

void random_draw(struct random_secret *secret) {
  port_random(secret, sizeof *secret);
  secret->factor |= 1;
}

void random_start(void) { random_draw(&state.secret); }

/* Over Weyl's sequence. The bound is met without a division, as Lemire does. */
uint32_t random_below(size_t bound) {
  uint64_t count = __atomic_add_fetch(&state.count, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
  return (uint32_t)((random_mix(&state.secret, count) >> 32) * bound >> 32);
}
