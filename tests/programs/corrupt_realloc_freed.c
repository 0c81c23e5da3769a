/* corrupt_realloc_freed.c: a block that was freed is resized. See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { give_up(block, size); }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  char *moved = realloc(opaque(block), size * 2);
  if (moved != NULL) free(moved); /* where free() does nothing it is still a block */
}
