/* sizes.c: sizes from 8 to 16,000 bytes, all alike likely, a tenth of them freed by another thread.

   The shape of rptest (Jansson, rpmalloc-benchmark 2017): each thread replaces blocks in a table of
   its own and leaves every tenth in a place where its neighbour finds and frees it. Such a place
   holds one block and is exchanged atomically. The checksum adds up what is allocated when it is
   freed, whoever does it. */
#include "micro.h"

#include <stdatomic.h>

enum { SLOTS = 3000, LEAST = 8, MOST = 16000, TURNS = 2500000, PLACES = 64, MOST_THREADS = 64 };

struct block {
  uint64_t value;
  size_t size;
};

static _Atomic(struct block *) places[MOST_THREADS][PLACES];

static struct block *make(uint64_t *state) {
  size_t size = LEAST + random_below(state, MOST - LEAST);
  if (size < sizeof(struct block)) size = sizeof(struct block);
  struct block *block = get(size);
  block->size = size;
  block->value = *state;
  if (size > sizeof *block) ((unsigned char *)block)[size - 1] = (unsigned char)*state;
  return block;
}

static uint64_t drop(struct block *block) {
  if (block == NULL) return 0;
  uint64_t value = block->value;
  if (block->size > sizeof *block &&
      ((unsigned char *)block)[block->size - 1] != (unsigned char)value)
    give_up("a block was overwritten");
  free(block);
  return value;
}

static uint64_t work(unsigned index, void *argument) {
  const unsigned *settings = argument;
  unsigned neighbour = (index + 1) % settings[0], slots = SLOTS / settings[0];
  uint64_t state = index + 1, sum = 0;
  struct block **table = calloc(slots, sizeof *table);
  if (table == NULL) give_up("calloc");
  for (uint64_t n = share_of(TURNS, settings[1], settings[0]); n > 0; n--) {
    struct block *block = make(&state);
    uint64_t r = next_random(&state);
    if (r % 10 == 0) {
      sum += drop(atomic_exchange(&places[neighbour][(r >> 8) % PLACES], block));
      sum += drop(atomic_exchange(&places[index][(r >> 16) % PLACES], NULL));
    } else {
      struct block **slot = &table[(r >> 8) % slots];
      sum += drop(*slot);
      *slot = block;
    }
  }
  for (unsigned i = 0; i < slots; i++) sum += drop(table[i]);
  free(table);
  return sum;
}

uint64_t run_sizes(unsigned threads, unsigned percent) {
  unsigned settings[] = {threads, percent};
  uint64_t sum = run_in_threads(threads, work, settings);
  for (unsigned i = 0; i < threads; i++)
    for (unsigned k = 0; k < PLACES; k++) sum += drop(places[i][k]);
  return sum;
}
