/* free_runs.c: the lists of free runs by themselves, and against a model. */
#include "heap/free_runs.h"

#include "tests/unit/unit.h"

enum { PAGES = 6000 };

static void start(void) {
  unit_start_heap();
  cr_assert(heap_commit(PAGES + 1));
  heap.top = PAGES + 1;
}

TestSuite(free_runs, .init = start, .timeout = 60);

static struct page *at(size_t index) { return &heap.pages[index]; }

/* Makes so many pages free, of which some are dirty. */
static void add(size_t first, size_t pages, size_t dirty) {
  at(first)->run = (uint32_t)pages;
  at(first)->dirty = (uint32_t)dirty;
  free_runs_add(at(first));
}

Test(free_runs, neighbours_join) {
  add(100, 10, 3);
  add(120, 5, 5);
  cr_expect_eq(page_heap_counts.dirty_free, 8);
  cr_expect_null(free_runs_find(11));
  add(110, 10, 1);
  cr_expect_eq(at(100)->run, 25);
  cr_expect_eq(at(100)->dirty, 9);
  cr_expect_eq(page_heap_counts.dirty_free, 9);
  cr_expect_eq(free_runs_find(25), at(100));
  cr_expect_null(free_runs_find(26));
}

Test(free_runs, mostly_dirty_ones_are_found_first) {
  add(100, 10, 4);
  add(200, 30, 15);
  cr_expect_eq(free_runs_find(10), at(200));
  free_runs_remove(at(200));
  cr_expect_eq(page_heap_counts.dirty_free, 4);
  cr_expect_eq(free_runs_find(10), at(100));
  free_runs_remove(at(100));
  cr_expect_null(free_runs_find(1));
}

Test(free_runs, the_shortest_that_is_long_enough_is_found) {
  add(100, 300, 0);
  add(500, 90, 0);
  add(700, 70, 0);
  add(900, 68, 0);
  cr_expect_eq(free_runs_find(1), at(900));
  cr_expect_eq(free_runs_find(69), at(700));
  cr_expect_eq(free_runs_find(71), at(500));
  cr_expect_eq(free_runs_find(91), at(100));
  cr_expect_null(free_runs_find(301));
}

Test(free_runs, of_equal_ones_the_first_in_the_heap_is_found) {
  add(500, 70, 0);
  add(100, 70, 0);
  add(900, 70, 0);
  cr_expect_eq(free_runs_find(70), at(100));
}

Test(free_runs, the_parts_of_a_run_share_its_dirty_pages) {
  add(100, 10, 5);
  add(200, 10, 1);
  add(300, 10, 0);
  for (size_t first = 100; first <= 300; first += 100) {
    free_runs_remove(at(first));
    free_runs_split(at(first), 4);
    cr_expect_eq(at(first)->run, 4);
    cr_expect_eq(at(first + 4)->run, 6);
    cr_expect(!at(first)->free && !at(first + 3)->free && at(first + 4)->free);
  }
  cr_expect(at(100)->dirty == 2 && at(104)->dirty == 3);
  cr_expect(at(200)->dirty == 1 && at(204)->dirty == 1, "which has it is not known");
  cr_expect(at(300)->dirty == 0 && at(304)->dirty == 0);
}

Test(free_runs, the_longest_are_purged_first_and_are_clean_from_then_on) {
  static const size_t length[] = {40, 10, 20};
  for (size_t i = 0; i < 3; i++) {
    memset((void *)page_address(at(100 * i + 100)), 0xaa, length[i] * HEAP_PAGE);
    add(100 * i + 100, length[i], length[i]);
  }
  cr_expect_eq(free_runs_purge(70), 0);
  cr_expect_eq(free_runs_purge(30), 40 * HEAP_PAGE);
  cr_expect_eq(page_heap_counts.dirty_free, 30);
  for (size_t i = 0; i < 40; i++)
    cr_assert_eq(*(uint64_t *)page_address(at(100 + i)), 0, "page %zu", i);
  cr_expect_neq(*(uint64_t *)page_address(at(200)), 0);
  cr_expect_eq(free_runs_find(11), at(300), "the one that is dirty still");
  cr_expect_eq(free_runs_find(21), at(100));
  cr_expect_eq(free_runs_purge(0), 30 * HEAP_PAGE);
  cr_expect_eq(page_heap_counts.dirty_free, 0);
}

static bool in_use[PAGES + 1];

static void expect_the_model(void) {
  size_t dirty = 0;
  for (size_t i = 1; i <= PAGES;) {
    if (in_use[i]) {
      cr_assert(!at(i)->free, "page %zu", i);
      i++;
      continue;
    }
    size_t end = i;
    while (end <= PAGES && !in_use[end]) end++;
    cr_assert(at(i)->free && at(end - 1)->free, "run at %zu", i);
    cr_assert_eq(at(i)->run, end - i);
    cr_assert_eq(at(end - 1)->run, end - i);
    cr_assert_leq(at(i)->dirty, end - i);
    dirty += at(i)->dirty;
    i = end;
  }
  cr_assert_eq(page_heap_counts.dirty_free, dirty);
}

Test(free_runs, random_work_agrees_with_the_model) {
  enum { ROUNDS = 20000, MANY = 200 };
  static struct page *taken[MANY];
  uint64_t seed = 7;
  add(1, PAGES, 0);
  for (int round = 0; round < ROUNDS; round++) {
    struct page **run = &taken[unit_below(&seed, MANY)];
    if (*run) {
      for (size_t i = 0; i < (*run)->run; i++) in_use[page_index(*run) + i] = false;
      (*run)->dirty = (uint32_t)unit_below(&seed, (*run)->run + 1);
      free_runs_add(*run);
      *run = NULL;
    } else {
      size_t pages = 1 + unit_below(&seed, unit_below(&seed, 4) ? 20 : 200);
      *run = free_runs_find(pages);
      if (!*run) continue;
      cr_assert_geq((*run)->run, pages);
      free_runs_remove(*run);
      free_runs_split(*run, pages);
      cr_assert_eq((*run)->run, pages);
      for (size_t i = 0; i < pages; i++) {
        cr_assert(!in_use[page_index(*run) + i], "handed out twice");
        in_use[page_index(*run) + i] = true;
      }
    }
    if (round % 50 == 0) expect_the_model();
    if (round % 1000 == 0) free_runs_purge(unit_below(&seed, 500));
  }
  expect_the_model();
}
