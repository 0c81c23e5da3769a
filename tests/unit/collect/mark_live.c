/* mark_live.c: all that was not freed is reached, whatever points to it; what was freed is if a
   pointer to it is left in what was not, or in what is reached. */
#include "tests/unit/collect/marking.h"

#include "mutator/quarantine.h"

enum { CELLS = 5000, PLACES = 128 };

TestSuite(mark_live, .init = start_marking, .timeout = 60);

static struct mark_counts mark_live_by(unsigned markers, unsigned stride, const void *root) {
  struct mark_words words = {.stride = stride};
  sweep_cancel();
  mark_prepare(markers);
  mark_by_pages(false);
  mark_begin(&words, NULL);
  mark_live();
  mark_range((uintptr_t)&root, (uintptr_t)(&root + 1));
  cr_assert(mark_drain());
  struct mark_counts counts = mark_end();
  cr_assert_eq(counts.markers, markers);
  return counts;
}

/* The same by one thread, by two and by more, at strides of 8, 4 and 2. */
static struct mark_counts mark_living(const void *root) {
  struct mark_counts first = mark_live_by(1, 8, root);
  size_t all = heap.top * sizeof *heap.marked;
  uint64_t *marked = malloc(all);
  memcpy(marked, bitmaps(), all);
  static const unsigned markers[] = {MARKERS, 2, 1};
  for (unsigned i = 0; i < 9; i++) {
    struct mark_counts counts = mark_live_by(markers[i % 3], 8 >> i / 3, root);
    cr_assert_eq(counts.objects, first.objects);
    cr_assert_eq(counts.bytes, first.bytes);
    cr_assert_eq(memcmp(marked, bitmaps(), all), 0, "other objects are marked");
  }
  free(marked);
  return first;
}

static void *quarantined(void *object) {
  struct cell cell;
  cr_assert(cell_of((uintptr_t)object, &cell) && quarantine(&cell));
  return object;
}

static const size_t sizes[] = {16,   24,   48,    100,   128,    129,
                               1000, 5000, 32767, 40000, 300000, 3000000};
enum { SIZES = sizeof sizes / sizeof *sizes };

Test(mark_live, what_was_not_freed_needs_no_pointer) {
  uint64_t bytes = 0;
  void *objects[SIZES][70];
  for (size_t s = 0; s < SIZES; s++)
    for (int i = 0; i < 70; i++) {
      objects[s][i] = make(sizes[s]);
      struct cell cell = {0};
      cell_of((uintptr_t)objects[s][i], &cell);
      bytes += cell.page->size;
    }
  struct mark_counts counts = mark_living(NULL);
  cr_expect_eq(counts.objects, SIZES * 70);
  cr_expect_eq(counts.bytes, bytes);
  for (size_t s = 0; s < SIZES; s++)
    for (int i = 0; i < 70; i++) cr_assert(is_marked(objects[s][i]), "size %zu", sizes[s]);
}

/* In blocks of every size each word is found that may hold the last pointer, of large ones some of
   them, the first and the last among these. */
Test(mark_live, what_was_freed_stays_while_a_word_points_to_it) {
  for (size_t s = 0; s < SIZES; s++) {
    char *before = make(sizes[s]), *holder = make(sizes[s]), *behind = make(sizes[s]);
    size_t last = sizes[s] / 8 - 1, places = size_min(last, PLACES);
    for (size_t place = 0; place <= places; place++) {
      size_t w = last * place / places;
      char *freed = quarantined(make(100)), *other = quarantined(make(100));
      ((char **)holder)[w] = freed + w % 100;
      mark_live_by(1 + w % 2, 8 - 4 * (w / 2 % 2), NULL);
      cr_assert(is_marked(freed), "word %zu of %zu bytes", w, sizes[s]);
      cr_assert(!is_marked(other), "nothing points to it");
      ((char **)holder)[w] = NULL;
      mark_live_by(1, 8, NULL);
      cr_assert(!is_marked(freed), "word %zu of %zu bytes", w, sizes[s]);
    }
    cr_expect(is_marked(before) && is_marked(behind));
  }
}

/* Spans that are full to their last cell, of live objects and others in random order: each holds
   the only pointer to a block of its own. */
