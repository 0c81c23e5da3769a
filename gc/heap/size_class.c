/* size_class.c: see size_class.h. */
#include "heap/size_class.h"

#include "heap/heap.h"

struct size_class size_classes[CLASS_COUNT + 1];
uint8_t size_class_table[SMALL_LIMIT / GRANULE];

enum {
  LEAST_CELLS = 32,
  MOST_PAGES = 8,
  BUFFER_BYTES = 65536,
  LEAST_SLACK = 1024, /* powers of two that have a class for requests of just so many bytes */
  MOST_SLACK = 4096,
  FINER_FROM = 256, /* up to twice as much: common sizes, so that a quarter more is much */
};

static void choose_states(struct size_class *c, uint32_t size) {
  uint8_t table = STATE_TABLES - 1;
  while (size & ((1u << state_shifts[table]) - 1)) table--;
  c->state_table = table;
  c->state_shift = state_shifts[table];
}

static void define(unsigned class, uint32_t size) {
  struct size_class *c = &size_classes[class];
  choose_states(c, size);
  c->size = size;
  c->granules = size / GRANULE;
  c->reciprocal = (((uint64_t)1 << 32) + c->granules - 1) / c->granules;
  c->span = 1;
  while (c->span < MOST_PAGES && c->span * HEAP_PAGE / size < LEAST_CELLS) c->span *= 2;
  c->cells = (uint16_t)(c->span * HEAP_PAGE / size);
  bool finer = size > FINER_FROM && size <= 2 * FINER_FROM; /* twice as many classes share them */
  uint32_t slots = BUFFER_BYTES / (finer ? 2 : 1) / size;
  c->slots = (uint16_t)(slots < 2 ? 2 : slots > BUFFER_SLOTS ? BUFFER_SLOTS : slots);
}

void size_class_init(void) {
  unsigned class = 1;
  for (uint32_t size = 16; size <= 128; size += 16) define(class ++, size);
  for (uint32_t size = 128; size < SMALL_LIMIT; size *= 2) {
    uint32_t parts = size == FINER_FROM ? 8 : 4;
    for (uint32_t part = 1; part <= parts; part++) define(class ++, size + size / parts * part);
    if (size * 2 >= LEAST_SLACK && size * 2 <= MOST_SLACK) define(class ++, size * 2 + GRANULE);
  }
  CHECK(class == CLASS_SMALL_END);
  size_classes[CLASS_LARGE].cells = 1; /* one, whatever the granule: its reciprocal is 0 */
  choose_states(&size_classes[CLASS_LARGE], HEAP_PAGE);
  choose_states(&size_classes[CLASS_NONE], GRANULE);
  class = 1;
  for (uint32_t i = 0; i < SMALL_LIMIT / GRANULE; i++) {
    while (size_classes[class].size < (i + 1) * GRANULE) class ++;
    size_class_table[i] = (uint8_t) class;
  }
}
