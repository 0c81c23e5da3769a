/* blocks.h: blocks of three sizes (a small cell, one of a larger class, a large object of its own
   pages) that a program remembers by their complemented addresses alone, and collections that would
   give a lost block away: after each, memory of the same sizes is allocated, overwritten and freed,
   so that a block wrongly taken back is handed out again and loses its contents. */
#ifndef TESTS_BLOCKS_H
#define TESTS_BLOCKS_H

#include "program.h"

enum { BLOCK_SIZES = 3 };
static const size_t block_sizes[BLOCK_SIZES] = {40, 3000, 300000};
static uintptr_t hidden_blocks[BLOCK_SIZES];

/* Leaves no trace but the complement. */
PROGRAM_UNUSED NOINLINE static void make_hidden_block(int i) {
  void *block = malloc(block_sizes[i]);
  CHECK(block != NULL);
  fill_pattern(block, block_sizes[i], (unsigned)i + 1);
  hidden_blocks[i] = ~(uintptr_t)block;
}

PROGRAM_UNUSED static void verify_block(uintptr_t hidden, int i) {
  CHECK(hidden == hidden_blocks[i]);
  if (!pattern_holds((void *)~hidden, block_sizes[i], (unsigned)i + 1))
    fail("size %zu: the block was reclaimed and overwritten", block_sizes[i]);
}

PROGRAM_UNUSED NOINLINE static void reuse_memory(size_t size, size_t count) {
  static void *blocks[3000];
  CHECK(count <= sizeof blocks / sizeof *blocks);
  for (size_t n = 0; n < count; n++) {
    CHECK((blocks[n] = malloc(size)) != NULL);
    memset(blocks[n], 0x55, size);
  }
  for (size_t n = 0; n < count; n++) free(blocks[n]);
  memset(blocks, 0, sizeof blocks);
}

PROGRAM_UNUSED NOINLINE static void collect_and_reuse(size_t size) {
  for (int turn = 0; turn < 3; turn++) {
    wipe_stack();
    collect();
    reuse_memory(size, size < 1000 ? 3000 : (3 << 20) / size);
  }
}

#endif
