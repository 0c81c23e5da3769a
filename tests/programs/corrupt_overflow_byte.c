/* corrupt_overflow_byte.c: one byte behind a block is written, and the block freed. See
 * corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  opaque(block)[size] = 'o';
  if (!pattern_holds(block, size, 1)) exploitable("a block lost its contents");
  for (int i = 0; i < victim.neighbour_count; i++)
    if (!pattern_holds(victim.neighbours[i], size, 1)) exploitable("it lay in another block");
  give_up(opaque(block), size);
}
