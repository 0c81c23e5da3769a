/* page_heap.c: runs of pages against a shadow model, coalescing, purging and decay. */
#include "tests/unit/unit.h"

#include <sys/mman.h>

#include "heap/random.h"

enum { MODEL_PAGES = 16384, RUNS = 400 };

static struct run {
  struct page *page;
  size_t pages;
  bool large;
} runs[RUNS];
static uint16_t owner[MODEL_PAGES]; /* heap page -> its run's number + 1 */
static size_t used;

TestSuite(page_heap, .init = unit_start_heap, .timeout = 60);
TestSuite(small_page_heap, .timeout = 60);

static void start_wide(void) { unit_start_heap_of(128 * GIB, NULL); }
TestSuite(wide_page_heap, .init = start_wide, .timeout = 60);

/* A word in each heap page tells whose it is. */
static void stamp(unsigned number, size_t from, size_t to) {
  struct run *run = &runs[number];
  size_t first = page_index(run->page);
  for (size_t i = from; i < to; i++) {
    cr_assert_eq(owner[first + i], 0, "page %zu is handed out twice", first + i);
    owner[first + i] = (uint16_t)(number + 1);
    ((uintptr_t *)page_address(run->page))[i * HEAP_PAGE / 8] = page_address(run->page) + i;
  }
  used += to - from;
}

static void unstamp(unsigned number, size_t from, size_t to) {
  struct run *run = &runs[number];
  size_t first = page_index(run->page);
  for (size_t i = from; i < to; i++) {
    cr_assert_eq(owner[first + i], number + 1);
    uintptr_t word = ((uintptr_t *)page_address(run->page))[i * HEAP_PAGE / 8];
    cr_assert_eq(word, page_address(run->page) + i, "page %zu was written by another", first + i);
    owner[first + i] = 0;
  }
  used -= to - from;
}

static bool is_zero(uintptr_t begin, size_t size) {
  for (size_t at = 0; at < size; at += 512)
    if (*(uint64_t *)(begin + at)) return false;
  return true;
}

static void make(unsigned number, uint64_t *seed, bool aligned) {
  struct run *run = &runs[number];
  if (unit_below(seed, 3) == 0) {
    unsigned class = 1 + (unsigned)unit_below(seed, CLASS_SMALL_END - 1);
    run->page = page_heap_span(class);
    cr_assert(run->page);
    run->large = false;
    run->pages = size_classes[class].span;
    cr_assert_eq(run->page->class, class);
    cr_assert_eq(run->page->cells, size_classes[class].cells);
    cr_assert_eq(page_free_cells(run->page), run->page->cells);
    cr_assert_null(run->page->owner);
  } else {
    size_t pages = 1 + unit_below(seed, unit_below(seed, 4) ? 6 : 150);
    size_t alignment = aligned ? HEAP_PAGE << unit_below(seed, 5) : GRANULE;
    bool zero = false, growing = !aligned && unit_below(seed, 3) == 0;
    run->page =
        growing ? page_heap_large_growing(pages * HEAP_PAGE) : unit_large(pages, alignment, &zero);
    cr_assert(run->page);
    cr_assert(run->page->run == pages || growing);
    run->large = true;
    run->pages = pages;
    cr_assert_eq(page_address(run->page) % alignment, 0);
    cr_assert_eq(run->page->size, pages * HEAP_PAGE);
    cr_assert(!zero || is_zero(page_address(run->page), pages * HEAP_PAGE));
  }
  cr_assert(run->page->run >= run->pages);
  cr_assert_eq(run->page->unswept, 0);
  cr_assert_eq(run->page->full, 0);
  cr_assert_eq(page_marked(run->page)[0], 0);
  cr_assert(page_index(run->page) >= 1);
  stamp(number, 0, run->pages);
}

static void discard(unsigned number) {
  struct run *run = &runs[number];
  unstamp(number, 0, run->pages);
  if (run->large) page_heap_release_large(run->page);
  else page_heap_release_span(run->page);
  run->page = NULL;
}

