/* aligned.c: blocks with an alignment of 32 bytes to 4 KiB, among ordinary ones.

   The memalign share of t-test1 (Gloger 1997, for ptmalloc) taken for itself, with the three calls
   that ask for it. Alignments are checked. */
#include "micro.h"

enum { SLOTS = 3000, MOST = 2000, TURNS = 3000000 };

static void *get_aligned(size_t alignment, size_t size, unsigned way) {
  void *block = NULL;
  if (way == 0) block = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  else if (posix_memalign(&block, alignment, size) != 0) block = NULL;
  if (block == NULL) give_up("aligned allocation");
  if ((uintptr_t)block % alignment != 0) give_up("a block is not aligned");
  return block;
}

uint64_t run_aligned(unsigned threads, unsigned percent) {
  (void)threads;
  static struct {
    void *block;
    size_t size;
  } slots[SLOTS];
  uint64_t state = 1, sum = 0;
  for (uint64_t n = share_of(TURNS, percent, 1); n > 0; n--) {
    unsigned i = (unsigned)random_below(&state, SLOTS);
    if (slots[i].block != NULL) sum += check_stamp(slots[i].block, slots[i].size);
    free(slots[i].block);
    slots[i].size = random_skewed(&state, 16, MOST);
    uint64_t r = next_random(&state);
    size_t alignment = (size_t)32 << (r >> 8) % (r % 16 == 0 ? 8 : 3);
    slots[i].block =
        r % 4 == 0 ? get(slots[i].size) : get_aligned(alignment, slots[i].size, r >> 4 & 1);
    stamp(slots[i].block, slots[i].size, state);
  }
  for (int i = 0; i < SLOTS; i++) free(slots[i].block);
  return sum;
}
