/* mark.c: what is reached from a range of words, exactly: the roots here are arrays of the tests,
   and no root of the process is scanned. */
#include "tests/unit/collect/marking.h"

TestSuite(mark, .init = start_marking, .timeout = 60);

Test(mark, a_list_is_followed_to_its_end) {
  void **list = make_list(100000, 40, 0), **other = make_list(1000, 40, 0);
  struct mark_counts counts = mark_from(&list, sizeof list, 8);
  cr_expect_eq(counts.objects, 100000);
  cr_expect_eq(counts.bytes, 100000 * 48u);
  cr_expect_eq(counts.overflows, 0);
  for (void **at = list; at; at = *at)
    if (!is_marked(at)) cr_assert_fail("an object of the list was missed");
  for (void **at = other; at; at = *at)
    if (is_marked(at)) cr_assert_fail("nobody points to the other list");
}

Test(mark, interior_pointers_count) {
  static const size_t sizes[] = {16, 24, 100, 1000, 5000, 20000, 32767};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    void **list = make_list(500, sizes[i], sizes[i] / 2 + 1);
    char *root = (char *)list + sizes[i] - 1;
    cr_expect_eq(mark_from(&root, sizeof root, 8).objects, 500, "size %zu", sizes[i]);
  }
}

Test(mark, a_pointer_one_past_the_end_counts_for_its_object_alone) {
  static const size_t sizes[] = {0, 1, 15, 16, 17, 32, 48, 112, 128, 256, 4096, 16384, 32767};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *objects[3] = {make(sizes[i]), make(sizes[i]), make(sizes[i])};
    char *root = objects[1] + sizes[i];
    cr_expect_eq(mark_from(&root, sizeof root, 8).objects, 1, "size %zu", sizes[i]);
    cr_expect(is_marked(objects[1]));
    cr_expect(!is_marked(objects[0]) && !is_marked(objects[2]));
  }
  static const size_t large[] = {32768, 65535, 65536, 1 << 20};
  for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
    char *object = make(large[i]), *root = object + large[i];
    cr_expect_eq(mark_from(&root, sizeof root, 8).objects, 1, "size %zu", large[i]);
  }
}

Test(mark, leaves_are_reached_and_not_searched) {
  static const size_t sizes[] = {16, 24, 100, 1000, 5000, 32767, 40000, 300000, 3000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    void **leaf = make(sizes[i]), **object = make(sizes[i]), *roots[2] = {leaf, object};
    leaf[0] = make(50);
    leaf[sizes[i] / 8 - 1] = make(50);
    object[0] = make(50);
    object[sizes[i] / 8 - 1] = make(50);
    void *kept = object[0], *lost = leaf[0];
    *state_at((uintptr_t)leaf) |= STATE_LEAF;
    struct mark_counts counts = mark_from(roots, sizeof roots, 8);
    cr_expect_eq(counts.objects, 4, "size %zu", sizes[i]);
    cr_expect(is_marked(leaf) && is_marked(kept) && !is_marked(lost), "size %zu", sizes[i]);
    struct cell cell = {0};
    cell_of((uintptr_t)leaf, &cell);
    cr_expect_eq(counts.bytes, 2 * cell.page->size + 2 * 64, "size %zu", sizes[i]);
  }
}

Test(mark, cycles_end) {
  void **a = make(16), **b = make(100), **self_made = make(50), *roots[2] = {a, self_made};
  a[0] = b;
  b[3] = a;
  self_made[1] = self_made;
  self_made[2] = a;
  cr_expect_eq(mark_from(roots, sizeof roots, 8).objects, 3);
}

Test(mark, a_full_tree) {
  enum { COUNT = (1 << 15) - 1 };
  static void **nodes[COUNT];
  for (int i = 0; i < COUNT; i++) nodes[i] = make(16);
  for (int i = 0; 2 * i + 2 < COUNT; i++) {
    nodes[i][0] = nodes[2 * i + 1];
    nodes[i][1] = nodes[2 * i + 2];
  }
  cr_expect_eq(mark_from(&nodes[0], sizeof nodes[0], 8).objects, COUNT);
  cr_expect_eq(mark_from(&nodes[1], sizeof nodes[1], 8).objects, COUNT / 2);
}

Test(mark, words_that_point_to_no_object) {
  char *object = make(10);
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  bool zero;
  struct page *freed = unit_large(3, GRANULE, &zero);
  unit_large(1, GRANULE, &zero);
  page_heap_release_large(freed);
  struct page *odd = page_heap_span(size_class_of(100)); /* 112 does not divide a page */
  uintptr_t words[] = {0,
                       1,
                       UINTPTR_MAX,
                       heap.base,
                       heap.base + 16,
                       heap.base + HEAP_PAGE - 1,
                       heap.base - 1,
                       heap.base + heap.top * HEAP_PAGE,
                       heap.base + GIB - 1,
                       heap.base + GIB,
                       (uintptr_t)words,
                       (uintptr_t)heap.pages,
                       (uintptr_t)&cell,
                       page_address(freed),
                       page_address(freed) + 100000,
                       page_address(odd) + HEAP_PAGE - 1,
                       ~(uintptr_t)object};
  cr_expect_eq(mark_from(words, sizeof words, 8).objects, 0);
}