static void resize(unsigned number, uint64_t *seed) {
  struct run *run = &runs[number];
  size_t pages = 1 + unit_below(seed, run->pages * 2);
  if (pages < run->pages) unstamp(number, pages, run->pages);
  bool done = unit_resize_large(run->page, pages);
  cr_assert(done || pages > run->pages, "shrinking never fails");
  if (!done) return;
  cr_assert(run->page->run == pages || pages >= run->pages, "a shrunk one has no spare pages");
  if (pages > run->pages) stamp(number, run->pages, pages);
  run->pages = pages;
  cr_assert(run->page->run >= pages);
  cr_assert_eq(run->page->size, pages * HEAP_PAGE);
}

/* The free pages, as the page heap's descriptors tell them, are all that nobody has. */
static void check_free_runs(void) {
  size_t dirty = 0, large = 0;
  bool behind_free = false;
  for (size_t i = 1; i < heap.top;) {
    struct page *page = &heap.pages[i];
    cr_assert(page->run > 0 && i + page->run <= heap.top, "page %zu", i);
    cr_assert_eq(page->free != 0, owner[i] == 0, "page %zu", i);
    if (page->free) {
      cr_assert(!behind_free, "two free runs meet at page %zu", i);
      cr_assert_eq(page[page->run - 1].run, page->run);
      cr_assert(page[page->run - 1].free);
      for (size_t k = 0; k < page->run; k++) {
        cr_assert_eq(owner[i + k], 0);
        cr_assert_eq(page[k].cells, 0);
        cr_assert_eq(heap.page_class[i + k], CLASS_NONE);
      }
      cr_assert(page->dirty <= page->run);
      dirty += page->dirty;
    } else if (page->class == CLASS_LARGE) {
      large += page->size / KERNEL_PAGE;
    }
    behind_free = page->free;
    i += page->run;
  }
  cr_assert_eq(page_heap_counts.used, used);
  cr_assert_eq(page_heap_counts.dirty_free, dirty);
  cr_assert_eq(page_heap_counts.large, large);
}

static void work(uint64_t seed, int rounds, bool aligned) {
  for (int i = 0; i < rounds; i++) {
    unsigned number = (unsigned)unit_below(&seed, RUNS);
    if (!runs[number].page) make(number, &seed, aligned);
    else if (runs[number].large && unit_below(&seed, 3) == 0) resize(number, &seed);
    else discard(number);
    if (i % 500 == 0) check_free_runs();
    if (i % 3000 == 0) page_heap_purge(unit_below(&seed, 1000));
    cr_assert(heap.top < MODEL_PAGES);
  }
  for (unsigned number = 0; number < RUNS; number++)
    if (runs[number].page) discard(number);
  check_free_runs();
  cr_assert_eq(used, 0);
}

static void expect_one_run(void) {
  size_t top = heap.top;
  bool zero;
  struct page *page = unit_large(top - 1, GRANULE, &zero);
  cr_assert(page);
  cr_expect_eq(page_index(page), 1, "all that was freed is one run again");
  cr_expect_eq(heap.top, top);
}

Test(page_heap, random_work_agrees_with_the_model) {
  work(11, 20000, false);
  expect_one_run();
}

Test(wide_page_heap, random_work_with_room_to_grow_agrees_with_the_model) {
  work(13, 20000, false);
  expect_one_run();
}

Test(page_heap, work_in_random_places_agrees_with_the_model) {
  options.random = true;
  random_start();
  work(14, 20000, false);
  work(15, 10000, true);
}

Test(page_heap, random_work_with_alignment_agrees_with_the_model) {
  work(12, 20000, true);
  expect_one_run();
}

Test(page_heap, an_aligned_run_leaves_its_neighbours_coalesced) {
  bool zero;
  struct page *all = unit_large(100, GRANULE, &zero);
  page_heap_release_large(all);
  struct page *aligned = unit_large(2, 16 * HEAP_PAGE, &zero);
  cr_assert(page_index(aligned) < 101);
  page_heap_release_large(aligned);
  expect_one_run();
}

