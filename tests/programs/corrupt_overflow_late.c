/* corrupt_overflow_late.c: one byte is written behind blocks that were freed, and the pointers to
 * them dropped. See corruption.h. */
#include "corruption.h"

enum { FREED_BLOCKS = 20 };

static NOINLINE void overflow(size_t size) {
  for (int i = 0; i < FREED_BLOCKS; i++) {
    char *freed = malloc(size);
    free(opaque(freed));
    opaque(freed)[size] = 'o';
  }
}

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block;
  overflow(size);
  collect_lost();
}
