/* leak.c: forgets what it allocates. leak MIB THREADS [leak|free] [keep]

   Sizes go from 16 bytes to 1 MiB, each power of two with the same share of the bytes. Blocks
   are linked into rings, and each odd ring with the ring before it, so that counting references
   would find none of them; every page is written to. The newest rings stay reachable, and their
   contents are verified before they are dropped: a live block must survive. With "free" each ring
   is freed instead of dropped. Prints one line that does not depend on addresses. */
#include "program.h"

enum { SMALLEST = 4, LARGEST = 20, BATCH = 1 << 16, KEPT = 8 };

struct block {
  struct block *next;
  uint32_t size, seed;
};

struct ring {
  struct block *first;
  unsigned count;
};

static size_t bytes_each;
static bool freeing;

static struct ring make_ring(size_t size, uint32_t seed) {
  struct ring ring = {NULL, 0};
  struct block *last = NULL;
  size_t batch = size < BATCH ? BATCH / size : 1;
  for (size_t i = 0; i < batch; i++) {
    struct block *block = malloc(size);
    CHECK(block != NULL);
    block->size = (uint32_t)size;
    block->seed = seed;
    for (size_t at = sizeof *block; at < size; at += 4096)
      ((unsigned char *)block)[at] = (unsigned char)seed;
    if (size > sizeof *block) ((unsigned char *)block)[size - 1] = (unsigned char)seed;
    block->next = ring.first;
    ring.first = block;
    if (last == NULL) last = block;
    ring.count++;
  }
  last->next = ring.first;
  return ring;
}

/* Crossing the first links of two rings makes one ring of both. */
static void join_rings(struct ring *a, struct ring *b) {
  struct block *next = a->first->next;
  a->first->next = b->first->next;
  b->first->next = next;
}

static void verify(const struct block *block, uint32_t seed) {
  CHECK(block->seed == seed);
  CHECK(block->size >= 16 && block->size <= 1u << LARGEST);
  if (block->size > sizeof *block)
    CHECK(((const unsigned char *)block)[block->size - 1] == (unsigned char)seed);
}

/* Rings are joined in pairs: both are gone through together. */
static void end_pair(struct ring *a, struct ring *b, uint32_t seed) {
  unsigned left = a->count + b->count, seen = 0;
  struct block *block = a->first;
  while (seen < left) {
    struct block *next = block->next;
    verify(block, block->seed == seed ? seed : seed + 1);
    if (freeing) free(block);
    block = next;
    seen++;
  }
  CHECK(block == a->first);
  a->first = b->first = NULL;
}

static void *work(void *argument) {
  uint64_t random = 0x9e3779b97f4a7c15u * ((uintptr_t)argument + 1);
  struct ring kept[KEPT][2] = {0};
  uint32_t seeds[KEPT] = {0}, seed = (uint32_t)(uintptr_t)argument << 24;
  size_t allocated = 0;
  for (size_t turn = 0; allocated < bytes_each; turn++) {
    size_t slot = turn % KEPT;
    if (kept[slot][0].first != NULL) end_pair(&kept[slot][0], &kept[slot][1], seeds[slot]);
    seeds[slot] = seed;
    for (int i = 0; i < 2; i++) {
      size_t size = (size_t)1 << (SMALLEST + next_random(&random) % (LARGEST - SMALLEST + 1));
      kept[slot][i] = make_ring(size, seed++);
      allocated += kept[slot][i].count * size;
    }
    join_rings(&kept[slot][0], &kept[slot][1]);
  }
  for (size_t slot = 0; slot < KEPT; slot++)
    if (kept[slot][0].first != NULL) end_pair(&kept[slot][0], &kept[slot][1], seeds[slot]);
  return NULL;
}

int main(int count, char **arguments) {
  pthread_t threads[64];
  CHECK(count >= 3);
  size_t n = strtoul(arguments[2], NULL, 10);
  CHECK(n >= 1 && n <= 64);
  bytes_each = (strtoul(arguments[1], NULL, 10) << 20) / n;
  freeing = count > 3 && strcmp(arguments[3], "free") == 0;
  if (n == 1) work(NULL);
  for (size_t i = 0; n > 1 && i < n; i++)
    CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
  for (size_t i = 0; n > 1 && i < n; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  printf("%s MiB in %zu thread(s) %s\n", arguments[1], n, freeing ? "freed" : "leaked");
  return 0;
}
