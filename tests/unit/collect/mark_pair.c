/* mark_pair.c: two who mark, each in a bitmap of its own. That they mark what one does, every test
   of mark*.c asks too (marking.h). */
#include "collect/marker.h"
#include "tests/unit/collect/marking.h"

#include <sys/mman.h>
#include <sys/resource.h>

TestSuite(mark_pair, .init = start_marking, .timeout = 60);

static uint64_t *second_word(const void *object, uint64_t *bit) {
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  *bit = 1ull << cell.index % 64;
  return &marking.found[0].cells[page_index(cell.page)][cell.index / 64];
}

static void begin(void) {
  mark_prepare(2);
  mark_by_pages(false);
  mark_begin(&plain, NULL);
  cr_assert(marking.pair);
}

static void mark_one(void *object) {
  mark_range((uintptr_t)&object, (uintptr_t)(&object + 1));
  cr_assert(mark_drain());
}

static void expect_counted_once(size_t size, bool counts) {
  void *object = make(size);
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  if (!counts) *state_at(cell.address) = STATE_NONE;
  begin();
  mark_one(object);
  uint64_t bit, *word = second_word(object, &bit);
  cr_assert_eq(*word & bit, 0);
  *word |= bit; /* the second found it just then, and scanned it, too */
  if (counts) markers[1].reached[cell.page->class]++;
  if (cell.page->class == CLASS_LARGE) markers[1].counts.bytes += cell.page->size;
  marker_pair_merge(cell.page);
  struct mark_counts all = mark_end();
  cr_expect(is_marked(object));
  cr_expect_eq(*word, 0);
  cr_expect_eq(all.objects, counts, "%zu bytes", size);
  cr_expect_eq(all.bytes, counts ? cell.page->size : 0, "%zu bytes", size);
  sweep_cancel();
}

Test(mark_pair, what_both_found_at_once_is_counted_once) {
  expect_counted_once(40, true);
  expect_counted_once(3000, true);
  expect_counted_once(300000, true);
  expect_counted_once(40, false); /* waits in a buffer */
}

Test(mark_pair, what_one_has_marked_the_other_leaves_alone) {
  void **object = make(40), *child = object[0] = make(40);
  begin();
  uint64_t bit;
  *second_word(object, &bit) |= bit;
  mark_one(object);
  struct mark_counts counts = mark_end();
  cr_expect(is_marked(object));
  cr_expect(!is_marked(child), "the second would have scanned it");
  cr_expect_eq(counts.objects, 0);
}

/* Each object has many parents, so both meet at most of them. */
Test(mark_pair, both_at_the_same_objects) {
  enum { COUNT = 100000, PARENTS = 5 };
  uint64_t seed = 41;
  void ***objects = malloc(COUNT * sizeof *objects);
  for (size_t i = 0; i < COUNT; i++) objects[i] = make(64);
  for (size_t i = 1; i < COUNT; i++) objects[(i - 1) / 2][(i - 1) % 2] = objects[i];
  for (size_t i = 0; i < COUNT; i++)
    for (int other = 2; other < 2 + PARENTS; other++)
      objects[i][other] = objects[unit_below(&seed, COUNT)];
  size_t by_second = 0;
  for (int i = 0; i < 30; i++) {
    struct mark_counts counts = mark_by(2, false, &plain, &objects[0], sizeof objects[0]);
    cr_assert(marking.pair);
    cr_assert_eq(counts.objects, COUNT, "%zu in marking %d", (size_t)counts.objects, i);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) by_second += markers[1].reached[class];
  }
  cr_expect_gt(by_second, 30 * COUNT / 20, "the work is shared: %zu", by_second);
}

