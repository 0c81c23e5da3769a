/* graphs.c: graphs of objects that wander between threads.

   The shape of mstress in mimalloc-bench (Leijen, Zorn and de Moura 2019): threads build trees of
   objects of mixed sizes, a few of them large, keep some, and swap others with what stands in a
   table that all share; what comes out is freed by whoever drew it. Every few rounds the threads
   end and new ones begin. The table's entries are exchanged atomically. A tree's checksum depends
   on the tree alone, so the sum over all does not depend on who frees it. */
#include "micro.h"

#include <stdatomic.h>

enum { SHARED = 1000, KEPT = 200, TREES = 8000, GENERATIONS = 12, DEEPEST = 5, LARGEST = 20000 };

struct node {
  uint64_t value;
  uint32_t size, children;
  struct node *child[];
};

static _Atomic(struct node *) shared[SHARED];

static struct node *build(uint64_t *state, unsigned depth) {
  unsigned children = depth == 0 ? 0 : (unsigned)random_below(state, 5);
  size_t least = sizeof(struct node) + children * sizeof(struct node *);
  size_t size = least + random_skewed(state, 8, random_below(state, 400) == 0 ? LARGEST : 200);
  struct node *node = get(size);
  node->value = next_random(state);
  node->size = (uint32_t)size;
  node->children = children;
  ((unsigned char *)node)[size - 1] = (unsigned char)node->value;
  for (unsigned i = 0; i < children; i++) node->child[i] = build(state, depth - 1);
  return node;
}

static uint64_t drop(struct node *node) {
  if (node == NULL) return 0;
  uint64_t sum = node->value;
  if (((unsigned char *)node)[node->size - 1] != (unsigned char)sum)
    give_up("a node was overwritten");
  for (unsigned i = 0; i < node->children; i++) sum += drop(node->child[i]) * (i + 3);
  free(node);
  return sum;
}

struct task {
  unsigned generation, threads, percent;
};

static uint64_t wander(unsigned index, void *argument) {
  const struct task *task = argument;
  uint64_t state = index * 1000 + task->generation, sum = 0;
  struct node **kept = calloc(KEPT, sizeof *kept);
  if (kept == NULL) give_up("calloc");
  for (uint64_t n = share_of(TREES, task->percent, task->threads); n > 0; n--) {
    struct node *tree = build(&state, DEEPEST);
    uint64_t r = next_random(&state);
    if (r % 4 == 0) {
      struct node **slot = &kept[(r >> 8) % KEPT];
      sum += drop(*slot);
      *slot = tree;
    } else {
      sum += drop(atomic_exchange(&shared[(r >> 8) % SHARED], tree));
    }
  }
  for (unsigned i = 0; i < KEPT; i++) sum += drop(kept[i]);
  free(kept);
  return sum;
}

uint64_t run_graphs(unsigned threads, unsigned percent) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < GENERATIONS; i++) {
    struct task task = {i, threads, percent};
    sum += run_in_threads(threads, wander, &task);
  }
  for (unsigned i = 0; i < SHARED; i++) sum += drop(shared[i]);
  return sum;
}
