/* corrupt_overflow_swept.c: one byte is written behind blocks that are then lost. See corruption.h.
 */
#include "corruption.h"

enum { LOST_BLOCKS = 20 };

static NOINLINE void lose(size_t size) {
  for (int i = 0; i < LOST_BLOCKS; i++) opaque(malloc(size))[size] = 'o';
}

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block;
  lose(size);
  collect_lost();
}