/* Hubs that can be given away, and lead to more than there is room for. */
Test(mark_pair, what_the_second_could_not_keep_is_found_anew) {
  enum { HUBS = 60, WIDTH = 600, LENGTH = 3 };
  void ***hubs[HUBS];
  for (int hub = 0; hub < HUBS; hub++) {
    hubs[hub] = make(WIDTH * sizeof *hubs[hub]);
    for (int i = 0; i < WIDTH; i++) hubs[hub][i] = make_list(LENGTH, 40, 0);
  }
  uint64_t overflows = 0;
  for (size_t limit = 64; limit < 100; limit++) { /* a gift must fit */
    mark_limit_stack(limit);
    struct mark_counts counts = mark_by(2, false, &plain, hubs, sizeof hubs);
    cr_assert(marking.pair);
    cr_assert_eq(counts.objects, HUBS + HUBS * WIDTH * LENGTH, "%zu with room for %zu",
                 (size_t)counts.objects, limit);
    overflows += markers[1].counts.overflows;
  }
  cr_expect_gt(overflows, 1000);
}

/* The first alone, then: a second would need a stack. */
Test(mark_pair, without_memory_for_it_all_is_marked) {
  void **list = make_list(1000, 40, 0);
  cr_assert_eq(mark_by(1, false, &plain, &list, sizeof list).objects, 1000);
  struct rlimit none = {KERNEL_PAGE, RLIM_INFINITY}; /* to the kernel 0 is none */
  cr_assert_eq(setrlimit(RLIMIT_DATA, &none), 0);
  sweep_cancel();
  mark_prepare(2);
  mark_by_pages(false);
  mark_begin(&plain, NULL);
  cr_expect_not(marking.pair);
  mark_range((uintptr_t)&list, (uintptr_t)(&list + 1));
  cr_assert(mark_drain());
  cr_expect_eq(mark_end().objects, 1000);
}

Test(mark_pair, where_most_of_the_heap_is_free_there_is_none) {
  void **list = make_list(1000, 40, 0);
  release(allocate(256 * MIB, NULL));
  cr_expect_eq(mark_by(2, false, &plain, &list, sizeof list).objects, 1000);
  cr_expect_not(marking.pair);
}

/* A marking of which nothing comes, since it ends before it is done, leaves nothing for the next.
 */
Test(mark_pair, what_was_given_up_is_forgotten) {
  void **list = make_list(1000, 40, 0), *other = make(40);
  begin();
  uint64_t bit, *word = second_word(other, &bit);
  *word |= bit; /* the second has just found it */
  mark_end();
  sweep_cancel();
  cr_expect_eq(mark_by(2, false, &plain, &list, sizeof list).objects, 1000);
  cr_expect(marking.pair);
  cr_expect(!is_marked(other));
}

static void **grow_list(void **list, size_t count) {
  for (size_t i = 0; i < count; i++) {
    void **object = make(40);
    *object = list;
    list = object;
  }
  return list;
}

/* What was made ready was for marking by pages, of a smaller heap; and locked memory cannot be
   given back. */
Test(mark_pair, tables_made_ready_for_another_order) {
  void **list = grow_list(NULL, 200000);
  if (mlockall(MCL_CURRENT)) cr_skip_test("no mlockall");
  mark_prepare(2);
  mark_by_pages(true);
  list = grow_list(list, 200000);
  struct mark_words demangling = {.stride = 8, .demangle = true};
  mark_begin(&demangling, NULL);
  cr_expect(marking.pair);
  mark_range((uintptr_t)&list, (uintptr_t)(&list + 1));
  cr_assert(mark_drain());
  cr_expect_eq(mark_end().objects, 400000);
  mark_release();
}

static size_t table_resident(void) {
  struct heap_found found;
  cr_assert(heap_commit_found(0, heap.top, &found));
  return unit_resident(found.cells, round_up(heap.top * sizeof *found.cells, KERNEL_PAGE));
}

/* The world is stopped only then. */
Test(mark_pair, its_table_has_memory_before_it_begins_and_none_afterwards) {
  void **list = make_list(200000, 40, 0);
  if (madvise(heap.pages, KERNEL_PAGE, 23))
    cr_skip_test("the kernel cannot do that"); /* MADV_POPULATE_WRITE */
  mark_prepare(2);
  mark_by_pages(false);
  cr_expect_eq(table_resident(), round_up(heap.top * PAGE_WORDS * 8, KERNEL_PAGE) / KERNEL_PAGE);
  cr_assert_eq(mark_by(2, false, &plain, &list, sizeof list).objects, 200000);
  mark_release();
  cr_expect_eq(table_resident(), 0);
}
