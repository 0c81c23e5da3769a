/* corrupt_unallocated_free.c: an address of the heap is freed where no block has been. See
 * corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  char *highest = block;
  for (int i = 0; i < victim.neighbour_count; i++)
    if (victim.neighbours[i] > highest) highest = victim.neighbours[i];
  free(opaque(highest) + 5 * (malloc_usable_size(block) + 1));
}
