/* corrupt_size_of_freed.c: a block that was freed is asked for its size. See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { give_up(block, size); }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  CHECK(malloc_usable_size(opaque(block)) <= size * 2 + 64);
}
