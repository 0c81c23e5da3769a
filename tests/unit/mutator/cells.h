/* cells.h: cells taken and put back under watch, for the tests of what owns them. Each test that
   includes this has the whole to itself. */
#ifndef RECLAIM_CELLS_H
#define RECLAIM_CELLS_H

#include "tests/unit/unit.h"

/* Who has a cell, by its granule; kept by the tests. */
static uint8_t held[GIB / GRANULE];
static int taken_twice, given_twice;

static inline uint8_t *holder(const void *cell) {
  return &held[((uintptr_t)cell - heap.base) >> GRANULE_SHIFT];
}

static inline void *take(struct mutator *mutator, unsigned class) {
  void *cell = mutator_take(mutator, class);
  if (!cell) return NULL;
  if (__atomic_exchange_n(holder(cell), 1, __ATOMIC_RELAXED)) atomic_add(&taken_twice, 1);
  return cell;
}

static inline void put(struct mutator *mutator, unsigned class, void *cell) {
  if (!__atomic_exchange_n(holder(cell), 0, __ATOMIC_RELAXED)) atomic_add(&given_twice, 1);
  mutator_put(mutator, class, cell);
}

static inline void flush(void **cells, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!__atomic_exchange_n(holder(cells[i]), 0, __ATOMIC_RELAXED)) atomic_add(&given_twice, 1);
  mutator_flush(cells, count);
}

static inline void expect_sound(void) {
  cr_expect_eq(taken_twice, 0, "a cell was handed out twice");
  cr_expect_eq(given_twice, 0);
}

/* Twice: what one orphan's end frees may belong to another. A few keep pages until a cycle. */
static inline void expect_all_memory_back(void) {
  struct mutator *mutators[64];
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 64; i++) mutators[i] = mutator_adopt();
    for (int i = 0; i < 64; i++) mutator_orphan(mutators[i]);
  }
  mutator_bequeath();
  cr_expect_eq(page_heap_counts.used, 0, "%zu heap pages stay", page_heap_counts.used);
  cr_expect_eq(mutator_buffered_bytes(), 0);
}

/* Takes that many pages' worth of cells of a class; returns their number. */
enum { PAGES = 200, CELLS = PAGES * 4096 };
static void *cells[CELLS];
static inline size_t take_pages(struct mutator *mutator, unsigned class, size_t pages) {
  size_t count = 0;
  while (page_heap_counts.used <= pages) cells[count++] = take(mutator, class);
  return count;
}

#endif
