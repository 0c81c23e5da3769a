/* reused.c: a program that forgets some blocks and frees those that they point to, while one stale
   word leads to the first of them. reused

   Each forgotten block points to one that was freed, whose address the next to be forgotten may
   get: then the stale word keeps a chain without end, as in nginx and redis with a share of their
   calls of free() dropped. Where no address is used again while a word leads to it
   (free=quarantine) there is no chain, and as much stays in use as there was. */
#include "program.h"

enum { ROUNDS = 40, TURNS = 500, SIZE = 4000 };

struct block {
  struct block *freed;
  char data[SIZE];
};

static struct block *volatile stale;

static struct block *make_block(void) {
  struct block *block = malloc(sizeof *block);
  CHECK(block != NULL);
  memset(block, 0, sizeof *block);
  return block;
}

NOINLINE static void forget_blocks(void) {
  for (int i = 0; i < TURNS; i++) {
    struct block *forgotten = make_block(), *other = make_block();
    forgotten->freed = other;
    free(other);
  }
}

int main(void) {
  stale = make_block();
  free(stale);
  long early = 0;
  for (int round = 0; round < ROUNDS; round++) {
    forget_blocks();
    wipe_stack();
    collect();
    if (round == ROUNDS / 4) early = resident_kib();
  }
  long late = resident_kib();
  if (collector != NULL && late > early + 16 * 1024)
    fail("%ld KiB after a quarter, %ld KiB at the end", early, late);
  puts("no chain");
  return 0;
}
