/* trees.c: programs that live on garbage, in three ways. trees PROGRAM SIZE THREADS WAY

   PROGRAM
     binary-trees  after the benchmark game's: trees of all depths up to SIZE, made, counted and
                   dropped, one of them held throughout; each thread does its share
     gcbench       after Boehm's version of Ellis and Kovac's benchmark: a long-lived tree of depth
                   SIZE and an array of numbers, and meanwhile trees of even depths from 4 to SIZE,
                   built from the top and from the bottom; each thread does all of it
     server        SIZE mebibytes are held in a table of lists; each request replaces one of a
                   list's entries, and makes and drops some blocks
   WAY
     free          malloc, and free for all that is dropped
     drop          malloc alone: for a collector that is preloaded
     bdwgc         Boehm's collector
   Prints a checksum, which all ways agree on. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/collect/bdwgc.h"

static bool frees;

static _Noreturn void give_up(const char *why) {
  fprintf(stderr, "trees: %s\n", why);
  exit(1);
}

static inline void *make(size_t size) {
  void *block = bdwgc.malloc ? bdwgc.malloc(size) : malloc(size);
  if (!block) give_up("out of memory");
  return block;
}
static inline void *make_numbers(size_t size) {
  void *block = bdwgc.malloc_leaf ? bdwgc.malloc_leaf(size) : malloc(size);
  if (!block) give_up("out of memory");
  return block;
}
static inline void drop(void *block) {
  if (frees) free(block);
}

/* --- trees -------------------------------------------------------------------------------------
 */

struct node {
  struct node *left, *right;
};

static struct node *bottom_up(unsigned depth) {
  struct node *left = depth ? bottom_up(depth - 1) : NULL;
  struct node *right = depth ? bottom_up(depth - 1) : NULL;
  struct node *node = make(sizeof *node);
  node->left = left;
  node->right = right;
  return node;
}

static void top_down(struct node *node, unsigned depth) {
  node->left = node->right = NULL;
  if (!depth) return;
  node->left = make(sizeof *node);
  node->left->left = node->left->right = NULL;
  node->right = make(sizeof *node);
  top_down(node->left, depth - 1);
  top_down(node->right, depth - 1);
}

static uint64_t count(const struct node *node) {
  return node->left ? 1 + count(node->left) + count(node->right) : 1;
}

static void drop_tree(struct node *node) {
  if (!frees) return;
  if (node->left) {
    drop_tree(node->left);
    drop_tree(node->right);
  }
  free(node);
}

struct task {
  unsigned size, threads, index;
  uint64_t sum;
};

static void binary_trees(struct task *task) {
  enum { LEAST = 4 };
  struct node *held = task->index == 0 ? bottom_up(task->size) : NULL;
  for (unsigned depth = LEAST; depth <= task->size; depth += 2) {
    uint64_t times = (uint64_t)1 << (task->size - depth + LEAST);
    for (uint64_t i = task->index; i < times; i += task->threads) {
      struct node *tree = bottom_up(depth);
      task->sum += count(tree);
      drop_tree(tree);
    }
  }
  if (held) {
    task->sum += count(held);
    drop_tree(held);
  }
}

static void gcbench(struct task *task) {
  enum { NUMBERS = 500000, LEAST = 4 };
  struct node *held = make(sizeof *held);
  top_down(held, task->size);
  double *numbers = make_numbers(NUMBERS * sizeof *numbers);
  for (int i = 0; i < NUMBERS; i++) numbers[i] = 1.0 / (i + 1);
  uint64_t most = ((uint64_t)2 << (task->size + 2)) - 1; /* nodes of a tree of depth SIZE + 2 */
  for (unsigned depth = LEAST; depth <= task->size; depth += 2)
    for (uint64_t i = 2 * most / (((uint64_t)2 << depth) - 1); i > 0; i--) {
      struct node *tree = make(sizeof *tree);
      top_down(tree, depth);
      task->sum += tree->left != NULL;
      drop_tree(tree);
      tree = bottom_up(depth);
      task->sum += tree->left != NULL;
      drop_tree(tree);
    }
  task->sum += count(held) + (numbers[1000] == 1.0 / 1001);
  drop_tree(held);
  drop(numbers);
}

