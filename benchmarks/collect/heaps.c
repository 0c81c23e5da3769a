/* heaps.c: how long a full collection of a known heap takes. heaps SHAPE MIB CYCLES [bdwgc]

   Builds a heap of about MIB mebibytes of objects of one shape, all of them reachable from one
   variable, and collects it CYCLES times. Run under Reclaim (preloaded), whose reclaim_collect it
   calls, or with bdwgc, Boehm's collector, which it loads itself and takes its memory from. Prints
   what it made, then for each collection the milliseconds that the call took and for how many of
   them the program was stopped. Fails when what is alive, beyond what was in the empty program, is
   not what was made, in bytes (Reclaim) or objects (bdwgc): see expect.

     random    a binary tree of 32 to 64 bytes a node, made in an order that is not the tree's
     ordered   the same tree, made in the order of a walk through it
     mixed     half of the bytes such nodes, half arrays of 1 to 16 KiB of pointers to them
     arrays    arrays of 64 KiB of pointers to nodes of 32 bytes, each node in 16 of them
     doubles   blocks of 1 MiB of numbers, held by one array
     list      one list of nodes of 32 bytes, each holding the next
     huge      one array of pointers to nodes of 32 bytes
     range     no heap: so many numbers are looked through by the filter of Reclaim's scanning loop,
   by as many threads as the environment's GC_MARKERS says leaves    as random, but for one node in
   1000 a block of 64 KiB without pointers is made, which bdwgc is told (GC_malloc_atomic) and
   Reclaim is not */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "api/reclaim.h"
#include "benchmarks/collect/bdwgc.h"
#include "ports/x86_64/words.h"

#pragma weak reclaim_collect
#pragma weak reclaim_stats

#define MIB ((size_t)1 << 20)

static void *root; /* holds all that is made */
static struct {
  uint64_t objects, bytes; /* made and kept; bytes as the allocator rounds them */
} made;
static uint64_t seed = 1;

static _Noreturn void give_up(const char *why) {
  fprintf(stderr, "heaps: %s\n", why);
  exit(1);
}

static uint64_t next_random(void) {
  uint64_t z = seed += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

enum {
  MOST_THREADS = 64,
  BY_CHANCE = 8, /* the lower halves of 64 million numbers hit one of 2^32 values now and then */
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* When bdwgc stops the world and lets it go (GC_EVENT_PRE_STOP_WORLD and _POST_START_WORLD of
   gc.h), all stops of one collection together. */
static double stopped_at, paused;
static void note_event(int event) {
  enum { PRE_STOP = 6, POST_START = 9 };
  if (event == PRE_STOP) stopped_at = now();
  if (event == POST_START) paused += now() - stopped_at;
}

extern size_t malloc_usable_size(void *);

static void *make(size_t size, bool leaf) {
  void *object;
  if (bdwgc.malloc) object = leaf ? bdwgc.malloc_leaf(size) : bdwgc.malloc(size);
  else object = malloc(size);
  if (!object) give_up("out of memory");
  if (!bdwgc.malloc) memset(object, 0, size);
  made.objects++;
  /* Reclaim counts cells, a byte longer than what may be used of them. */
  if (!bdwgc.malloc) made.bytes += malloc_usable_size(object) + 1;
  return object;
}

/* --- the shapes --------------------------------------------------------------------------------
 */

enum { NODE_MEAN = 48 };
struct node {
  struct node *left, *right;
  uint64_t numbers[];
};

static size_t node_size(void) { return 32 + next_random() % 5 * 8; }

static struct node *make_node(void) {
  size_t size = node_size();
  struct node *node = make(size, false);
  node->numbers[0] = next_random() >> 40;
  return node;
}

/* Only while a heap is built: not from the heap that is measured. */
static void *scratch(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) give_up("out of memory");
  return memory;
}
static void scratch_end(void *memory, size_t size) { munmap(memory, size); }

static void connect(struct node **nodes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (2 * i + 1 < count) nodes[i]->left = nodes[2 * i + 1];
    if (2 * i + 2 < count) nodes[i]->right = nodes[2 * i + 2];
  }
  root = nodes[0];
}

static void shuffle(struct node **nodes, size_t count) {
  for (size_t i = count - 1; i > 0; i--) {
    size_t other = next_random() % (i + 1);
    struct node *node = nodes[i];
    nodes[i] = nodes[other];
    nodes[other] = node;
  }
}

/* bdwgc may collect while the heap grows, and sees `root` only: chain what is not yet connected. */
static struct node **make_nodes(size_t count) {
  struct node **nodes = scratch(count * sizeof *nodes);
  for (size_t i = 0; i < count; i++) {
    nodes[i] = make_node();
    nodes[i]->left = root;
    root = nodes[i];
  }
  return nodes;
}
static void unchain(struct node **nodes, size_t count) {
  for (size_t i = 0; i < count; i++) nodes[i]->left = NULL;
}