Test(mark, a_suspect_that_is_reached_is_none_any_more) {
  void **object = make(100), *child = make(100), *other = make(100000);
  object[0] = child;
  *state_at((uintptr_t)object) = STATE_LIVE | 3 * STATE_SUSPECT;
  *state_at((uintptr_t)child) = STATE_LIVE | STATE_DROPPED | STATE_SUSPECT;
  *state_at((uintptr_t)other) = STATE_LIVE | 7 * STATE_SUSPECT;
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 2);
  cr_expect_eq(*state_at((uintptr_t)object), STATE_LIVE);
  cr_expect_eq(*state_at((uintptr_t)child), STATE_LIVE | STATE_DROPPED);
  cr_expect_eq(*state_at((uintptr_t)other), STATE_LIVE | 7 * STATE_SUSPECT, "not reached");
}

Test(mark, single_words) {
  void *object = make(100);
  mark_begin(&plain, NULL);
  mark_word((uintptr_t)object + 50);
  mark_word((uintptr_t)object);
  mark_word(12345);
  cr_expect(mark_drain());
  cr_expect_eq(mark_end().objects, 1);
  cr_expect(is_marked(object));
}

Test(mark, a_cell_that_waits_in_a_buffer_is_neither_counted_nor_scanned) {
  void **object = make(100), *child = make(100);
  object[0] = child;
  *state_at((uintptr_t)object) = STATE_NONE; /* as between its pop and its last store */
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 0);
  cr_expect(!is_marked(child));
  *state_at((uintptr_t)object) = STATE_LIVE;
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 2);
}

/* A cell, a large object that its thread keeps ready, and one whose pages went back. */
Test(mark, what_was_freed_leads_on_for_who_has_it_in_hand) {
  static const size_t sizes[] = {16, 100, 5000, 40000, 1 << 20};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    void **freed = make(sizes[s]), **rest = make_list(50, 48, 0);
    freed[1] = rest;
    cr_assert_eq(release(freed), RELEASED);
    for (unsigned inside = 0; inside < 2; inside++) {
      sweep_cancel();
      mark_prepare(1);
      mark_begin(&plain, NULL);
      mark_freed((uintptr_t)freed + inside);
      cr_assert(mark_drain());
      cr_expect_eq(mark_end().objects, 50, "%zu", sizes[s]);
      cr_expect(!is_marked(freed));
    }
    cr_expect_eq(mark_from(&freed, sizeof freed, 8).objects, 0, "for others it is no object");
  }
  void **used = make(100);
  used[0] = make(16);
  uintptr_t words[] = {(uintptr_t)used, heap.base + HEAP_PAGE - 1, heap.base,
                       heap.base + heap.top * HEAP_PAGE - 1, heap.base + heap.top * HEAP_PAGE};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    sweep_cancel();
    mark_prepare(1);
    mark_begin(&plain, NULL);
    mark_freed(words[i]);
    cr_assert(mark_drain());
    cr_expect_eq(mark_end().objects, 0, "word %zu", i);
  }
}

/* One that waits, closed, under freed=fault, or that of which the program has unmapped a part. */
Test(mark, what_lies_behind_a_freed_block_may_be_closed) {
  size_t size = 1 << 20, words = size / sizeof(void *);
  void **freed = make(size - 1), **behind = make(size - 1);
  cr_assert_eq(behind, freed + words);
  freed[words - 1] = make_list(50, 48, 0);
  cr_assert_eq(release(freed), RELEASED);
  cr_assert_eq(mprotect(behind, size, PROT_NONE), 0);
  for (size_t back = 1; back <= 2; back++) {
    sweep_cancel();
    mark_prepare(1);
    mark_begin(&plain, NULL);
    mark_freed((uintptr_t)(freed + words) - back * sizeof(void *));
    cr_assert(mark_drain());
    cr_expect_eq(mark_end().objects, 50);
  }
}

/* Live, or on its way back. */
Test(mark, of_a_block_the_program_may_have_unmapped_a_part) {
  static const size_t sizes[] = {40000, 300000, 20000};
  for (size_t s = 0; s < 3; s++) {
    char *block = make(sizes[s]);
    void **first = (void **)block, **last = (void **)(block + sizes[s] - 8);
    *first = make(100);
    *last = make(100);
    char *hole = (char *)round_up((uintptr_t)block + sizes[s] / 4, 4096);
    cr_assert_eq(munmap(hole, 8192), 0);
    struct cell cell;
    cr_assert(cell_of((uintptr_t)block, &cell));
    cell.page->hints |= HINT_MAPPED;
    page_heap_mapped_over = true;
    cr_expect_eq(mark_from(&block, sizeof block, 8).objects, 3);
    *state_at((uintptr_t)block) = STATE_NONE;
    sweep_cancel();
    mark_prepare(1);
    mark_begin(&plain, NULL);
    mark_freed((uintptr_t)hole);
    cr_assert(mark_drain());
    cr_expect_eq(mark_end().objects, 0);
  }
}