/* --- a server ----------------------------------------------------------------------------------
 */

struct entry {
  struct entry *next;
  uint64_t number;
  char *text;
};

static uint64_t next_random(uint64_t *seed) {
  uint64_t z = *seed += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static struct entry *make_entry(uint64_t *seed, struct entry *next) {
  struct entry *entry = make(sizeof *entry);
  size_t length = 16 + next_random(seed) % 160;
  entry->text = make(length);
  memset(entry->text, 'a', length);
  entry->number = next_random(seed);
  entry->next = next;
  return entry;
}

static void drop_entry(struct entry *entry) {
  drop(entry->text);
  drop(entry);
}

static void server(struct task *task) {
  enum { LENGTH = 4, ENTRY = 160, REQUESTS = 4000000, BLOCKS = 3 };
  size_t lists = ((size_t)task->size << 20) / ENTRY / LENGTH / task->threads;
  uint64_t seed = task->index + 1;
  struct entry **table = make(lists * sizeof *table);
  memset(table, 0, lists * sizeof *table);
  for (size_t i = 0; i < lists * LENGTH; i++)
    table[i / LENGTH] = make_entry(&seed, table[i / LENGTH]);
  for (unsigned i = 0; i < REQUESTS / task->threads; i++) {
    struct entry **place = &table[next_random(&seed) % lists];
    while ((*place)->next) place = &(*place)->next;
    struct entry *old = *place;
    task->sum += old->number;
    *place = make_entry(&seed, NULL);
    drop_entry(old);
    for (int b = 0; b < BLOCKS; b++) {
      size_t size = 16 + next_random(&seed) % 500;
      char *block = make(size);
      memset(block, b, size);
      task->sum += (uint64_t)block[size / 2];
      drop(block);
    }
  }
}

static const struct program {
  const char *name;
  void (*run)(struct task *task);
} programs[] = {{"binary-trees", binary_trees}, {"gcbench", gcbench}, {"server", server}};
static const struct program *program;

static void *run(void *task) {
  program->run(task);
  return NULL;
}

int main(int argc, char **argv) {
  enum { MOST_THREADS = 64 };
  if (argc != 5) give_up("usage: trees PROGRAM SIZE THREADS free|drop|bdwgc");
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
    if (!strcmp(programs[i].name, argv[1])) program = &programs[i];
  if (!program) give_up("there is no such program");
  long size = strtol(argv[2], NULL, 10), threads = strtol(argv[3], NULL, 10);
  if (size < 4 || size > 65536 || threads < 1 || threads > MOST_THREADS)
    give_up("SIZE is a number from 4, THREADS one up to 64");
  frees = !strcmp(argv[4], "free");
  if (!strcmp(argv[4], "bdwgc")) bdwgc_load();
  else if (!frees && strcmp(argv[4], "drop") != 0) give_up("there is no such way");
  static struct task tasks[MOST_THREADS];
  pthread_t others[MOST_THREADS];
  for (long t = 0; t < threads; t++)
    tasks[t] = (struct task){(unsigned)size, (unsigned)threads, (unsigned)t, 0};
  for (long t = 1; t < threads; t++)
    if ((bdwgc.create ? bdwgc.create : pthread_create)(&others[t], NULL, run, &tasks[t]) != 0)
      give_up("no thread could be made");
  run(&tasks[0]);
  uint64_t sum = tasks[0].sum;
  for (long t = 1; t < threads; t++) {
    (bdwgc.join ? bdwgc.join : pthread_join)(others[t], NULL);
    sum += tasks[t].sum;
  }
  printf("%ju\n", (uintmax_t)sum);
  return 0;
}