Test(page_heap, the_bits_of_cells_that_do_not_exist_are_taken) {
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    struct page *page = page_heap_span(class);
    for (unsigned bit = 0; bit < page->words * 64u; bit++)
      cr_assert_eq(page_allocated(page)[bit / 64] >> (bit % 64) & 1, bit >= page->cells,
                   "class %u, cell %u", class, bit);
    page_heap_release_span(page);
  }
}

Test(page_heap, free_sees_the_class_of_every_page_of_a_span) {
  struct page *page = page_heap_span(CLASS_SMALL_END - 1);
  for (size_t i = 0; i < page->run; i++) {
    cr_expect_eq(heap.page_class[page_index(page) + i], CLASS_SMALL_END - 1);
    cr_expect_eq(page_first(page_index(page) + i), page_index(page));
  }
  page_heap_release_span(page);
  cr_expect_eq(heap.page_class[page_index(page)], CLASS_NONE);
}

Test(page_heap, free_sees_no_class_when_it_must_go_slowly) {
  heap.free_slowly = true;
  struct page *page = page_heap_span(3);
  cr_expect_eq(heap.page_class[page_index(page)], CLASS_NONE);
  cr_expect_eq(page->class, 3);
}

Test(page_heap, purging_gives_memory_back_and_leaves_zeros) {
  bool zero;
  struct page *page = unit_large(24, GRANULE, &zero);
  cr_expect(zero, "fresh from the kernel");
  uintptr_t begin = page_address(page);
  memset((void *)begin, 0xaa, 24 * HEAP_PAGE);
  page_heap_release_large(page);
  cr_expect_eq(page_heap_counts.dirty_free, 24, "so little is kept");
  cr_expect_eq(page_heap_purge(24), 0);
  cr_expect_eq(page_heap_purge(0), 24 * HEAP_PAGE);
  cr_expect_eq(page_heap_counts.dirty_free, 0);
  cr_expect_eq(unit_resident((void *)begin, 24 * HEAP_PAGE), 0);
  page = unit_large(24, GRANULE, &zero);
  cr_expect(zero);
  cr_expect_eq(page_address(page), begin);
  cr_expect(is_zero(begin, 24 * HEAP_PAGE));
}

/* All of it, and what a shrunk object gives back. */
Test(page_heap, pages_that_the_program_protected_are_as_new_for_others) {
  for (size_t keep = 0; keep <= 2; keep += 2) {
    bool zero;
    struct page *page = unit_large(6, GRANULE, &zero), *behind = unit_large(1, GRANULE, &zero);
    char *begin = (char *)page_address(page);
    memset(begin, 1, 6 * HEAP_PAGE);
    cr_assert_eq(mprotect(begin + keep * HEAP_PAGE, 3 * HEAP_PAGE, PROT_NONE), 0);
    page->hints = HINT_MAPPED;
    if (keep) cr_assert(unit_resize_large(page, keep));
    else page_heap_release_large(page);
    struct page *next = unit_large(6 - keep, GRANULE, &zero);
    cr_assert_eq(page_address(next), (uintptr_t)begin + keep * HEAP_PAGE);
    cr_expect_eq(next->hints, 0);
    cr_assert(!zero || is_zero(page_address(next), (6 - keep) * HEAP_PAGE));
    memset((void *)page_address(next), 2, (6 - keep) * HEAP_PAGE);
    if (keep) page_heap_release_large(page);
    page_heap_release_large(next);
    page_heap_release_large(behind);
  }
}

Test(page_heap, a_dirty_run_is_not_called_zero) {
  bool zero;
  struct page *page = unit_large(4, GRANULE, &zero);
  memset((void *)page_address(page), 0xaa, 4 * HEAP_PAGE);
  page_heap_release_large(page);
  unit_large(2, GRANULE, &zero);
  cr_expect(!zero);
}

