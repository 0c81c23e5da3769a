/* phase.c: how much memory stays resident when a program's sizes change: no time, memory alone.

   Fragmentation in the sense of Wilson, Johnstone, Neely and Boles 1995 ("Dynamic Storage
   Allocation: A Survey and Critical Review"): the heap is filled with one size, most of it is freed
   at random, and the next phase asks for another size, so that the survivors of each phase keep
   whole pages from being used. Two kinds of phases: in the first five one block in 5000 survives;
   after them 95 % are freed at random, twice with another mix. After each step a line "step NAME
   RESIDENT LIVE" in KiB. */
#include "micro.h"

#include <stdio.h>

enum { BLOCKS = 1500000, BYTES = BLOCKS * 40 };

static struct {
  uint32_t *block[BLOCKS];
  uint64_t state, live, sum;
} heap = {.state = 1};

static void show(const char *name) { show_step(name, heap.live); }

/* Puts blocks of sizes from least to most into the first slots, whatever they hold now being left
   to live on unseen, until bytes are allocated or there are no more slots. */
static unsigned fill(size_t least, size_t most, uint64_t bytes) {
  unsigned count = 0;
  for (uint64_t done = 0; done < bytes && count < BLOCKS; count++) {
    size_t size = least == most ? least : random_skewed(&heap.state, least, most);
    heap.block[count] = get(size);
    memset(heap.block[count], 1, size);
    *heap.block[count] = (uint32_t)size;
    heap.live += size;
    done += size;
  }
  return count;
}

static void drop(unsigned i) {
  heap.live -= *heap.block[i];
  heap.sum = heap.sum * 31 + *heap.block[i];
  free(heap.block[i]);
  heap.block[i] = NULL;
}

uint64_t run_phase(unsigned threads, unsigned percent) {
  (void)threads;
  static const size_t sizes[] = {40, 100, 200, 24, 64};
  static const struct {
    const char *filled, *freed;
    size_t least, most;
  } mixes[] = {
      {"filled-16-200", "freed-16-200", 16, 200},
      {"filled-100-1000", "freed-100-1000", 100, 1000},
      {"filled-1000-8000", "freed-1000-8000", 1000, 8000},
  };
  uint64_t bytes = share_of(BYTES, percent, 1);
  char name[40];
  show("start");
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    unsigned count = fill(sizes[i], sizes[i], bytes);
    snprintf(name, sizeof name, "filled-%zu", sizes[i]);
    show(name);
    for (unsigned k = 0; k < count; k++)
      if (k % 5000 != 0) drop(k);
    snprintf(name, sizeof name, "freed-%zu", sizes[i]);
    show(name);
  }
  for (unsigned i = 0; i < sizeof mixes / sizeof *mixes; i++) {
    unsigned count = fill(mixes[i].least, mixes[i].most, bytes);
    show(mixes[i].filled);
    for (unsigned k = 0; k < count; k++)
      if (random_below(&heap.state, 20) != 0) drop(k);
    show(mixes[i].freed);
  }
  return heap.sum;
}