static void make_random(size_t bytes) {
  size_t count = bytes / NODE_MEAN;
  struct node **nodes = make_nodes(count);
  unchain(nodes, count);
  shuffle(nodes, count);
  connect(nodes, count);
  scratch_end(nodes, count * sizeof *nodes);
}

/* The subtree of place `i` of a complete tree of `count` nodes, its root made first. */
static void make_subtree(struct node **at, size_t i, size_t count) {
  *at = make_node();
  if (2 * i + 1 < count) make_subtree(&(*at)->left, 2 * i + 1, count);
  if (2 * i + 2 < count) make_subtree(&(*at)->right, 2 * i + 2, count);
}
static void make_ordered(size_t bytes) {
  make_subtree((struct node **)&root, 0, bytes / NODE_MEAN);
}

static void make_mixed(size_t bytes) {
  size_t count = bytes / 2 / NODE_MEAN;
  struct node **nodes = make_nodes(count);
  void **arrays = NULL, *tree;
  unchain(nodes, count);
  shuffle(nodes, count);
  connect(nodes, count);
  tree = root;
  for (size_t left = bytes / 2; left > 16 * 1024;) {
    size_t size = 1024 << next_random() % 5;
    void **array = make(size, false);
    array[0] = arrays;
    array[1] = tree;
    root = arrays = array;
    for (size_t i = 2; i < size / sizeof *array; i++) array[i] = nodes[next_random() % count];
    left -= size;
  }
  scratch_end(nodes, count * sizeof *nodes);
}

static void make_arrays(size_t bytes) {
  enum { TIMES = 16, SIZE = 64 * 1024, SLOTS = SIZE / 8 };
  size_t count = bytes / (32 + TIMES * 8), arrays = count * TIMES / SLOTS;
  struct node **nodes = scratch(count * sizeof *nodes);
  void **table = make((arrays + 1) * sizeof *table, false), **first;
  root = table;
  table[0] = first = make(count * sizeof *first, false); /* holds each once, for certain */
  for (size_t i = 0; i < count; i++) first[i] = nodes[i] = make(32, false);
  for (size_t a = 1; a <= arrays; a++) {
    void **array = table[a] = make(SIZE, false);
    for (size_t i = 0; i < SLOTS; i++) array[i] = nodes[next_random() % count];
  }
  scratch_end(nodes, count * sizeof *nodes);
}

static void make_doubles(size_t bytes) {
  size_t blocks = bytes / MIB;
  double **table = make(blocks * sizeof *table, false);
  root = table;
  for (size_t b = 0; b < blocks; b++) {
    table[b] = make(MIB, false);
    for (size_t i = 0; i < MIB / 8; i++) table[b][i] = (double)(next_random() >> 11) * 0x1p-53;
  }
}

static void make_list(size_t bytes) {
  for (size_t count = bytes / 32; count > 0; count--) {
    struct node *node = make(32, false);
    node->left = root;
    root = node;
  }
}

static void make_huge(size_t bytes) {
  size_t count = bytes / (32 + 8);
  void **array = make(count * sizeof *array, false);
  root = array;
  for (size_t i = 0; i < count; i++) array[i] = make(32, false);
}

static void make_leaves(size_t bytes) {
  make_random(bytes / 2);
  void **table = make(bytes / 2 / (64 * 1024) * sizeof *table + sizeof *table, false);
  table[0] = root;
  root = table;
  for (size_t i = 1; i <= bytes / 2 / (64 * 1024); i++) {
    uint64_t *block = table[i] = make(64 * 1024, true);
    for (size_t k = 0; k < 8 * 1024; k++) block[k] = next_random() >> 20;
  }
}

static const struct shape {
  const char *name;
  void (*make)(size_t bytes);
} shapes[] = {{"random", make_random}, {"ordered", make_ordered}, {"mixed", make_mixed},
              {"arrays", make_arrays}, {"doubles", make_doubles}, {"list", make_list},
              {"huge", make_huge},     {"leaves", make_leaves}};

/* --- collecting --------------------------------------------------------------------------------
 */

static uint64_t count;
static void count_object(void *object, size_t size, void *unused) {
  (void)object, (void)size, (void)unused;
  count++;
}
static void *count_all(void *unused) {
  (void)unused;
  count = 0;
  bdwgc.reachable(count_object, NULL);
  return NULL;
}

/* Objects for bdwgc, bytes for Reclaim. */
static uint64_t alive(void) {
  if (bdwgc.malloc) {
    bdwgc.locked(count_all, NULL);
    return count;
  }
  struct reclaim_stats stats;
  if (reclaim_stats(&stats, sizeof stats) != 0) give_up("reclaim_stats failed");
  return stats.live_bytes;
}

