/* sharing.c: small blocks that two threads write to must not share a cache line.

   After Berger, McKinley, Blumofe and Wilson 2000 ("Hoard"), whose cache-thrash and cache-scratch
   these are. Active: each thread allocates a block, writes to it many times and frees it; an
   allocator that cuts one line up among threads makes them wait for each other. Passive: the main
   thread allocates one block for each thread, neighbours in memory; each thread frees the one it
   was given and then does the same as before: an allocator that hands it the same piece again keeps
   the sharing alive. */
#include "micro.h"

enum { SIZE = 8, WRITES = 1000, BLOCKS = 1000000, ROUNDS = 8, MOST_THREADS = 64 };

struct task {
  unsigned threads, percent;
  void *given[MOST_THREADS];
};

static uint64_t write_much(unsigned index, void *argument) {
  struct task *task = argument;
  uint64_t sum = 0;
  free(task->given[index]);
  for (uint64_t n = share_of(BLOCKS / ROUNDS, task->percent, task->threads); n > 0; n--) {
    volatile unsigned char *block = get(SIZE);
    for (int i = 0; i < SIZE; i++) block[i] = (unsigned char)(n + (unsigned)i);
    for (int i = 0; i < WRITES; i++) block[i % SIZE]++;
    for (int i = 0; i < SIZE; i++) sum += block[i];
    free((void *)block);
  }
  return sum;
}

static uint64_t run_rounds(unsigned threads, unsigned percent, unsigned given) {
  void *kept[ROUNDS];
  uint64_t sum = 0;
  for (unsigned round = 0; round < ROUNDS; round++) {
    struct task task = {threads, percent, {NULL}};
    kept[round] = get(SIZE);
    for (unsigned i = 0; i < given; i++) task.given[i] = get(SIZE);
    sum += run_in_threads(threads, write_much, &task);
  }
  for (unsigned round = 0; round < ROUNDS; round++) free(kept[round]);
  return sum;
}

uint64_t run_active_sharing(unsigned threads, unsigned percent) {
  return run_rounds(threads, percent, 0);
}

uint64_t run_passive_sharing(unsigned threads, unsigned percent) {
  return run_rounds(threads, percent, threads);
}
