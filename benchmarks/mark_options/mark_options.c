/* mark_options.c: what the options on words cost the mark loop: stride, slop, strip-high-bits, and
   the demangling of jump buffers. mark_options [MIB] [ROUNDS]

   A random tree in a heap of its own: nodes of 16 to 512 bytes, made in an order that has nothing
   to do with the tree's, a third of their words pointers, the others small numbers, text and
   doubles, one in a hundred an address of the heap with its upper half cut off. Each round marks
   the whole tree once with each setting, in an order that changes from round to round, so that
   what else the machine does hits all settings alike; a setting's ratio is taken within a round.
   Times are of the processor.
   Prints the median of the ratios with the quartiles.

   The collector's core is linked in without its malloc; the process is one thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/option.h"
#include "collect/mark.h"
#include "collect/sweep.h"
#include "heap/page_heap.h"
#include "mutator/allocate.h"
#include "ports/port.h"

static const struct setting {
  const char *name;
  struct mark_words words;
} settings[] = {
    {"stride=4", {.stride = 4}},
    {"stride=8", {.stride = 8}},
    {"stride=1", {.stride = 1}},
    {"strip-high-bits=on", {.stride = 4, .strip_high_bits = true}},
    {"slop=16", {.stride = 4, .slop = 16}},
    {"slop=256", {.stride = 4, .slop = 256}},
    {"slop=4096", {.stride = 4, .slop = 4096}},
    {"demangling", {.stride = 4, .demangle = true}},
    {"demangling, stride=8", {.stride = 8, .demangle = true}},
};
enum { SETTINGS = sizeof settings / sizeof *settings, ROUNDS_MOST = 101 };

static uint64_t seed = 20240601;
static uint64_t next_random(void) {
  uint64_t z = seed += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

struct node {
  uint64_t *words;
  uint32_t count; /* words */
};

static uint64_t data_word(void) {
  uint64_t r = next_random();
  switch (r % 100) {
  case 0: return (uint32_t)(heap.base + r % GIB) | r << 40;
  default: break;
  }
  if (r % 3 == 0) return r >> 52;
  if (r % 3 == 1) return r | 0x2020202020202020u;
  double number = (double)(r >> 20);
  uint64_t bits;
  memcpy(&bits, &number, sizeof bits);
  return bits;
}

/* Node i hangs on a word of node (i - 1) / 2; the other words are data or point to any node. */
static uint64_t *make_tree(size_t bytes) {
  size_t count = bytes / 180;
  struct node *nodes = malloc(count * sizeof *nodes);
  uint32_t *order = malloc(count * sizeof *order);
  if (!nodes || !order) exit(1);
  for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
  for (size_t i = count - 1; i > 0; i--) {
    size_t j = next_random() % (i + 1);
    uint32_t other = order[j];
    order[j] = order[i];
    order[i] = other;
  }
  for (size_t i = 0; i < count; i++) {
    struct node *node = &nodes[order[i]];
    size_t size = 16 + next_random() % 16 * (next_random() % 32);
    node->words = allocate(size, NULL);
    if (!node->words) exit(1);
    node->count = (uint32_t)(size / 8);
    for (uint32_t w = 0; w < node->count; w++) node->words[w] = data_word();
  }
  for (size_t i = 0; i < count; i++) {
    struct node *node = &nodes[i];
    for (uint32_t w = 2; w < node->count; w++)
      if (next_random() % 3 == 0) {
        struct node *target = &nodes[next_random() % count];
        node->words[w] = (uint64_t)(target->words + next_random() % target->count);
      }
    for (uint32_t w = 0; w < 2; w++)
      if (2 * i + 1 + w < count) node->words[w] = (uint64_t)nodes[2 * i + 1 + w].words;
  }
  uint64_t *root = nodes[0].words;
  free(nodes);
  free(order);
  return root;
}

/* Nanoseconds this thread ran: a machine shared with others takes none of it. */
static double processor_time(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double mark_once(const struct setting *setting, uint64_t *root, uint64_t *objects) {
  sweep_cancel();
  double begin = processor_time();
  mark_begin(&setting->words, NULL);
  mark_range((uintptr_t)&root, (uintptr_t)(&root + 1));
  if (!mark_drain()) exit(1);
  *objects = mark_end().objects;
  return processor_time() - begin;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double times[SETTINGS][ROUNDS_MOST], ratios[ROUNDS_MOST], sorted[ROUNDS_MOST];
static uint64_t objects[SETTINGS];

static void measure(size_t rounds, uint64_t *root) {
  for (size_t r = 0; r < rounds; r++)
    for (size_t i = 0; i < SETTINGS; i++) {
      size_t s = (i + r) % SETTINGS;
      times[s][r] = mark_once(&settings[s], root, &objects[s]);
    }
}

int main(int count, char **arguments) {
  size_t mib = count > 1 ? strtoul(arguments[1], NULL, 10) : 256;
  size_t rounds = count > 2 ? strtoul(arguments[2], NULL, 10) : 21;
  if (!mib || !rounds || rounds > ROUNDS_MOST) {
    fprintf(stderr, "usage: mark_options [MIB] [ROUNDS up to %d]\n", ROUNDS_MOST);
    return 2;
  }
  options_default(&options);
  if (!heap_init(16 * GIB, NULL)) return 1;
  mutator_init();
  if (!mark_init()) return 1;
  uint64_t *root = make_tree(mib * MIB);
  measure(1, root); /* warms up */
  measure(rounds, root);
  printf("%zu MiB tree, %llu objects, %zu rounds\n%-22s %10s %8s %8s %8s %10s\n", mib,
         (unsigned long long)objects[0], rounds, "setting", "median ms", "ratio", "lower", "upper",
         "objects");
  for (size_t s = 0; s < SETTINGS; s++) {
    for (size_t r = 0; r < rounds; r++) {
      ratios[r] = times[s][r] / times[0][r];
      sorted[r] = times[s][r];
    }
    qsort(ratios, rounds, sizeof *ratios, compare);
    qsort(sorted, rounds, sizeof *sorted, compare);
    printf("%-22s %10.1f %8.2f %8.2f %8.2f %10llu\n", settings[s].name, sorted[rounds / 2] * 1e-6,
           ratios[rounds / 2], ratios[rounds / 4], ratios[rounds * 3 / 4],
           (unsigned long long)objects[s]);
  }
  return 0;
}