static uint64_t cycles(void) {
  struct reclaim_stats stats;
  if (bdwgc.malloc) return 0;
  if (reclaim_stats(&stats, sizeof stats) != 0) give_up("reclaim_stats failed");
  return stats.cycles;
}

static void collect(void) {
  if (bdwgc.malloc) bdwgc.collect();
  else reclaim_collect();
}

/* Stale words on the stack and in libc may keep a few of what was given up while the heap was
   built; beyond one in a thousand it is no longer the same work. */
static void expect(uint64_t found, uint64_t wanted) {
  if (found >= wanted && found <= wanted + wanted / 1000 + 4096) return;
  fprintf(stderr, "heaps: %ju alive, %ju were made\n", (uintmax_t)found, (uintmax_t)wanted);
  exit(1);
}

/* --- the speed of a scan that finds nothing -------------------------------------------------- */

struct range {
  const char *begin, *end;
  uint64_t hits;
};

static void *look_through(void *argument) {
  struct range *range = argument;
  struct port_halves halves = port_halves((uintptr_t)range->begin, (uintptr_t)range->end);
  uint64_t hits = 0;
  for (const char *at = range->begin; at < range->end; at += 64)
    hits += (uint64_t)__builtin_popcount(port_halves_of_64(at, halves));
  range->hits = hits;
  return NULL;
}

static void run_range(size_t bytes, long rounds) {
  const char *wish = getenv("GC_MARKERS");
  long threads = wish ? strtol(wish, NULL, 10) : 1;
  if (threads < 1 || threads > MOST_THREADS) give_up("GC_MARKERS is a number up to 64");
  double *numbers = scratch(bytes);
  for (size_t i = 0; i < bytes / 8; i++) numbers[i] = (double)(next_random() >> 11) * 0x1p-53;
  printf("made objects=1 bytes=%zu\n", bytes);
  for (long i = 0; i <= rounds; i++) {
    pthread_t others[MOST_THREADS];
    struct range ranges[MOST_THREADS];
    double begin = now();
    for (long t = 0; t < threads; t++) {
      size_t from = bytes / (size_t)threads / 64 * 64 * (size_t)t;
      size_t to = t + 1 < threads ? bytes / (size_t)threads / 64 * 64 * (size_t)(t + 1) : bytes;
      ranges[t] = (struct range){(char *)numbers + from, (char *)numbers + to, 0};
      if (t && pthread_create(&others[t], NULL, look_through, &ranges[t]) != 0)
        give_up("no thread could be made");
    }
    look_through(&ranges[0]);
    for (long t = 1; t < threads; t++) pthread_join(others[t], NULL);
    for (long t = 0; t < threads; t++)
      if (ranges[t].hits > BY_CHANCE) give_up("numbers look like pointers");
    if (i > 0) printf("took=%.3f paused=0\n", now() - begin);
  }
}

int main(int argc, char **argv) {
  if (argc != 4 && !(argc == 5 && !strcmp(argv[4], "bdwgc")))
    give_up("usage: heaps SHAPE MIB CYCLES [bdwgc]");
  long mib = strtol(argv[2], NULL, 10), rounds = strtol(argv[3], NULL, 10);
  if (mib < 1 || mib > 1 << 20 || rounds < 1) give_up("MIB and CYCLES are positive numbers");
  if (!strcmp(argv[1], "range")) {
    run_range((size_t)mib * MIB, rounds);
    return 0;
  }
  const struct shape *shape = NULL;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    if (!strcmp(shapes[i].name, argv[1])) shape = &shapes[i];
  if (!shape) give_up("there is no such shape");
  if (argc == 5) {
    bdwgc_load();
    bdwgc.on_event(note_event);
  } else if (!reclaim_collect) {
    give_up("neither Reclaim nor bdwgc is there");
  }
  collect();
  uint64_t before = alive();
  shape->make((size_t)mib * MIB);
  uint64_t wanted = bdwgc.malloc ? made.objects : made.bytes;
  printf("made objects=%ju bytes=%ju\n", (uintmax_t)made.objects, (uintmax_t)made.bytes);
  for (long i = 0; i <= rounds; i++) { /* the first brings in what it needs */
    uint64_t cycle = cycles();
    struct reclaim_stats stats;
    double begin = now();
    paused = 0;
    if (!bdwgc.malloc) {
      reclaim_stats(&stats, sizeof stats);
      paused -= (double)stats.total_pause_ns / 1e6;
    }
    collect();
    double took = now() - begin;
    if (!bdwgc.malloc) {
      reclaim_stats(&stats, sizeof stats);
      paused += (double)stats.total_pause_ns / 1e6;
    }
    if (!bdwgc.malloc && cycles() == cycle) give_up("the collection was given up");
    expect(alive() - before, wanted);
    if (i > 0) printf("took=%.3f paused=%.3f\n", took, paused);
  }
  return 0;
}