Test(page_heap, clean_and_dirty_neighbours_make_a_dirty_run) {
  bool zero;
  struct page *a = unit_large(8, GRANULE, &zero), *b = unit_large(8, GRANULE, &zero);
  page_heap_release_large(a);
  page_heap_purge(0);
  memset((void *)page_address(b), 0xaa, 8 * HEAP_PAGE);
  page_heap_release_large(b);
  cr_expect_eq(page_heap_counts.dirty_free, 8, "but only those count that were written");
  struct page *first = unit_large(4, GRANULE, &zero);
  cr_expect(!zero, "where they lie is not known");
  unit_large(12, GRANULE, &zero);
  cr_expect(!zero);
  page_heap_release_large(first);
  page_heap_purge(0);
  cr_expect_eq(page_heap_counts.dirty_free, 0);
}

Test(page_heap, a_dirty_run_goes_before_a_clean_one) {
  bool zero;
  struct page *clean = unit_large(10, GRANULE, &zero);
  unit_large(1, GRANULE, &zero);
  page_heap_release_large(clean);
  page_heap_purge(0);
  struct page *dirty = unit_large(20, GRANULE, &zero);
  unit_large(1, GRANULE, &zero); /* of the clean ones, and keeps the two apart */
  page_heap_release_large(dirty);
  cr_expect_eq(unit_large(10, GRANULE, &zero), dirty, "though the clean one would just fit");
  cr_expect_eq(unit_large(5, GRANULE, &zero), dirty + 10);
  cr_expect_eq(page_heap_counts.dirty_free, 5);
  cr_expect_eq(unit_large(6, GRANULE, &zero), clean + 1);
  cr_expect(zero);
}

Test(page_heap, free_memory_beyond_what_is_used_goes_back_by_itself) {
  bool zero;
  struct page *kept = unit_large(40, GRANULE, &zero);
  struct page *page[20];
  for (int i = 0; i < 20; i++) page[i] = unit_large(50, GRANULE, &zero);
  for (int i = 0; i < 20; i++) {
    page_heap_release_large(page[i]);
    size_t limit = size_max(page_heap_counts.used, 32);
    cr_expect(page_heap_counts.dirty_free <= limit, "%zu free, %zu used",
              page_heap_counts.dirty_free, page_heap_counts.used);
  }
  cr_expect_eq(page_heap_counts.peak, 1040);
  page_heap_release_large(kept);
}

/* Fills and empties the heap but for one object, with objects of so many pages; how often memory
   went back. */
static unsigned rounds_of(unsigned rounds, size_t pages, int count) {
  struct page *page[100];
  unsigned given_back = 0;
  bool zero;
  for (unsigned round = 0; round < rounds; round++) {
    for (int i = 0; i < count; i++) page[i] = unit_large(pages, GRANULE, &zero);
    for (int i = 0; i < count; i++) {
      size_t before = page_heap_counts.dirty_free;
      page_heap_release_large(page[i]);
      given_back += page_heap_counts.dirty_free < before;
    }
  }
  return given_back;
}
static unsigned rounds_of_a_peak(unsigned rounds) { return rounds_of(rounds, 50, 20); }

/* Page by page, out of runs that are partly dirty. */
Test(page_heap, single_pages_that_are_wanted_again_each_time_stay) {
  bool zero;
  unit_large(40, GRANULE, &zero);
  cr_expect(rounds_of(1, 1, 100) > 0);
  rounds_of(5, 1, 100);
  cr_expect_eq(rounds_of(5, 1, 100), 0);
  cr_expect(page_heap_counts.used + page_heap_counts.dirty_free <= page_heap_counts.peak);
}

Test(page_heap, memory_that_is_wanted_again_each_time_stays) {
  bool zero;
  unit_large(40, GRANULE, &zero);
  cr_expect(rounds_of_a_peak(1) > 0);
  rounds_of_a_peak(2);
  cr_expect_eq(rounds_of_a_peak(5), 0);
  cr_expect(page_heap_counts.used + page_heap_counts.dirty_free <= page_heap_counts.peak);
  const uint64_t second = 1000000000;
  for (unsigned i = 1; i < 20; i++) page_heap_decay(i * (second + 1));
  cr_expect_eq(page_heap_counts.dirty_free, 0, "unless it is left alone");
  cr_expect(rounds_of_a_peak(1) > 0, "and that begins anew");
}

