/* corrupt_write_after_free.c: a block is written to after it was freed, with what would pass for a
 * list. See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { give_up(block, size); }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  char **words = (char **)opaque(block);
  for (size_t i = 0; i < size / sizeof *words; i++) words[i] = victim.neighbours[i % 2];
}
