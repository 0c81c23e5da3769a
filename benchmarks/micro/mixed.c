/* mixed.c: small blocks of mixed sizes, replaced at random.

   The shape of espresso in the suite of Zorn and Grunwald (1993), and of alloc-test (Ignatchenko
   2018) in mimalloc-bench: each thread holds a table of blocks of 8 to 1000 bytes, mostly small,
   and again and again replaces one at random. Nothing is shared. */
#include "micro.h"

enum { SLOTS = 40000, LEAST = 8, MOST = 1000, TURNS = 8000000 };

struct slot {
  void *block;
  size_t size;
};

struct task {
  unsigned threads, percent;
};

static uint64_t replace_blocks(unsigned index, void *argument) {
  const struct task *task = argument;
  unsigned slots = SLOTS / task->threads;
  struct slot *table = calloc(slots, sizeof *table);
  if (table == NULL) give_up("calloc");
  uint64_t state = index + 1, sum = 0;
  for (uint64_t turns = share_of(TURNS, task->percent, task->threads); turns > 0; turns--) {
    struct slot *slot = &table[random_below(&state, slots)];
    if (slot->block != NULL) {
      sum += check_stamp(slot->block, slot->size);
      free(slot->block);
    }
    slot->size = random_skewed(&state, LEAST, MOST);
    slot->block = get(slot->size);
    stamp(slot->block, slot->size, state ^ turns);
  }
  for (unsigned i = 0; i < slots; i++) {
    if (table[i].block != NULL) sum += check_stamp(table[i].block, table[i].size);
    free(table[i].block);
  }
  free(table);
  return sum;
}

uint64_t run_mixed(unsigned threads, unsigned percent) {
  struct task task = {threads, percent};
  return run_in_threads(threads, replace_blocks, &task);
}