Test(page_heap, what_is_to_be_filled_before_the_next_collection_stays) {
  bool zero;
  struct page *page[20];
  for (int i = 0; i < 20; i++) page[i] = unit_large(50, GRANULE, &zero);
  page_heap_expect(5000);
  for (int i = 0; i < 20; i++) page_heap_release_large(page[i]);
  cr_expect_eq(page_heap_counts.dirty_free, 1000);
  for (int i = 0; i < 20; i++) page[i] = unit_large(50, GRANULE, &zero);
  page_heap_expect(500); /* and what the slack adds, but no more */
  for (int i = 0; i < 20; i++) page_heap_release_large(page[i]);
  cr_expect_geq(page_heap_counts.dirty_free, 450);
  cr_expect_leq(page_heap_counts.dirty_free, 532);
  const uint64_t second = 1000000000;
  for (unsigned i = 1; i < 4; i++) page_heap_decay(i * (second + 1));
  cr_expect_eq(page_heap_counts.dirty_free, 0, "unless it is not");
}

Test(page_heap, what_is_expected_no_more_goes_at_once) {
  bool zero;
  struct page *page = unit_large(1000, GRANULE, &zero);
  page_heap_expect(1000);
  page_heap_release_large(page);
  cr_expect_eq(page_heap_counts.dirty_free, 1000);
  page_heap_expect(0);
  cr_expect_leq(page_heap_counts.dirty_free, 32);
}

Test(page_heap, an_emptied_object_is_counted_as_long_as_it_is_one) {
  bool zero;
  struct page *page = unit_large(20, GRANULE, &zero);
  memset((void *)page_address(page), 1, 20 * HEAP_PAGE);
  page_heap_empty_large(page);
  page_heap_empty_large(page);
  cr_expect_eq(page_heap_counts.emptied, 20);
  cr_expect_eq(*(uint64_t *)page_address(page), 0);
  cr_assert(page_heap_resize_large(page, 30 * HEAP_PAGE));
  cr_expect_eq(page_heap_counts.emptied, 0, "it is used after all");
  page_heap_empty_large(page);
  cr_expect_eq(page_heap_counts.emptied, 30);
  page_heap_release_large(page);
  cr_expect_eq(page_heap_counts.emptied, 0);
}

Test(wide_page_heap, emptying_an_object_leaves_the_room_behind_it_alone) {
  struct page *page = page_heap_large_growing(20 * HEAP_PAGE);
  cr_assert(page->run > 20);
  uint64_t *behind = (uint64_t *)(page_address(page) + 20 * HEAP_PAGE);
  *behind = 7;
  page_heap_empty_large(page);
  cr_expect_eq(*behind, 7, "it may be another's by now");
}

Test(page_heap, no_more_is_expected_than_was_ever_resident) {
  bool zero;
  struct page *page = unit_large(100, GRANULE, &zero);
  page_heap_expect(5000);
  page_heap_release_large(page);
  cr_expect_eq(page_heap_counts.dirty_free, 100);
  page = unit_large(1000, GRANULE, &zero);
  page_heap_release_large(page);
  cr_expect_leq(page_heap_counts.dirty_free, 100);
}

/* 200 dirty pages that stay because they were wanted again, in runs of 4, of 400 that were resident
   at most. */
static void leave_short_dirty_runs(void) {
  bool zero;
  struct page *page[100];
  for (int round = 0; round < 3; round++) page_heap_release_large(unit_large(400, GRANULE, &zero));
  cr_assert_eq(page_heap_counts.dirty_free, 400);
  for (int i = 0; i < 100; i++) page[i] = unit_large(4, GRANULE, &zero);
  for (int i = 0; i < 100; i += 2) page_heap_release_large(page[i]);
  cr_assert_eq(page_heap_counts.dirty_free, 200);
}

Test(page_heap, no_more_is_resident_than_ever_was_where_dirty_runs_are_too_short) {
  bool zero;
  leave_short_dirty_runs();
  for (int i = 0; i < 15; i++) unit_large(10, GRANULE, &zero);
  cr_expect_eq(page_heap_counts.used, 350);
  cr_expect_leq(page_heap_counts.used + page_heap_counts.dirty_free, 400);
  cr_expect_gt(page_heap_counts.dirty_free, 30, "and no less than that asks for");
}

