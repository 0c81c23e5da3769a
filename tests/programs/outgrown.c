/* outgrown.c: a block that realloc had to move, and that the program goes on reading by the old
   pointer: where free() leaves blocks alone that are still pointed to, so does realloc. Sizes of
   cells, of large objects, and of those whose pages could be moved instead of copied. */
#include "program.h"

static const size_t sizes[] = {24, 3000, 40000, 300000, 2 << 20, 5 << 20};

/* As free=quarantine leaves large ones. */
static bool is_emptied(const char *block, size_t size) {
  const char *options = getenv("RECLAIM");
  return options != NULL && strstr(options, "free=quarantine") != NULL && size >= 256 << 10 &&
         all_zero(block, size);
}

int main(void) {
  unsigned moved = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t size = sizes[i];
    char *volatile old = malloc(size), *volatile behind = malloc(size);
    CHECK(old != NULL && behind != NULL);
    fill_pattern(old, size, (unsigned)i);
    char *volatile grown = realloc(old, 3 * size);
    CHECK(grown != NULL && pattern_holds(grown, size, (unsigned)i));
    moved += grown != old;
    memset(grown, 0x55, 3 * size);
    collect();
    if (grown != old && !pattern_holds(old, size, (unsigned)i) && !is_emptied(old, size))
      fail("size %zu: the outgrown block lost its contents", size);
    free(grown);
    free(behind);
  }
  if (moved < 4) fail("only %u blocks were moved", moved);
  puts("whole");
  return 0;
}
