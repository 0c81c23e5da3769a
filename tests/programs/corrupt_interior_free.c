/* corrupt_interior_free.c: an address in the middle of a block is freed, as aligned as blocks are.
 * See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  free(opaque(block) + (size < 32 ? 4 : size / 2 & ~(size_t)15));
}