/* Were they to, a program that replaces such blocks would pay for each page of each. */
Test(page_heap, blocks_of_many_pages_make_no_others_go) {
  bool zero;
  leave_short_dirty_runs();
  unit_large(150, GRANULE, &zero);
  cr_expect_eq(page_heap_counts.used, 350);
  cr_expect_eq(page_heap_counts.dirty_free, 200);
}

/* A program that has locked its memory is not asked for it at each page that it takes. */
Test(page_heap, what_the_kernel_refused_is_asked_for_once_a_period) {
  bool zero;
  leave_short_dirty_runs();
  size_t bytes = heap.top * HEAP_PAGE;
  if (mlock((void *)heap.base, bytes) != 0) cr_skip("may not lock %zu bytes", bytes);
  for (int i = 0; i < 15; i++) unit_large(10, GRANULE, &zero);
  cr_expect_eq(page_heap_counts.dirty_free, 200, "it is locked");
  munlock((void *)heap.base, bytes);
  unit_large(10, GRANULE, &zero);
  cr_expect_eq(page_heap_counts.dirty_free, 200, "not in this period");
  const uint64_t second = 1000000000;
  page_heap_decay(second);
  unit_large(10, GRANULE, &zero);
  cr_expect_lt(page_heap_counts.dirty_free, 200);
}

Test(page_heap, decay_purges_what_nobody_wanted_for_a_period) {
  const uint64_t second = 1000000000;
  bool zero;
  page_heap_decay(1 * second);
  struct page *a = unit_large(10, GRANULE, &zero);
  unit_large(1, GRANULE, &zero); /* keeps them from meeting */
  struct page *b = unit_large(10, GRANULE, &zero);
  unit_large(1, GRANULE, &zero);
  page_heap_release_large(a);
  page_heap_decay(2 * second + 1); /* freed within this period: kept */
  cr_expect_eq(page_heap_counts.dirty_free, 10);
  page_heap_release_large(b);
  page_heap_decay(2 * second + 2);
  cr_expect_eq(page_heap_counts.dirty_free, 20, "the period is not over");
  page_heap_decay(3 * second + 2);
  cr_expect_eq(page_heap_counts.dirty_free, 10, "ten were free all the time");
  page_heap_decay(4 * second + 3);
  cr_expect_eq(page_heap_counts.dirty_free, 0);
  page_heap_decay(5 * second + 4);
}

Test(page_heap, decay_is_not_put_off_by_runs_that_grow_together) {
  const uint64_t second = 1000000000;
  bool zero;
  struct page *pages[12];
  for (int i = 0; i < 12; i++) pages[i] = unit_large(1, GRANULE, &zero);
  for (int i = 0; i < 4; i++) page_heap_release_large(pages[i]);
  page_heap_decay(1 * second);       /* four dirty pages from here on */
  page_heap_release_large(pages[4]); /* joins them to its own run */
  page_heap_decay(2 * second + 1);
  cr_expect(page_heap_counts.dirty_free <= 1);
}

Test(page_heap, decay_leaves_what_is_reused) {
  const uint64_t second = 1000000000;
  bool zero;
  struct page *page = unit_large(10, GRANULE, &zero);
  page_heap_release_large(page);
  page_heap_decay(1 * second);
  for (uint64_t t = 2; t < 10; t++) {
    page_heap_release_large(unit_large(10, GRANULE, &zero));
    page_heap_decay(t * second + t);
    cr_expect_eq(page_heap_counts.dirty_free, 10);
  }
}

