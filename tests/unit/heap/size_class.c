/* size_class.c: the tables, exhaustively: every request, every granule of every class. */
#include "tests/unit/unit.h"

TestSuite(size_class, .init = size_class_init, .timeout = 30);

Test(size_class, every_request_gets_the_smallest_class_that_leaves_a_slack_byte) {
  for (size_t request = 0; request < SMALL_LIMIT; request++) {
    unsigned class = size_class_of(request);
    if (class == CLASS_NONE || class >= CLASS_SMALL_END)
      cr_assert_fail("request %zu: class %u", request, class);
    if (size_classes[class].size < request + 1)
      cr_assert_fail("request %zu: cell of %u", request, size_classes[class].size);
    if (class > 1 && size_classes[class - 1].size >= request + 1)
      cr_assert_fail("request %zu: a smaller cell would do", request);
  }
}

Test(size_class, sizes_rise_by_sixteen_and_then_by_quarters) {
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    const struct size_class *c = &size_classes[class];
    cr_expect_eq(c->size % GRANULE, 0);
    cr_expect_eq(c->granules * GRANULE, c->size);
    uint32_t below = size_classes[class - 1].size; /* of class 0: 0 */
    if (c->size <= 128) cr_expect_eq(c->size - below, 16);
    else cr_expect(below < c->size && c->size - below <= below / 4, "at most a quarter is wasted");
  }
  cr_expect_eq(size_classes[CLASS_SMALL_END - 1].size, SMALL_LIMIT);
}

Test(size_class, cells_begin_where_their_table_has_a_state_byte) {
  for (unsigned class = 1; class < CLASS_COUNT; class ++) {
    const struct size_class *c = &size_classes[class];
    size_t size = class == CLASS_LARGE ? HEAP_PAGE : c->size;
    cr_assert_lt(c->state_table, STATE_TABLES);
    cr_expect_eq(c->state_shift, state_shifts[c->state_table]);
    cr_expect_eq(size % ((size_t)1 << c->state_shift), 0, "%zu", size);
    for (unsigned sparser = c->state_table + 1u; sparser < STATE_TABLES; sparser++)
      cr_expect_neq(size % ((size_t)1 << state_shifts[sparser]), 0, "%zu", size);
  }
}

Test(size_class, powers_of_two_are_classes_up_to_the_limit) { /* allocate_aligned relies on it */
  for (size_t size = 16; size <= SMALL_LIMIT; size *= 2)
    cr_expect_eq(size_classes[size_class_of(size - 1)].size, size);
}

Test(size_class, of_powers_of_two_that_are_frequent_little_is_wasted) {
  for (size_t size = 1024; size <= 4096; size *= 2)
    cr_expect_eq(size_classes[size_class_of(size)].size, size + GRANULE);
}

Test(size_class, a_span_holds_as_many_cells_as_fit) {
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    const struct size_class *c = &size_classes[class];
    size_t bytes = c->span * HEAP_PAGE;
    cr_expect(c->span >= 1 && c->span <= 8);
    cr_expect(c->cells >= 32 || c->span == 8, "class %u changes page too often", class);
    cr_expect_eq(c->cells, bytes / c->size);
    cr_expect(bytes - (size_t)c->cells * c->size < bytes / 8, "class %u wastes an eighth", class);
    cr_expect(c->cells <= PAGE_WORDS * 64, "its bits fit the bitmap of one page");
    cr_expect((c->cells + 63) / 64 <= UINT8_MAX, "page->words holds their number");
  }
}

Test(size_class, a_buffer_holds_at_most_64_KiB) {
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    const struct size_class *c = &size_classes[class];
    cr_expect(c->slots >= 2 && c->slots <= BUFFER_SLOTS);
    bool finer = c->size > 256 && c->size <= 512; /* twice as many classes */
    cr_expect(c->slots == 2 || (size_t)c->slots * c->size <= (finer ? 32768 : 65536));
  }
}

Test(size_class, cell_index_is_exact_for_every_granule_of_every_class) {
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    const struct size_class *c = &size_classes[class];
    for (uint64_t granule = 0; granule < c->span * PAGE_GRANULES; granule++)
      if (cell_index(granule, c->reciprocal) != granule / c->granules)
        cr_assert_fail("class %u, granule %lu", class, granule);
  }
}

Test(size_class, a_large_object_is_one_cell) {
  uint64_t seed = 3;
  for (int i = 0; i < 100000; i++)
    if (cell_index(unit_below(&seed, (size_t)1 << 36), 0) != 0) cr_assert_fail("not cell 0");
}
