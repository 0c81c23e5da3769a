/* micro.h: what the allocation workloads share: random numbers, threads, blocks that are checked.

   A workload does a fixed amount of work from fixed seeds and returns a checksum that no allocator
   and no schedule changes; percent scales the work, 100 being the full form. Threads share the
   work: the sum of what they do is the same for one thread as for four. Single-owner data
   throughout: what threads exchange is said in each workload's banner. */
#ifndef RECLAIM_BENCHMARKS_MICRO_H
#define RECLAIM_BENCHMARKS_MICRO_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t run_workload(unsigned threads, unsigned percent);

run_workload run_active_sharing, run_aligned, run_batches, run_big, run_graphs, run_growth,
    run_mixed, run_nbody, run_passive_sharing, run_phase, run_remote, run_server, run_settle,
    run_sizes, run_threads, run_tiny, run_zeroed;

/* Says on stderr what went wrong and ends the process with status 1. */
_Noreturn void give_up(const char *what);

/* Runs work(i, argument) for i below threads, each in a thread of its own, the first in the calling
   one when it is the only one; returns the sum of the results. */
uint64_t run_in_threads(unsigned threads, uint64_t (*work)(unsigned index, void *argument),
                        void *argument);

/* Prints how much memory is resident and how much of it the workload holds: "step NAME RESIDENT
   LIVE" in KiB. Steps are not a part of the result that is compared. */
void show_step(const char *name, uint64_t live_bytes);

/* A share of full for one of so many threads, at least 1. */
static inline uint64_t share_of(uint64_t full, unsigned percent, unsigned threads) {
  uint64_t share = full * percent / 100 / threads;
  return share > 0 ? share : 1;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

/* A number below bound, which is below 2^32. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound) {
  return (next_random(state) >> 32) * bound >> 32;
}

/* A size from least to most whose logarithm is about even: small ones are the common ones. */
static inline size_t random_skewed(uint64_t *state, size_t least, size_t most) {
  uint64_t r = next_random(state);
  size_t span = most - least;
  unsigned shift = r & 7;
  return least + (size_t)((r >> 32) * ((span >> shift) + 1) >> 32);
}

static inline void *get(size_t size) {
  void *block = malloc(size);
  if (block == NULL) give_up("malloc");
  return block;
}

/* Marks the first word and the last byte of a block (of 8 bytes or more), and checks both: two
   blocks that overlap are noticed. */
static inline void stamp(void *block, size_t size, uint64_t value) {
  memcpy(block, &value, sizeof value);
  ((unsigned char *)block)[size - 1] = (unsigned char)(value >> 56);
}

static inline uint64_t check_stamp(const void *block, size_t size) {
  uint64_t value;
  memcpy(&value, block, sizeof value);
  if (((const unsigned char *)block)[size - 1] != (unsigned char)(value >> 56))
    give_up("a block was overwritten");
  return value;
}

#endif