Test(page_heap, a_large_object_grows_only_into_free_pages) {
  bool zero;
  struct page *a = unit_large(10, GRANULE, &zero), *b = unit_large(10, GRANULE, &zero);
  cr_expect(!unit_resize_large(a, 11), "a neighbour stands there");
  cr_expect_eq(a->run, 10);
  cr_expect(unit_resize_large(b, 30), "the end of the heap moves");
  cr_expect_eq(heap.top, 41);
  cr_expect(unit_resize_large(b, 5));
  cr_expect_eq(page_heap_counts.used, 15);
  page_heap_release_large(b);
  cr_expect(unit_resize_large(a, 25));
  struct cell cell;
  cr_expect(cell_of(page_address(a) + 25 * HEAP_PAGE - 1, &cell) && cell.page == a);
  cr_expect(!cell_of(page_address(a) + 25 * HEAP_PAGE, &cell));
  cr_expect(unit_resize_large(a, 25), "the same size is no change");
  cr_expect_eq(page_heap_counts.large, 25 * HEAP_PAGE / KERNEL_PAGE);
}

Test(wide_page_heap, an_object_that_has_grown_grows_on_in_place) {
  bool zero;
  struct page *page = page_heap_large_growing(2 * HEAP_PAGE + 1);
  unit_large(1, GRANULE, &zero); /* stands behind its room */
  cr_expect_eq(page->size, 2 * HEAP_PAGE + KERNEL_PAGE);
  cr_expect_eq(page->run, 6);
  cr_expect_eq(page_heap_counts.used, 4, "room is not use");
  cr_expect_eq(page_heap_counts.large, (3 * HEAP_PAGE + KERNEL_PAGE) / KERNEL_PAGE);
  struct cell cell;
  cr_expect(cell_of(page_address(page) + 6 * HEAP_PAGE - 1, &cell) && cell.page == page);
  cr_expect(unit_resize_large(page, 6));
  cr_expect_eq(page_heap_counts.used, 7);
  cr_expect(!unit_resize_large(page, 7));
  cr_expect(unit_resize_large(page, 3));
  cr_expect_eq(page->run, 3, "one that shrinks has no more room than it needs");
  cr_expect_eq(page_heap_counts.dirty_free, 3);
  page_heap_release_large(page);
  cr_expect_eq(page_heap_counts.used, 1);
  cr_expect_eq(page_heap_counts.dirty_free, 6);
}

Test(wide_page_heap, room_to_grow_is_bounded) {
  size_t most = 0;
  for (unsigned i = 0; i < 2000; i++) page_heap_large_growing(HEAP_PAGE);
  for (size_t i = 1; i < heap.top; i++)
    if (page_first(i) == i && heap.pages[i].cells) most += heap.pages[i].run - 1;
  cr_expect(most > 0 && most <= page_heap_counts.used / 4 + 3, "%zu of %zu", most,
            page_heap_counts.used);
}

Test(wide_page_heap, room_to_grow_is_taken_back) {
  bool zero;
  struct page *first = page_heap_large_growing(2 * HEAP_PAGE + 1), *plain = unit_large(1, 1, &zero);
  struct page *second = page_heap_large_growing(3 * HEAP_PAGE);
  cr_assert_eq(first->run, 6);
  cr_assert_eq(second->run, 6);
  cr_expect_eq(page_heap_take_spare(), 6);
  cr_expect_eq(first->run, 3);
  cr_expect_eq(second->run, 3);
  cr_expect_eq(plain->run, 1);
  cr_expect_eq(first->size, 2 * HEAP_PAGE + KERNEL_PAGE);
  cr_expect_eq(page_heap_counts.used, 7);
  cr_expect_eq(page_heap_counts.large, (6 * HEAP_PAGE + KERNEL_PAGE) / KERNEL_PAGE);
  struct cell cell;
  cr_expect(cell_of(page_address(first) + 3 * HEAP_PAGE - 1, &cell) && cell.page == first);
  cr_expect(!cell_of(page_address(first) + 3 * HEAP_PAGE, &cell));
  cr_expect_eq(page_heap_take_spare(), 0);
  cr_expect(unit_resize_large(second, 6), "what grows may have it again");
  cr_expect_eq(unit_large(3, 1, &zero), first + 3, "and others may");
}

Test(small_page_heap, no_room_to_grow_where_addresses_are_few) {
  unit_start_heap_of(16 * MIB, NULL);
  cr_expect_eq(page_heap_large_growing(HEAP_PAGE)->run, 1);
}