Test(mark, condemned_and_quarantined_objects_are_scanned) {
  void **object = make(100), *child = make(100);
  object[0] = child;
  *state_at((uintptr_t)object) = STATE_QUARANTINED;
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 2);
  *state_at((uintptr_t)object) = STATE_LIVE | STATE_CONDEMNED;
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 2);
}

/* A word anywhere in a long range of zeros, across the borders of cache lines too; and of such a
   word only one half is in a line whose other words are zero. */
/* --- a mark stack that is too small ----------------------------------------------------------- */

Test(mark, a_wide_graph_overflows_the_stack_and_is_complete) {
  enum { WIDTH = 30000 };
  mark_limit_stack(16);
  void **hub = make(WIDTH * 8);
  for (int i = 0; i < WIDTH; i++) {
    void **object = make(24);
    object[1] = make_list(2, 40, 5);
    hub[i] = object;
  }
  struct mark_counts counts = mark_from(&hub, sizeof hub, 8);
  cr_expect(counts.overflows > 0);
  int missed = 0;
  for (int i = 0; i < WIDTH; i++) {
    void **object = hub[i];
    char *second = object[1], *third = *(void **)second;
    missed += !is_marked(object) + !is_marked(second) + !is_marked(third);
  }
  cr_expect_eq(missed, 0);
}

Test(mark, a_deep_list_with_a_short_stack_is_complete) {
  mark_limit_stack(2);
  void **list = make_list(50000, 24, 8);
  struct mark_counts counts = mark_from(&list, sizeof list, 8);
  cr_expect_eq(counts.objects, 50000);
}

Test(mark, what_overflowed_is_counted_once) {
  enum { WIDTH = 5000 };
  mark_limit_stack(16);
  void **hub = make(WIDTH * 8);
  for (int i = 0; i < WIDTH; i++) hub[i] = make(24);
  struct mark_counts counts = mark_from(&hub, sizeof hub, 8);
  cr_expect(counts.overflows > 0);
  cr_expect_eq(counts.objects, WIDTH + 1);
}

static void random_graphs(uint64_t seed, size_t stack);

Test(mark, random_graphs_agree_with_a_simple_search) { random_graphs(51, 0); }
Test(mark, random_graphs_with_a_short_stack) { random_graphs(52, 4); }

/* Nodes with up to eight edges that point anywhere into their targets. */
static void random_graphs(uint64_t seed, size_t stack) {
  enum { NODES = 3000, EDGES = 8 };
  static struct {
    char *object;
    size_t size;
    int edges[EDGES], count;
    bool reached;
  } nodes[NODES];
  static int todo[NODES];
  if (stack) mark_limit_stack(stack);
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < NODES; i++) {
      nodes[i].size = 64 + unit_below(&seed, unit_below(&seed, 30) ? 400 : 50000);
      nodes[i].object = make(nodes[i].size);
      nodes[i].reached = false;
    }
    for (int i = 0; i < NODES; i++) {
      nodes[i].count = (int)unit_below(&seed, round % 2 ? 3 : EDGES + 1);
      for (int e = 0; e < nodes[i].count; e++) {
        int target = nodes[i].edges[e] = (int)unit_below(&seed, NODES);
        ((char **)nodes[i].object)[e] =
            nodes[target].object + unit_below(&seed, nodes[target].size + 1);
      }
    }
    void *roots[5];
    int depth = 0, expected = 0;
    for (int r = 0; r < 5; r++) {
      int n = (int)unit_below(&seed, NODES);
      roots[r] = nodes[n].object;
      if (!nodes[n].reached) {
        nodes[n].reached = true;
        todo[depth++] = n;
      }
    }
    while (depth) {
      int n = todo[--depth];
      expected++;
      for (int e = 0; e < nodes[n].count; e++) {
        int target = nodes[n].edges[e];
        if (nodes[target].reached) continue;
        nodes[target].reached = true;
        todo[depth++] = target;
      }
    }
    struct mark_counts counts = mark_from(roots, sizeof roots, 8);
    if (!stack) cr_expect_eq(counts.objects, (uint64_t)expected);
    int wrong = 0;
    for (int i = 0; i < NODES; i++) wrong += is_marked(nodes[i].object) != nodes[i].reached;
    cr_assert_eq(wrong, 0, "round %d: %d of %d nodes", round, wrong, NODES);
    for (int i = 0; i < NODES; i++) cr_assert_eq(release(nodes[i].object), RELEASED);
  }
}
