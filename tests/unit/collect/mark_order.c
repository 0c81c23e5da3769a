/* mark_order.c: marking page by page. That it marks what marking by pointers does, alone and with
   helpers, every test of mark.c, mark_scan.c and mark_large.c asks too (marking.h). */
#include "collect/marker.h"
#include "tests/unit/collect/marking.h"

#include <sys/resource.h>

TestSuite(mark_order, .init = start_marking, .timeout = 60);

static struct mark_counts mark_pages(unsigned markers, const void *roots, size_t size) {
  return mark_by(markers, true, &plain, roots, size);
}

static void shuffle(void ***objects, size_t count, uint64_t *seed) {
  for (size_t i = count - 1; i; i--) {
    size_t other = unit_below(seed, i + 1);
    void **object = objects[i];
    objects[i] = objects[other];
    objects[other] = object;
  }
}

/* So many objects of `size` bytes at most, 16 at least, in an order that is not that of addresses.
 */
static void ***make_scattered(size_t count, size_t size, uint64_t *seed) {
  void ***objects = malloc(count * sizeof *objects);
  for (size_t i = 0; i < count; i++) objects[i] = make(16 + unit_below(seed, size - 15));
  shuffle(objects, count, seed);
  return objects;
}

/* The graph that the first `count` of those make, each reached from the first. */
static void make_tree(void ***objects, size_t count) {
  for (size_t i = 1; i < count; i++) objects[(i - 1) / 2][(i - 1) % 2] = objects[i];
}

Test(mark_order, what_is_reached_in_a_scattered_graph_and_nothing_else) {
  enum { COUNT = 60000, REACHED = 40000 };
  uint64_t seed = 1;
  void ***objects =
      make_scattered(COUNT, 3000, &seed); /* small ones, and two thirds that are not */
  make_tree(objects, REACHED);
  for (size_t i = REACHED; i < COUNT; i++) objects[i][0] = objects[unit_below(&seed, COUNT)];
  for (size_t i = 0; i < REACHED; i += 3) { /* and back, and inside: leads to what is marked */
    size_t words = unit_page_of(objects[i])->size / sizeof(void *);
    objects[i][words - 1] = (char *)objects[unit_below(&seed, REACHED)] + 5;
    if (words == 2) objects[i][1] = 2 * i + 2 < REACHED ? objects[2 * i + 2] : NULL;
  }
  cr_expect_eq(mark_from(&objects[0], sizeof objects[0], 8).objects, REACHED);
  for (size_t i = 0; i < COUNT; i++)
    if (is_marked(objects[i]) != (i < REACHED)) cr_assert_fail("object %zu", i);
}

Test(mark_order, many_small_ones_with_many_markers) {
  enum { COUNT = 400000 };
  uint64_t seed = 2;
  void ***objects = make_scattered(COUNT, 112, &seed);
  make_tree(objects, COUNT);
  uint64_t visits = 0, by_helpers = 0;
  for (int i = 0; i < 20; i++) {
    unsigned among = i % 2 ? 2 : 4; /* each with a table of its own, and two who share one */
    struct mark_counts counts = mark_pages(among, &objects[0], sizeof objects[0]);
    cr_assert(counts.by_pages);
    cr_assert_eq(counts.objects, COUNT, "each is scanned, and once: %zu in marking %d",
                 (size_t)counts.objects, i);
    visits += counts.visits;
    by_helpers += counts.visits - markers[0].order.visits;
  }
  cr_expect_gt(by_helpers, visits / 8, "the work is shared: %zu of %zu visits", (size_t)by_helpers,
               (size_t)visits);
}

/* Each visit finds one object, and the next is elsewhere: it goes by the stack, after a while. */
Test(mark_order, a_scattered_list_does_not_go_round_for_each_of_its_objects) {
  enum { COUNT = 300000 };
  uint64_t seed = 3;
  void ***objects = make_scattered(COUNT, 112, &seed);
  for (size_t i = 1; i < COUNT; i++) objects[i - 1][0] = objects[i];
  for (unsigned markers = 1; markers <= 3; markers += 2) {
    struct mark_counts counts = mark_pages(markers, &objects[0], sizeof objects[0]);
    cr_expect_eq(counts.objects, COUNT, "%u markers", markers);
    cr_expect_gt(counts.visits, 100);
    cr_expect_lt(counts.visits + counts.rounds, COUNT / 20, "%u markers: %zu visits in %zu rounds",
                 markers, (size_t)counts.visits, (size_t)counts.rounds);
  }
}

