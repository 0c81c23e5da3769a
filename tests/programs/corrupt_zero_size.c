/* corrupt_zero_size.c: a block of no bytes is written to, one aligned to 64 or 4096 where the size is
   a page or large. See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block;
  char *empty = size < 1000 ? malloc(0) : memalign(size < 20000 ? 64 : 4096, 0);
  CHECK(empty != NULL && malloc_usable_size(empty) < 16);
  *opaque(empty) = 'z';
  free(empty);
}
