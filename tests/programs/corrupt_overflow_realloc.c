/* corrupt_overflow_realloc.c: one byte behind a block is written, and the block made larger. See
 * corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  opaque(block)[size] = 'o';
  char *moved = realloc(opaque(block), size * 2);
  CHECK(moved != NULL);
  if (!pattern_holds(moved, size, 1)) exploitable("a block lost its contents");
  give_up(moved, size);
}
