/* corrupt_crossed_free.c: no bug: one thread makes blocks and ends, others free them in another
 * order. See corruption.h. */
#include "corruption.h"

enum { BLOCKS = 8 };
static char *blocks[BLOCKS];

static void *make_blocks(void *unused) {
  for (int i = 0; i < BLOCKS; i++) fill_pattern(blocks[i] = malloc(victim.size), victim.size, 5);
  return unused;
}

static void *free_blocks(void *unused) {
  for (int i = BLOCKS - 1; i > 0; i -= 2) {
    if (!pattern_holds(blocks[i], victim.size, 5)) exploitable("a block lost its contents");
    free(blocks[i]);
  }
  return unused;
}

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  pthread_t thread;
  for (int turn = 0; turn < 5; turn++) {
    CHECK(pthread_create(&thread, NULL, make_blocks, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < BLOCKS; i += 2) free(blocks[i]);
    CHECK(pthread_create(&thread, NULL, free_blocks, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
}
