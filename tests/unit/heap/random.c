/* random.c: numbers in their bounds, evenly spread, others in each process. */
#include "tests/unit/unit.h"

#include "heap/random.h"

TestSuite(random, .init = random_start, .timeout = 60);

Test(random, numbers_are_below_their_bound_and_all_occur) {
  static const size_t bounds[] = {1, 2, 3, 16, 63, 1000};
  static unsigned counts[1000];
  for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++) {
    size_t bound = bounds[b], rounds = bound * 1000;
    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i < rounds; i++) {
      uint32_t number = random_below(bound);
      if (number >= bound) cr_assert_fail("%u of %zu", number, bound);
      counts[number]++;
    }
    /* Binomial, mean 1000 and deviation below 32: eight of them are never met by chance. */
    for (size_t i = 0; i < bound && bound > 1; i++)
      cr_assert(counts[i] > 750 && counts[i] < 1250, "%zu of %zu: %u", i, bound, counts[i]);
  }
  cr_expect_lt(random_below(((size_t)1 << 32) - 1), ((size_t)1 << 32) - 1);
}

Test(random, pairs_are_even_too) {
  enum { SIDE = 16 };
  static unsigned counts[SIDE * SIDE];
  uint32_t before = random_below(SIDE);
  for (int i = 0; i < SIDE * SIDE * 1000; i++) {
    uint32_t next = random_below(SIDE);
    counts[before * SIDE + next]++;
    before = next;
  }
  for (int i = 0; i < SIDE * SIDE; i++)
    cr_assert(counts[i] > 750 && counts[i] < 1250, "%d: %u", i, counts[i]);
}

Test(random, each_start_begins_another_sequence) {
  uint32_t first[20];
  for (int i = 0; i < 20; i++) first[i] = random_below(1 << 30);
  random_start();
  unsigned equal = 0;
  for (int i = 0; i < 20; i++) equal += first[i] == random_below(1 << 30);
  cr_expect_eq(equal, 0);
}
