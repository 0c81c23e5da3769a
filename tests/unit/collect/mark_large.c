/* mark_large.c: large objects, which are scanned in parts, and of which parts may not be there. */
#include "tests/unit/collect/marking.h"

TestSuite(mark_large, .init = start_marking, .timeout = 60);

Test(mark_large, large_objects_are_scanned_whole) {
  static const size_t sizes[] = {40000, 200000, 300000, 5 << 20, 20 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *object = make(sizes[i]);
    void **child[5];
    size_t places[5] = {0, 4096 - 8, sizes[i] / 2 / 8 * 8, sizes[i] / 8 * 8 - 8, 8};
    for (int c = 0; c < 5; c++) {
      child[c] = make(50);
      *(void **)(object + places[c]) = child[c];
    }
    char *root = object + sizes[i] / 3;
    struct mark_counts counts = mark_from(&root, sizeof root, 8);
    cr_expect_eq(counts.objects, 6, "size %zu", sizes[i]);
    for (int c = 0; c < 5; c++) cr_expect(is_marked(child[c]), "size %zu, place %d", sizes[i], c);
    cr_expect_eq(counts.bytes, round_up(sizes[i] + 1, KERNEL_PAGE) + 5 * 64);
    release(object);
  }
}

static void mark_sparse(size_t size, bool baseline) {
  char *object = allocate(size, NULL);
  void *near = make(50), *far = make(50);
  *(void **)(object + round_down(size / 20, 8)) = near;
  *(void **)(object + size - 8) = far;
  static char text[1 << 20], copy[65536];
  static struct port_range ranges[1000];
  struct port_range reservation = unit_reservation();
  struct port_maps maps = {.baseline = baseline,
                           .exclude = &reservation,
                           .exclude_count = 1,
                           .text = text,
                           .text_size = sizeof text,
                           .ranges = ranges,
                           .range_capacity = 600,
                           .copy = copy,
                           .copy_size = sizeof copy};
  cr_assert_eq(port_maps_open(&maps), PORT_MAPS_OK);
  mark_begin(&plain, &maps);
  mark_word((uintptr_t)object);
  cr_expect(mark_drain());
  cr_expect_eq(mark_end().objects, 3);
  port_maps_close(&maps);
  cr_expect(is_marked(near) && is_marked(far));
  cr_expect_eq(unit_resident(object, size), 2, "marking touches no page that the program did not");
}

static void mark_sparse_ones(bool baseline) {
  static const size_t sizes[] = {68 << 10, 200 << 10, 1 << 20, 64 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) mark_sparse(sizes[i], baseline);
}
Test(mark_large, a_sparse_large_object_stays_sparse) { mark_sparse_ones(false); }
Test(mark_large, a_sparse_large_object_stays_sparse_by_pagemap) { mark_sparse_ones(true); }

/* A large object is scanned in pieces and slices, on the stack or, where that is full, at once:
   words that lie in two of them, at the steps of the default stride, are found all the same. */
Test(mark_large, words_across_the_borders_of_a_large_object) {
  enum { SIZE = 3 << 20, STEP = 16 << 10, COUNT = SIZE / STEP - 1 };
  static const size_t limits[] = {0, 1, 2, 3, 4, 5, 30, 64, 65, 66, 67, 68};
  char *object = make(SIZE), *children[COUNT];
  for (int i = 0; i < COUNT; i++) {
    children[i] = make(40);
    memcpy(object + (i + 1) * STEP - 4, &children[i], sizeof children[i]);
  }
  for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
    mark_limit_stack(limits[l]);
    mark_from(&object, sizeof object, 4);
    for (int i = 0; i < COUNT; i++)
      cr_assert(is_marked(children[i]), "limit %zu, border %d", limits[l], i + 1);
  }
}
