/* marking.h: a heap and a whole marking from one array of words, for the tests of mark*.c. The
   roots are arrays of the tests, and no root of the process is scanned. */
#ifndef RECLAIM_TESTS_MARKING_H
#define RECLAIM_TESTS_MARKING_H

#include "tests/unit/unit.h"

#include "collect/mark.h"
#include "collect/sweep.h"

static inline void start_marking(void) {
  unit_start_heap();
  cr_assert(mark_init());
}

static inline bool is_marked(const void *object) {
  struct cell cell;
  if (!cell_of((uintptr_t)object, &cell)) return false;
  return page_marked(cell.page)[cell.index / 64] >> (cell.index % 64) & 1;
}

static inline struct mark_counts mark_by(unsigned markers, bool by_pages,
                                         const struct mark_words *words, const void *roots,
                                         size_t size) {
  sweep_cancel();
  mark_prepare(markers);
  mark_by_pages(by_pages);
  mark_begin(words, NULL);
  mark_range((uintptr_t)roots, (uintptr_t)roots + size);
  cr_assert(mark_drain());
  struct mark_counts counts = mark_end();
  cr_assert_eq(counts.markers, markers);
  return counts;
}

enum { MARKERS = 3 };
static inline uint64_t *bitmaps(void) { return (uint64_t *)heap.marked; }

/* A whole marking from one array of words: page by page and by pointers, each by one thread, by two
   and by more. All must come to the same. */
static inline struct mark_counts mark_as(struct mark_words words, const void *roots, size_t size) {
  size_t all = heap.top * sizeof *heap.marked;
  static const unsigned markers[] = {MARKERS, 2, 1};
  enum { WAYS = 2 * sizeof markers / sizeof *markers };
  struct mark_counts counts = {0};
  uint64_t *marked = malloc(all);
  for (unsigned i = 0; i < WAYS; i++) {
    struct mark_counts before = counts;
    counts = mark_by(markers[i / 2], i % 2 == 0, &words, roots, size);
    if (i) {
      cr_assert_eq(memcmp(marked, bitmaps(), all), 0, "other objects are marked in way %u", i);
      cr_assert_eq(counts.objects, before.objects, "way %u", i);
      cr_assert_eq(counts.bytes, before.bytes, "way %u", i);
    }
    memcpy(marked, bitmaps(), all);
  }
  free(marked);
  return counts;
}
static inline struct mark_counts mark_from(const void *roots, size_t size, unsigned stride) {
  return mark_as((struct mark_words){.stride = stride}, roots, size);
}
static const struct mark_words plain __attribute__((unused)) = {.stride = 8};

/* An object whose words are all zero. */
static inline void *make(size_t size) {
  void *object = allocate(size, NULL);
  cr_assert(object);
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  return memset(object, 0, cell.page->size);
}

/* A list of `length` objects, linked by their first words. */
static inline void **make_list(size_t length, size_t size, size_t inside) {
  void **head = NULL;
  for (size_t i = 0; i < length; i++) {
    void **object = make(size);
    *object = head ? (char *)head + inside : NULL;
    head = object;
  }
  return head;
}

#endif