Test(mark_live, what_a_full_page_holds_counts_where_it_is_live) {
  static void **holders[CELLS], *freed[CELLS];
  uint64_t seed = 1;
  for (size_t s = 0; sizes[s] < 32768; s++) {
    size_t count = size_min(CELLS, (1 << 20) / sizes[s] + 70);
    for (size_t i = 0; i < count; i++) {
      holders[i] = make(sizes[s]);
      freed[i] = quarantined(make(100));
      holders[i][unit_below(&seed, sizes[s] / 8)] = freed[i];
    }
    for (unsigned round = 0; round < 6; round++) { /* more live ones in each, at last no others */
      for (size_t i = 0; i < count; i++) {
        static const uint8_t others[] = {STATE_NONE, STATE_QUARANTINED, STATE_LIVE | STATE_LEAF};
        bool live = unit_below(&seed, 6) <= round;
        *state_at((uintptr_t)holders[i]) = live ? STATE_LIVE : others[unit_below(&seed, 3)];
      }
      mark_live_by(round % 2 ? MARKERS : 1, round % 3 ? 4 : 8, NULL);
      for (size_t i = 0; i < count; i++)
        cr_assert_eq(is_marked(freed[i]), *state_at((uintptr_t)holders[i]) == STATE_LIVE,
                     "%zu of %zu bytes in round %u", i, sizes[s], round);
    }
    for (size_t i = 0; i < count; i++) *state_at((uintptr_t)holders[i]) = STATE_NONE;
  }
}

Test(mark_live, what_was_freed_is_searched_once_it_is_reached) {
  for (size_t s = 0; s < SIZES; s++) {
    void **list = make_list(50, sizes[s], sizes[s] / 2), *head = make(16);
    for (void **at = list; at;) {
      char *next = *at;
      struct cell cell;
      quarantined(at);
      at = next && cell_of((uintptr_t)next, &cell) ? (void **)cell.address : NULL;
      if (sizes[s] >= 256 << 10) break; /* its contents went with its free() */
    }
    uint64_t without = mark_living(NULL).objects;
    *(void **)head = list;
    uint64_t with = mark_living(NULL).objects;
    *(void **)head = NULL;
    cr_expect_eq(with - without, sizes[s] >= 256 << 10 ? 1 : 50, "size %zu", sizes[s]);
    cr_expect_eq(mark_living(list).objects, with, "a root leads as far");
  }
}

Test(mark_live, a_list_of_a_million_freed_blocks_is_followed) {
  void **list = make_list(1000000, 24, 0), **at = list;
  while (at) {
    void **next = *at;
    quarantined(at);
    at = next;
  }
  cr_expect_eq(mark_live_by(1, 8, list).objects, 1000000);
  cr_expect_eq(mark_live_by(1, 8, NULL).objects, 0);
}

Test(mark_live, leaves_are_reached_and_not_searched) {
  for (size_t s = 0; s < SIZES; s++) {
    void **leaf = make(sizes[s]), **holder = make(sizes[s]);
    void *lost = quarantined(make(100)), *kept = quarantined(make(100));
    leaf[sizes[s] / 8 - 1] = lost;
    holder[sizes[s] / 8 - 1] = kept;
    *state_at((uintptr_t)leaf) |= STATE_LEAF;
    mark_living(NULL);
    cr_expect(is_marked(leaf) && is_marked(kept) && !is_marked(lost), "size %zu", sizes[s]);
  }
}

Test(mark_live, cells_without_an_object_are_none) {
  void **waits = make(100), *freed = quarantined(make(100));
  waits[0] = freed;
  *state_at((uintptr_t)waits) = STATE_NONE; /* as between its pop and its last store */
  cr_expect_eq(mark_living(NULL).objects, 0);
  cr_expect(!is_marked(waits) && !is_marked(freed));
  *state_at((uintptr_t)waits) = STATE_RECLAIMED;
  cr_expect_eq(mark_living(NULL).objects, 0);
  *state_at((uintptr_t)waits) = STATE_DEAD;
  cr_expect_eq(mark_living(NULL).objects, 0, "dead, and not swept yet");
  *state_at((uintptr_t)waits) = STATE_LIVE | STATE_PINNED;
  cr_expect_eq(mark_living(NULL).objects, 2);
}

Test(mark_live, a_mark_stack_that_is_too_small_loses_nothing) {
  enum { WIDTH = 20000 };
  mark_limit_stack(16);
  void **hub = make(WIDTH * 8);
  for (int i = 0; i < WIDTH; i++) {
    void **freed = make(24);
    freed[1] = quarantined(make(40));
    hub[i] = quarantined(freed);
    make(200);
  }
  struct mark_counts counts = mark_living(NULL);
  cr_expect_gt(counts.overflows, 0);
  cr_expect_eq(counts.objects, 3 * WIDTH + 1);
}