Test(small_page_heap, exhausted_says_so_and_recovers) {
  unit_start_heap_of(16 * MIB, NULL);
  struct page *pages[256];
  size_t count = 0;
  while (count < 256 && (pages[count] = page_heap_span(1 + count % 8))) count++;
  cr_expect_eq(count, heap.page_limit - 1);
  bool zero;
  cr_expect_null(unit_large(1, GRANULE, &zero));
  cr_expect_null(page_heap_large(SIZE_MAX / 2, GRANULE, &zero));
  cr_expect_null(unit_large(1, (size_t)1 << 40, &zero));
  cr_expect_eq(page_heap_counts.used, count);
  for (size_t i = 0; i < count; i += 2) page_heap_release_span(pages[i]);
  cr_expect_null(unit_large(2, GRANULE, &zero), "single pages only");
  for (size_t i = 1; i < count; i += 2) page_heap_release_span(pages[i]);
  cr_expect(unit_large(count, GRANULE, &zero));
}

Test(page_heap, a_large_object_has_whole_kernel_pages) {
  bool zero;
  struct page *page = page_heap_large(100001, GRANULE, &zero);
  cr_expect_eq(page->size, round_up(100001, KERNEL_PAGE));
  cr_expect_eq(page->run, 2);
  cr_expect(page_heap_resize_large(page, 70000));
  cr_expect_eq(page->size, round_up(70000, KERNEL_PAGE));
  cr_expect_eq(page->run, 2);
  cr_expect(page_heap_resize_large(page, 2 * HEAP_PAGE));
  cr_expect_eq(page->size, 2 * HEAP_PAGE);
  cr_expect(page_heap_resize_large(page, 2 * HEAP_PAGE + 1));
  cr_expect_eq(page->size, 2 * HEAP_PAGE + KERNEL_PAGE);
  cr_expect_eq(page->run, 3);
  cr_expect(page_heap_resize_large(page, 1));
  cr_expect_eq(page->size, KERNEL_PAGE);
  cr_expect_eq(page_heap_counts.large, 1);
}

static void *churn(void *argument) {
  uint64_t seed = (uintptr_t)argument;
  struct page *mine[40] = {0};
  long wrong = 0;
  for (int i = 0; i < 20000; i++) {
    struct page **slot = &mine[unit_below(&seed, 40)];
    if (*slot) {
      if (*(uintptr_t *)page_address(*slot) != (uintptr_t)slot) wrong++;
      if ((*slot)->class == CLASS_LARGE) page_heap_release_large(*slot);
      else page_heap_release_span(*slot);
      *slot = NULL;
    } else {
      bool zero;
      *slot = unit_below(&seed, 2) ? page_heap_span(1 + (unsigned)unit_below(&seed, 40))
                                   : unit_large(1 + unit_below(&seed, 20), GRANULE, &zero);
      if (*slot) *(uintptr_t *)page_address(*slot) = (uintptr_t)slot;
      else wrong++;
    }
    if (i % 1000 == 0) page_heap_decay(port_now());
  }
  for (int i = 0; i < 40; i++)
    if (mine[i] && mine[i]->class == CLASS_LARGE) page_heap_release_large(mine[i]);
    else if (mine[i]) page_heap_release_span(mine[i]);
  return (void *)wrong;
}

Test(page_heap, threads_share_it) {
  pthread_t threads[4];
  for (uintptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
  for (int i = 0; i < 4; i++) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    cr_expect_null(wrong);
  }
  cr_expect_eq(page_heap_counts.used, 0);
  cr_expect_eq(page_heap_counts.large, 0);
  expect_one_run();
}

static void *take_one(void *unused) {
  (void)unused;
  return page_heap_span(1);
}

Test(page_heap, nobody_is_inside_while_it_is_locked_for_fork) {
  page_heap_lock();
  pthread_t thread;
  pthread_create(&thread, NULL, take_one, NULL);
  unit_sleep(30);
  cr_expect_eq(atomic_get(&page_heap_counts.used), 0);
  page_heap_decay(1); /* does not wait */
  page_heap_unlock();
  void *page;
  pthread_join(thread, &page);
  cr_expect(page);
}
