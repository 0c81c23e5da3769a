/* corrupt_overflow_cell.c: as much as a block holds is written behind it, and the block freed. See
 * corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) {
  (void)block, (void)size;
  victim.damages = true;
}

static void corrupt(char *block, size_t size) {
  memset(opaque(block) + size, 'o', malloc_usable_size(block) + 1);
  give_up(opaque(block), size);
}
