/* closed_neighbours.c: under free=quarantine some pages of live blocks are closed to the program.
   Blocks beside them hold the only pointers to freed ones, some at no multiple of 8, and are as
   alive as ever; and collections go on. closed_neighbours SIZE CLOSED, in bytes: of the blocks, and
   how much of every 21st is closed. */
#include "program.h"

#include <malloc.h>
#include <sys/mman.h>

enum { BLOCKS = 2100, FREED = 500, CHURN = 400000 };

static char *blocks[BLOCKS];
static uintptr_t hidden[BLOCKS]; /* complements of what was freed */
static size_t size, closed;

static bool is_closed(int i) { return closed && i % 21 == 20; }
/* Across the pages of a block in turn. */
static char *place(int i) {
  size_t pages = size / 4096;
  return blocks[i] + (pages > 1 ? 4096 * (1 + (size_t)i % (pages - 1)) - 4 : size - 8);
}

NOINLINE static void prepare(void) {
  for (int i = 0; i < BLOCKS; i++) {
    blocks[i] = is_closed(i) ? memalign(4096, size) : malloc(size);
    CHECK(blocks[i]);
    memset(blocks[i], 0, size);
    if (is_closed(i)) CHECK(mprotect(blocks[i], closed, PROT_NONE) == 0);
  }
  for (int i = 7; i < BLOCKS; i += 50) /* where the live ones side by side begin is to vary */
    if (!is_closed(i)) free(blocks[i]), blocks[i] = NULL;
  for (int i = 0; i < BLOCKS; i++) {
    if (is_closed(i) || !blocks[i]) continue;
    void *freed = malloc(FREED);
    memset(freed, 0x77, FREED);
    hidden[i] = ~(uintptr_t)freed;
    memcpy(place(i), &freed, sizeof freed);
    free(freed);
  }
}

static int compare(const void *a, const void *b) {
  uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
  return (x > y) - (x < y);
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  size = strtoul(arguments[1], NULL, 0), closed = strtoul(arguments[2], NULL, 0);
  prepare();
  wipe_stack();
  qsort(hidden, BLOCKS, sizeof *hidden, compare);
  int again = 0;
  for (int i = 0; i < CHURN; i++) {
    uintptr_t block = ~(uintptr_t)malloc(FREED);
    again += bsearch(&block, hidden, BLOCKS, sizeof *hidden, compare) != NULL;
    free((void *)~block);
  }
  printf("handed out again: %d\n", again);
  return again != 0;
}