/* Some hundred such lists: when that is seen, pages are still flagged. */
Test(mark_order, what_was_flagged_is_marked_by_those_who_turn_to_the_stack) {
  enum { LISTS = 300, COUNT = LISTS * 1500 };
  uint64_t seed = 4;
  void ***objects = make_scattered(COUNT, 112, &seed);
  for (size_t i = LISTS; i < COUNT; i++) objects[i - LISTS][0] = objects[i];
  for (unsigned markers = 1; markers <= 3; markers++)
    for (int i = 0; i < 5; i++) {
      struct mark_counts counts = mark_pages(markers, objects, LISTS * sizeof *objects);
      cr_expect_eq(counts.objects, COUNT, "%zu with %u markers", (size_t)counts.objects, markers);
      cr_expect_lt(counts.visits, COUNT / 20);
    }
}

/* A list whose objects each have small ones beside them: a visit finds enough, a round but one such
   page, or two. */
Test(mark_order, nor_for_each_cluster_of_a_list_of_them) {
  enum { BESIDE = 9, COUNT = 30000 };
  uint64_t seed = 8;
  cr_assert(allocate(500 << 20, NULL), "so that it is a long way round");
  void ***nodes = malloc(COUNT * sizeof *nodes);
  for (size_t i = 0; i < COUNT; i++) {
    nodes[i] = make((BESIDE + 1) * sizeof(void *));
    for (size_t c = 1; c <= BESIDE; c++) nodes[i][c] = make(20);
  }
  shuffle(nodes, COUNT, &seed);
  for (size_t i = 1; i < COUNT; i++) nodes[i - 1][0] = nodes[i];
  for (unsigned markers = 1; markers <= 3; markers++) {
    struct mark_counts counts = mark_pages(markers, &nodes[0], sizeof nodes[0]);
    cr_expect_eq(counts.objects, COUNT * (BESIDE + 1));
    cr_expect_lt(counts.taken, COUNT, "most go by the stack");
    cr_expect_lt(counts.rounds, COUNT / 4, "%u markers: %zu rounds", markers,
                 (size_t)counts.rounds);
  }
}

static bool is_scattered(bool by_pages, const void *roots, size_t size) {
  struct mark_counts counts = mark_by(1, by_pages, &plain, roots, size);
  return mark_scattered(&counts);
}

Test(mark_order, whether_a_heap_is_scattered_is_seen_in_both_orders) {
  enum { COUNT = 300000 };
  uint64_t seed = 5;
  void ***objects = make_scattered(COUNT, 112, &seed);
  make_tree(objects, COUNT);
  void **list = make_list(COUNT, 100, 0);
  for (int by_pages = 0; by_pages < 2; by_pages++) {
    cr_expect(is_scattered(by_pages, &objects[0], sizeof objects[0]));
    cr_expect_not(is_scattered(by_pages, &list, sizeof list));
  }
}

/* An entry with its key and its value beside it, the table in another order: what goes by pages
   does not go by pointers again the next time. */
Test(mark_order, a_table_of_entries_is_scattered_in_both_orders) {
  enum { COUNT = 800000 };
  uint64_t seed = 9;
  void ***table = make(COUNT * sizeof *table);
  for (size_t i = 0; i < COUNT; i++) {
    table[i] = make(24);
    table[i][0] = make(40);
    table[i][1] = make(50);
  }
  shuffle(table, COUNT, &seed);
  cr_expect(is_scattered(false, &table, sizeof table));
  cr_expect(is_scattered(true, &table, sizeof table));
}

/* Many arrays that are not small, and hardly anything that is: nothing is gained. */
Test(mark_order, large_objects_make_no_heap_scattered) {
  void **list = make_list(2000, 40, 0), *arrays[100];
  for (size_t i = 0; i < 100; i++) memset(arrays[i] = make(1 << 20), 1, 1 << 20);
  void *roots[101];
  memcpy(roots, arrays, sizeof arrays);
  roots[100] = list;
  for (int by_pages = 0; by_pages < 2; by_pages++)
    cr_expect_not(is_scattered(by_pages, roots, sizeof roots));
}

/* Locked memory cannot be given back, and the tables must be zero for the next marking. */
Test(mark_order, locked_memory_is_marked_again) {
  uint64_t seed = 10;
  void ***objects = make_scattered(20000, 112, &seed);
  make_tree(objects, 20000);
  cr_assert_eq(mark_pages(1, &objects[0], sizeof objects[0]).objects, 20000);
  if (mlockall(MCL_CURRENT)) cr_skip_test("no mlockall");
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(mark_pages(1, &objects[0], sizeof objects[0]).objects, 20000);
    cr_assert_eq(mark_pages(2, &objects[0], sizeof objects[0]).objects, 20000);
  }
}

Test(mark_order, what_is_ordered_lies_in_spans_of_one_page_and_is_scanned_as_small) {
  cr_expect_eq(size_classes[ORDERED_CLASSES].size, 2 * LINE);
  for (unsigned class = 1; class <= ORDERED_CLASSES; class ++)
    cr_expect_eq(size_classes[class].span, 1);
  mark_from(&(void *){NULL}, sizeof(void *), 8);
  for (unsigned class = 1; class < CLASS_COUNT; class ++)
    cr_expect_eq(marking.shapes[class].small, class <= ORDERED_CLASSES);
}

