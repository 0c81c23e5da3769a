/* disguised.c: the only pointer to a block is no plain, aligned pointer to its beginning.
   disguised CASE

     low-tag        the lowest three bits carry a tag, as in search trees and interpreters
     prefix         points behind a header of the program's own, as pool libraries do
     last-byte      points to the last byte that was asked for
     high-tag       the top 16 bits carry a tag
     wide-tag       the top 17 bits do
     before-1, before-16, before-256, before-4096
                    points so many bytes before the beginning: arrays that count from 1, and others
     end            points one past the end, for sizes at all borders of size classes
     at-4, at-1     stands at an address that is 4, or 1, modulo 8: packed structures

   Blocks are remembered by their complements. For each of them the pointer is put down, memory is
   collected and used again, and the block verified. */
#include "blocks.h"

static uintptr_t bias; /* added to a pointer before it is put down */
static size_t offset;  /* where it is put down, in an object of its own */
static char *holder;   /* one object of the heap and one root are tried in turn */
static char root[64];

NOINLINE static uintptr_t make_hidden(size_t size) {
  unsigned char *block = malloc(size);
  CHECK(block != NULL);
  fill_pattern(block, size, (unsigned)size);
  return ~(uintptr_t)block;
}

NOINLINE static void put_down(uintptr_t hidden, bool in_heap) {
  uintptr_t word = ~hidden + bias;
  memcpy((in_heap ? holder : root) + offset, &word, sizeof word);
}

static void try_size(size_t size) {
  for (int in_heap = 0; in_heap < 2; in_heap++) {
    uintptr_t hidden = make_hidden(size);
    put_down(hidden, in_heap);
    collect_and_reuse(size);
    uintptr_t found;
    memcpy(&found, (in_heap ? holder : root) + offset, sizeof found);
    CHECK(found == ~hidden + bias);
    if (!pattern_holds((void *)~hidden, size, (unsigned)size))
      fail("size %zu, %s: the block was reclaimed and overwritten", size,
           in_heap ? "in the heap" : "in a root");
    memset(holder, 0, sizeof root);
    memset(root, 0, sizeof root);
    free((void *)~hidden);
  }
}

static void try_all(void) {
  for (int i = 0; i < BLOCK_SIZES; i++) try_size(block_sizes[i]);
}

static void with_bias(uintptr_t difference) {
  bias = difference;
  try_all();
}

/* A cell that is as large as what was asked for would have its end in its neighbour: multiples of
   the granule, powers of two, and whatever else the allocator rounds to. All at once. */
static uintptr_t ends[200], hidden_ends[200];
static size_t end_sizes[200], end_count;

static void add_end(size_t size) {
  CHECK(end_count < sizeof ends / sizeof *ends);
  end_sizes[end_count] = size;
  hidden_ends[end_count] = make_hidden(size);
  ends[end_count] = ~hidden_ends[end_count] + size;
  end_count++;
}

static void try_ends(void) {
  for (size_t size = 16; size < 256; size += 16) add_end(size);
  for (size_t power = 256; power <= 1 << 20; power *= 2)
    for (size_t eighths = 8; eighths < 16; eighths++) add_end(power / 8 * eighths);
  for (int turn = 0; turn < 3; turn++) {
    wipe_stack();
    collect();
    for (size_t i = 0; i < end_count; i++) reuse_memory(end_sizes[i], 3);
  }
  for (size_t i = 0; i < end_count; i++) {
    CHECK(ends[i] == ~hidden_ends[i] + end_sizes[i]);
    if (!pattern_holds((void *)~hidden_ends[i], end_sizes[i], (unsigned)end_sizes[i]))
      fail("size %zu: the block was reclaimed and overwritten", end_sizes[i]);
  }
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  const char *name = arguments[1];
  holder = calloc(1, sizeof root);
  CHECK(holder != NULL);
  if (strcmp(name, "low-tag") == 0) {
    for (uintptr_t tag = 1; tag < 8; tag += 3) with_bias(tag);
  } else if (strcmp(name, "prefix") == 0) {
    with_bias(8);
    with_bias(24);
  } else if (strcmp(name, "last-byte") == 0) {
    for (int i = 0; i < BLOCK_SIZES; i++) {
      bias = block_sizes[i] - 1;
      try_size(block_sizes[i]);
    }
  } else if (strcmp(name, "high-tag") == 0) {
    with_bias((uintptr_t)0xfff7 << 48);
    with_bias((uintptr_t)1 << 48);
  } else if (strcmp(name, "wide-tag") == 0) {
    with_bias((uintptr_t)0x1ffff << 47);
  } else if (strncmp(name, "before-", 7) == 0) {
    with_bias(-strtoul(name + 7, NULL, 10));
  } else if (strcmp(name, "end") == 0) {
    try_ends();
  } else if (strcmp(name, "at-4") == 0) {
    offset = 12;
    try_all();
  } else if (strcmp(name, "at-1") == 0) {
    offset = 9;
    try_all();
  } else {
    return 2;
  }
  puts("held");
  return 0;
}
