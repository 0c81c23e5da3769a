/* random.h: numbers that nobody outside can foresee. For random=on: which heap pages are taken and
   in which order their cells are handed out, from a secret drawn from the kernel once for each
   process and a counter. And secrets of other parts' own. Any thread, signal handlers too. */
#ifndef RECLAIM_RANDOM_H
#define RECLAIM_RANDOM_H

#include "base/base.h"

struct random_secret {
  uint64_t term, factor;
};
HIDDEN void random_draw(struct random_secret *secret);
/* What this value becomes with that secret. The halves of a product: Lemire, "Fast random integer
   generation in an interval" (2019), uses them so; nobody gets the factors back from some bytes. */
static inline uint64_t random_mix(const struct random_secret *secret, uint64_t value) {
  unsigned __int128 product = (unsigned __int128)(value ^ secret->term) * secret->factor;
  return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

/* Draws the secret for what follows; before the first block. */
HIDDEN void random_start(void);
/* From 0 to bound - 1, which is less than 2^32. */
HIDDEN uint32_t random_below(size_t bound);

#endif
