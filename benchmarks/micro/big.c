/* big.c: blocks of 5 to 25 MiB, twenty of them at a time, replaced at random.

   The shape of malloc-large in mimalloc-bench (Leijen and others, 2019). Every page of a block is
   written to once, so the time shows how often memory goes back to the kernel and comes again. */
#include "micro.h"

enum { SLOTS = 20, TURNS = 350, PAGE = 4096 };
static const size_t mebibyte = 1 << 20;

uint64_t run_big(unsigned threads, unsigned percent) {
  (void)threads;
  struct {
    unsigned char *block;
    size_t size;
  } slots[SLOTS] = {{NULL, 0}};
  uint64_t state = 1, sum = 0;
  for (uint64_t n = share_of(TURNS, percent, 1) + SLOTS; n > 0; n--) {
    unsigned i = n > SLOTS ? (unsigned)random_below(&state, SLOTS) : (unsigned)n - 1;
    if (slots[i].block != NULL) sum = sum * 31 + check_stamp(slots[i].block, slots[i].size);
    free(slots[i].block);
    slots[i].block = NULL;
    if (n <= SLOTS) continue; /* the last turns empty the slots */
    slots[i].size = 5 * mebibyte + random_below(&state, 20 * mebibyte);
    slots[i].block = get(slots[i].size);
    for (size_t at = 0; at < slots[i].size; at += PAGE) slots[i].block[at] = (unsigned char)n;
    stamp(slots[i].block, slots[i].size, state);
  }
  return sum;
}
