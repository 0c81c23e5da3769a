/* blocks.c: see roots.h. Blocks with known contents of three sizes: a small cell, one of a larger
   class, and a large object of its own pages.

   With BLOCKS_ARE_FREED in the environment each is freed as soon as it is made, and what the case
   keeps is a dangling pointer: for free=quarantine. What it points to stays, or reads as zeros. */
#include "roots.h"

const size_t sizes[SIZES] = {40, 3000, 300000};
uintptr_t hidden[SIZES];

NOINLINE void *make_block(int i) {
  void *block = malloc(sizes[i]);
  CHECK(block != NULL);
  fill_pattern(block, sizes[i], (unsigned)i + 1);
  hidden[i] = ~(uintptr_t)block;
  if (getenv("BLOCKS_ARE_FREED")) free(block);
  return block;
}

NOINLINE void verify_block(const void *found, int i) {
  if ((uintptr_t)found != ~hidden[i])
    fail("size %zu: the root holds %p, not the address stored", sizes[i], found);
  if (pattern_holds(found, sizes[i], (unsigned)i + 1)) return;
  if (getenv("BLOCKS_ARE_FREED") && all_zero(found, sizes[i])) return;
  fail("size %zu: the block was reclaimed and overwritten", sizes[i]);
}

/* Reuses what was freed: as much of each size as a sweep may have given back. */
NOINLINE static void churn(void) {
  static void *blocks[3000];
  for (int i = 0; i < SIZES; i++) {
    size_t count = (4 << 20) / sizes[i];
    if (count > 3000) count = 3000;
    for (size_t n = 0; n < count; n++) {
      blocks[n] = malloc(sizes[i]);
      memset(blocks[n], 0x55, sizes[i]);
    }
    for (size_t n = 0; n < count; n++) free(blocks[n]);
    memset(blocks, 0, sizeof blocks);
  }
}

NOINLINE void collect_often(void) {
  for (int turn = 0; turn < 4; turn++) {
    wipe_stack();
    collect();
    churn();
  }
}

/* Cases are a function each: it places, calls collect_often, fetches and verifies. */

/* The common shape: SIZES words of storage that the case provides. */
NOINLINE void store_blocks(void **slots) {
  for (int i = 0; i < SIZES; i++) slots[i] = make_block(i);
}

NOINLINE void verify_blocks(void **slots) {
  for (int i = 0; i < SIZES; i++) verify_block(slots[i], i);
}

void use_slots(void **slots) {
  uintptr_t kept = ~(uintptr_t)slots; /* where the slots are is no secret, unless they move */
  store_blocks(slots);
  wipe_stack();
  collect_often();
  verify_blocks((void **)~kept);
}

int run_case(const struct root_case *cases, const char *name) {
  for (; cases->name != NULL; cases++)
    if (strcmp(cases->name, name) == 0) {
      cases->run();
      puts("held");
      return 0;
    }
  return 2;
}
