/* zeroed.c: calloc above all.

   The calloc share of t-test1 (Gloger 1997, for ptmalloc) taken for itself: tables and records of
   16 bytes to 64 KiB, most of them small, that must be zero and of which the program then writes a
   part. An allocator that knows which memory is fresh from the kernel need not clear it. */
#include "micro.h"

enum { SLOTS = 3000, LEAST = 16, MOST = 2000, LARGE = 65536, TURNS = 4000000 };

uint64_t run_zeroed(unsigned threads, unsigned percent) {
  (void)threads;
  static struct {
    uint64_t *words;
    size_t count;
  } slots[SLOTS];
  uint64_t state = 1, sum = 0;
  for (uint64_t n = share_of(TURNS, percent, 1); n > 0; n--) {
    unsigned i = (unsigned)random_below(&state, SLOTS);
    if (slots[i].words != NULL) sum += slots[i].words[0] + slots[i].words[slots[i].count - 1];
    free(slots[i].words);
    size_t size = random_skewed(&state, LEAST, random_below(&state, 200) == 0 ? LARGE : MOST);
    slots[i].count = size / sizeof *slots[i].words;
    uint64_t *words = slots[i].words = calloc(slots[i].count, sizeof *words);
    if (words == NULL) give_up("calloc");
    uint64_t seen = 0;
    for (size_t k = 0; k < slots[i].count; k += 8) seen |= words[k];
    if ((seen | words[slots[i].count - 1]) != 0) give_up("calloc gave memory that is not zero");
    memset(words, (int)n | 1, slots[i].count * sizeof *words / 2);
    words[0] = n;
    words[slots[i].count - 1] = state;
  }
  for (int i = 0; i < SLOTS; i++) free(slots[i].words);
  return sum;
}
