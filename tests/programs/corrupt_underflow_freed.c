/* corrupt_underflow_freed.c: the byte before each block is written, which is the last of its
 * neighbour's cell, and all are freed. See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  for (int i = 0; i < victim.neighbour_count; i++) opaque(victim.neighbours[i])[-1] = 'u';
  while (victim.neighbour_count > 0) free(victim.neighbours[--victim.neighbour_count]);
}
