/* corrupt_misaligned_free.c: an address is freed that no block can have. See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  free(opaque(block) + 3);
}
