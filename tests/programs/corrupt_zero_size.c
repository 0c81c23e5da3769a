/* corrupt_zero_size.c: a block of no bytes is written to. See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  char *empty = malloc(0);
  CHECK(empty != NULL && malloc_usable_size(empty) < 16);
  *opaque(empty) = 'z';
  free(empty);
}
