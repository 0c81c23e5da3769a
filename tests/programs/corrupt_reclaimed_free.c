/* corrupt_reclaimed_free.c: blocks are freed after all to which the program had hidden its
 * pointers. See corruption.h. */
#include "corruption.h"

enum { HIDDEN_BLOCKS = 20 };
static uintptr_t hidden[HIDDEN_BLOCKS];

static NOINLINE void hide(int i, size_t size) { hidden[i] = ~(uintptr_t)malloc(size); }

static void prepare(char *block, size_t size) {
  (void)block, (void)size;
  for (int i = 0; i < HIDDEN_BLOCKS; i++) hide(i, size);
  collect_lost();
}

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  if (collector == NULL) return; /* nobody takes them back: nothing is wrong */
  for (int i = 0; i < HIDDEN_BLOCKS; i++) free(opaque((void *)~hidden[i]));
}
