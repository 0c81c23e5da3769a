/* corrupt_dangling_read.c: a block is read after it was freed. See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { give_up(block, size); }

static void corrupt(char *block, size_t size) {
  unsigned sum = 0;
  for (size_t i = 0; i < size; i += 500) sum += (unsigned char)opaque(block)[i];
  __asm__ volatile("" : : "r"(sum));
}
