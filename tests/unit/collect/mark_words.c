/* mark_words.c: batches of words: what many of them lead to, and few, and more than there is room
   for. */
#include "collect/marker.h"
#include "tests/unit/collect/marking.h"

TestSuite(mark_words, .init = start_marking, .timeout = 60);

/* Objects of one size with pointers at the words of `set`, each to an object of its own. */
static void expect_all_of(size_t size, unsigned set) {
  enum { HOLDERS = 40 };
  void **holders[HOLDERS];
  size_t all = HOLDERS;
  for (size_t i = 0; i < HOLDERS; i++) {
    holders[i] = make(size);
    for (unsigned word = 0; word < size / sizeof(void *); word++)
      if (set >> word & 1) {
        holders[i][word] = make(16);
        all++;
      }
  }
  struct mark_counts counts = mark_from(holders, sizeof holders, 4);
  cr_assert_eq(counts.objects, all, "%zu of %zu: %zu bytes, words %x", (size_t)counts.objects, all,
               size, set);
  counts = mark_from(holders, sizeof holders, 8);
  cr_assert_eq(counts.objects, all, "%zu of %zu: %zu bytes, words %x, stride 8",
               (size_t)counts.objects, all, size, set);
}

Test(mark_words, however_many_of_an_objects_words_are_pointers) {
  uint64_t seed = 31;
  for (size_t size = 16; size <= 160; size += 16) {
    unsigned words = (unsigned)size / sizeof(void *), every = (1u << words) - 1;
    for (unsigned word = 0; word < words; word++) expect_all_of(size, 1u << word);
    for (int i = 0; i < 6; i++) expect_all_of(size, (unsigned)unit_below(&seed, every + 1));
    expect_all_of(size, every);
  }
}

/* As many words as a batch has, fewer, and some more, and each leads to a further object. */
Test(mark_words, batches_that_are_not_full) {
  enum { MOST = 2 * WORDS };
  void **objects[MOST];
  for (size_t i = 0; i < MOST; i++) {
    objects[i] = make(32);
    objects[i][1] = make(48);
  }
  for (size_t count = 1; count <= MOST; count++) {
    cr_assert_eq(mark_from(objects, count * sizeof objects[0], 8).objects, 2 * count);
    cr_assert(is_marked(objects[count - 1][1]));
  }
}

Test(mark_words, many_words_of_a_batch_lead_to_one_object) {
  enum { COUNT = 1000 };
  void ***objects = make(COUNT * sizeof *objects);
  for (size_t i = 0; i < COUNT; i++) objects[i] = i % 10 ? objects[i - 1] : make(48);
  struct mark_counts counts = mark_from(&objects, sizeof objects, 8);
  cr_expect_eq(counts.objects, 1 + COUNT / 10);
  for (size_t i = 0; i < COUNT; i++) cr_assert(is_marked(objects[i]));
}

/* A batch for which the stack has no room goes word by word, and what does not fit is found anew.
 */
Test(mark_words, a_batch_for_which_there_is_no_room) {
  enum { COUNT = 500 };
  void ***objects = make(COUNT * sizeof *objects);
  for (size_t i = 0; i < COUNT; i++) {
    objects[i] = make(64);
    objects[i][0] = make(80);
  }
  for (size_t limit = 1; limit < 2 * BATCH; limit++) {
    mark_limit_stack(limit);
    struct mark_counts counts = mark_by(1, false, &plain, &objects, sizeof objects);
    cr_assert_eq(counts.objects, 1 + 2 * COUNT, "room for %zu", limit);
    cr_expect_gt(counts.overflows, 0, "room for %zu", limit);
  }
}

/* Words into the heap's addresses, but to no cell: before its first page, behind a span's last
   cell, and to a run that is free. */
Test(mark_words, words_that_lead_to_no_object_take_no_place_of_others) {
  enum { COUNT = 300 };
  const struct page *page = unit_page_of(make(40));
  uintptr_t behind = page_address(page) + page->cells * page->size;
  cr_assert_lt(behind, page_address(page) + page->run * HEAP_PAGE);
  void *gone = make(200000);
  release(gone);
  uintptr_t nothing[] = {heap.base + 8, behind, (uintptr_t)gone, (uintptr_t)gone + HEAP_PAGE};
  void **table = make(COUNT * sizeof *table);
  for (size_t i = 0; i < COUNT; i++) table[i] = i % 7 ? (void *)nothing[i % 4] : make(16);
  cr_expect_eq(mark_from(&table, sizeof table, 8).objects, 1 + (COUNT + 6) / 7);
}

/* Each four bytes that may end a word do, in objects of two lines. */
Test(mark_words, as_many_words_as_there_can_be) {
  enum { COUNT = 200, FOURS = 32 };
  void *child = make(40);
  uint32_t **objects = make(COUNT * sizeof *objects), upper = (uint32_t)((uintptr_t)child >> 32);
  for (size_t i = 0; i < COUNT; i++) {
    objects[i] = make(FOURS * sizeof upper - 8); /* a byte more is asked for */
    for (int four = 0; four < FOURS - 2; four++) objects[i][four] = upper;
    memcpy(&objects[i][i % (FOURS - 3)], &child, sizeof child);
  }
  for (unsigned stride = 4; stride <= 8; stride += 4) {
    mark_from(&objects, sizeof objects, stride);
    cr_expect(is_marked(child));
    for (size_t i = 0; i < COUNT; i++) cr_assert(is_marked(objects[i]));
  }
}
