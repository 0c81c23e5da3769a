/* roots.c: one block, and one place that holds the only pointer to it. roots CASE | roots list

   Each case puts a block with known contents behind one kind of root. Everything else that knew
   the address is wiped: the program remembers it complemented. Then collections run and memory of
   the same size is allocated, overwritten and freed, so that a block wrongly taken back is handed
   out again and loses its contents. At last the pointer is fetched from the root and the block
   verified. "none" is the control: blocks that nothing refers to must come back.

   Three sizes: a small cell, one of a larger class, and a large object of its own pages. */
#include "roots.h"

char **root_arguments;

const size_t sizes[SIZES] = {40, 3000, 300000};
uintptr_t hidden[SIZES];

NOINLINE void *make_block(int i) {
  void *block = malloc(sizes[i]);
  CHECK(block != NULL);
  fill_pattern(block, sizes[i], (unsigned)i + 1);
  hidden[i] = ~(uintptr_t)block;
  return block;
}

NOINLINE void verify_block(const void *found, int i) {
  if ((uintptr_t)found != ~hidden[i])
    fail("size %zu: the root holds %p, not the address stored", sizes[i], found);
  if (!pattern_holds(found, sizes[i], (unsigned)i + 1))
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

/* What the allocator says is in use, large blocks included. */
static size_t bytes_in_use(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

/* The control: of 1000 blocks that nothing refers to, at least 990 come back. Of large ones there
   are fewer, so that they stay below what starts a collection unasked. */
NOINLINE static void drop_blocks(size_t size, size_t count) {
  for (size_t n = 0; n < count; n++) memset(malloc(size), 0x33, size);
}

static void nowhere(void) {
  for (int i = 0; i < SIZES; i++) {
    size_t size = sizes[i] + 8, room = size + size / 4 + 64;
    size_t count = size < 20000 ? 1000 : 60;
    collect();
    collect();
    size_t before = bytes_in_use();
    drop_blocks(size, count);
    size_t between = bytes_in_use();
    if (between - before < count * size * 99 / 100)
      fail("size %zu: %zu bytes in use, %zu after allocating %zu blocks", size, before, between,
           count);
    wipe_stack();
    collect();
    wipe_stack();
    collect();
    size_t after = bytes_in_use();
    if (collector() != NULL && after > before + (count + 99) / 100 * room)
      fail("size %zu: %zu bytes before, %zu with %zu lost blocks, %zu after collecting", size,
           before, between, count, after);
  }
}

static const struct root_case control_cases[] = {
    {"none", nowhere},
    {NULL, NULL},
};

int main(int count, char **arguments) {
  const struct root_case *const tables[] = {control_cases, memory_cases, thread_cases,
                                            register_cases};
  CHECK(count == 2);
  root_arguments = arguments;
  bool listing = strcmp(arguments[1], "list") == 0;
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    for (const struct root_case *one = tables[i]; one->name != NULL; one++) {
      if (listing) puts(one->name);
      else if (strcmp(arguments[1], one->name) == 0) {
        one->run();
        puts("held");
        return 0;
      }
    }
  return listing ? 0 : 2;
}
