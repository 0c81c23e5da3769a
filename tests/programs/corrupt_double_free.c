/* corrupt_double_free.c: a block is freed twice. See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { give_up(block, size); }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  free(opaque(block));
}