/* Few wait in each page for some rounds, and not twice as many in each, then very many. Several who
   share such rounds once took it for the end of what pays, and went by the stack at a third of the
   speed. */
Test(mark_order, what_begins_slowly_goes_by_pages_all_the_same) {
  enum { ROOTS = 1500, STEPS = 3, CHILDREN = 12, COUNT = 1500000 };
  uint64_t seed = 9;
  void ***objects = make_scattered(COUNT, 112, &seed), ***next = objects + ROOTS;
  for (size_t i = 0; i < ROOTS; i++) {
    void **at = objects[i];
    for (int step = 0; step < STEPS; step++) at = at[0] = *next++;
  }
  make_tree(next, COUNT - (size_t)(next - objects));
  void **table =
      make(ROOTS * CHILDREN * sizeof *table); /* the last step of the first leads to it */
  for (size_t i = 0; i < ROOTS * CHILDREN; i++) table[i] = next[i];
  next[-(ROOTS - 1) * STEPS - 1][0] = table;
  for (unsigned markers = 1; markers <= 2; markers++) {
    struct mark_counts counts = mark_pages(markers, objects, ROOTS * sizeof *objects);
    cr_expect_eq(counts.objects, COUNT + 1);
    cr_expect_gt(counts.taken, COUNT / 10 * 9, "%zu by pages", (size_t)counts.taken);
  }
}

/* Kernel pages of the first so many tables that are there. */
static size_t tables_resident(unsigned tables) {
  size_t there = 0;
  for (unsigned i = 0; i < tables; i++) {
    struct heap_found found;
    cr_assert(heap_commit_found(i, heap.top, &found));
    there += unit_resident(found.cells, round_up(heap.top * sizeof *found.cells, KERNEL_PAGE)) +
             unit_resident(found.flags, round_up(heap.top, KERNEL_PAGE));
  }
  return there;
}

/* The world is stopped only then. */
Test(mark_order, its_tables_have_memory_before_it_begins) {
  uint64_t seed = 6;
  void ***objects = make_scattered(100000, 112, &seed);
  make_tree(objects, 100000);
  if (madvise(heap.pages, KERNEL_PAGE, 23))
    cr_skip_test("the kernel cannot do that"); /* MADV_POPULATE_WRITE */
  size_t each = round_up(heap.top * PAGE_WORDS * 8, KERNEL_PAGE) / KERNEL_PAGE + 1;
  for (unsigned markers = 1; markers <= 3; markers++) {
    cr_expect_eq(tables_resident(FOUND_TABLES), 0);
    mark_prepare(markers);
    mark_by_pages(true);
    cr_expect_eq(tables_resident(FOUND_TABLES), markers > 1 ? 2 * each : each, "%u", markers);
    mark_release();
    cr_expect_eq(tables_resident(FOUND_TABLES), 0, "no marking came of it");
  }
  release(allocate(256 * MIB, NULL));
  mark_by_pages(true);
  cr_expect_eq(tables_resident(FOUND_TABLES), 0, "most of the heap is free");
}

Test(mark_order, its_tables_take_no_memory_but_while_it_marks) {
  uint64_t seed = 6;
  void ***objects = make_scattered(100000, 112, &seed);
  make_tree(objects, 100000);
  cr_assert(mark_pages(2, &objects[0], sizeof objects[0]).by_pages);
  mark_release();
  cr_expect_eq(tables_resident(FOUND_TABLES), 0);
}

Test(mark_order, without_memory_for_them_it_goes_by_pointers) {
  uint64_t seed = 7;
  void ***objects = make_scattered(100000, 112, &seed);
  make_tree(objects, 100000);
  cr_assert(mark_by(1, false, &plain, &objects[0], sizeof objects[0]).objects == 100000);
  struct rlimit none = {KERNEL_PAGE, RLIM_INFINITY}; /* to the kernel 0 is none */
  cr_assert_eq(setrlimit(RLIMIT_DATA, &none), 0);
  struct mark_counts counts = mark_pages(1, &objects[0], sizeof objects[0]);
  cr_expect_not(counts.by_pages);
  cr_expect_eq(counts.objects, 100000);
}

/* Words that mean more than they say are looked at one by one: nothing is small there. */
Test(mark_order, slop_goes_by_pointers) {
  void **list = make_list(1000, 40, 0);
  struct mark_words slop = {.stride = 8, .slop = 16};
  struct mark_counts counts = mark_by(1, true, &slop, &list, sizeof list);
  cr_expect_not(counts.by_pages);
  cr_expect_eq(counts.objects, 1000);
}
