/* roots.c: one block, and one place that holds the only pointer to it. roots CASE | roots list

   Each case puts a block with known contents behind one kind of root. Everything else that knew
   the address is wiped: the program remembers it complemented. Then collections run and memory of
   the same size is allocated, overwritten and freed, so that a block wrongly taken back is handed
   out again and loses its contents. At last the pointer is fetched from the root and the block
   verified. "none" is the control: blocks that nothing refers to must come back.

   Three sizes: a small cell, one of a larger class, and a large object of its own pages. */
#include "roots.h"

char **root_arguments;

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
    if (collector != NULL && after > before + (count + 99) / 100 * room)
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
