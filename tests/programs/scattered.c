/* scattered.c: what is marked page by page. scattered MEBIBYTES [locked]

   A tree whose nodes lie in an order that is not the tree's, of so many MiB, is held throughout,
   and as many nodes that nobody holds are dropped, between and beside them. Each collection is
   followed by a walk through all of it. locked: mlockall, before anything else. */
#include "program.h"

#include <sys/mman.h>

enum { ROUNDS = 6, NODE = 64 /* bytes, on average */ };

struct node {
  struct node *left, *right;
  unsigned long number;
};

static struct node *make(unsigned long number, uint64_t *seed) {
  struct node *node = malloc(sizeof *node + next_random(seed) % (2 * (NODE - sizeof *node)));
  CHECK(node);
  node->number = number;
  node->left = node->right = NULL;
  return node;
}

/* Nodes in the order in which they are made become the tree's in another. */
static NOINLINE struct node *make_tree(size_t count, uint64_t *seed) {
  struct node **nodes = malloc(count * sizeof *nodes);
  CHECK(nodes);
  for (size_t i = 0; i < count; i++) {
    nodes[i] = make(0, seed);
    make(i, seed); /* dropped */
  }
  for (size_t i = count - 1; i; i--) {
    size_t other = next_random(seed) % (i + 1);
    struct node *node = nodes[i];
    nodes[i] = nodes[other];
    nodes[other] = node;
  }
  for (size_t i = 0; i < count; i++) {
    nodes[i]->number = i + 1;
    if (2 * i + 1 < count) nodes[i]->left = nodes[2 * i + 1];
    if (2 * i + 2 < count) nodes[i]->right = nodes[2 * i + 2];
  }
  struct node *root = nodes[0];
  memset(nodes, 0, count * sizeof *nodes);
  free(nodes);
  return root;
}

static size_t verify(const struct node *node, unsigned long number) {
  if (!node) return 0;
  CHECK(node->number == number);
  return 1 + verify(node->left, 2 * number) + verify(node->right, 2 * number + 1);
}

int main(int argc, char **argv) {
  CHECK(argc == 2 || argc == 3);
  if (argc == 3 && mlockall(MCL_CURRENT | MCL_FUTURE) != 0) not_possible("no mlockall");
  size_t count = (strtoul(argv[1], NULL, 10) << 20) / NODE;
  uint64_t seed = 1;
  struct node *kept = make_tree(count, &seed);
  for (int round = 0; round < ROUNDS; round++) {
    collect();
    CHECK(verify(kept, 1) == count);
    for (size_t i = 0; i < count / ROUNDS; i++) make(i, &seed); /* into what was taken back */
    CHECK(verify(kept, 1) == count);
  }
  return 0;
}
