/* pages.c: cells go back to their pages, from any thread, and empty pages to the page heap. */
#include "heap/holes.h"
#include "tests/unit/mutator/cells.h"

TestSuite(pages, .init = unit_start_heap, .timeout = 60);

Test(pages, a_flush_takes_cells_of_many_pages_in_any_order) {
  struct mutator *mutator = mutator_adopt();
  enum { COUNT = 20000 };
  static void *cells[COUNT];
  uint64_t seed = 22;
  for (int i = 0; i < COUNT; i++) cells[i] = take(mutator, 1 + (unsigned)unit_below(&seed, 20));
  for (int i = COUNT - 1; i > 0; i--) {
    size_t j = unit_below(&seed, (size_t)i + 1);
    void *cell = cells[i];
    cells[i] = cells[j];
    cells[j] = cell;
  }
  flush(cells, 0);
  for (int i = 0; i < COUNT;) {
    size_t count = 1 + unit_below(&seed, size_min(300, (size_t)(COUNT - i)));
    flush(cells + i, count);
    i += (int)count;
  }
  mutator_orphan(mutator);
  expect_sound();
  expect_all_memory_back();
}

struct batch {
  void *cells[2000];
  size_t count;
};
static void *flush_batch(void *argument) {
  struct batch *batch = argument;
  flush(batch->cells, batch->count);
  return NULL;
}

Test(pages, cells_freed_by_another_thread_are_taken_again) {
  struct mutator *mutator = mutator_adopt();
  static struct batch batch;
  size_t most = 0;
  for (int round = 0; round < 50; round++) {
    for (batch.count = 0; batch.count < 2000; batch.count++)
      batch.cells[batch.count] = take(mutator, 6);
    pthread_t thread;
    pthread_create(&thread, NULL, flush_batch, &batch);
    pthread_join(thread, NULL);
    if (round == 4) most = page_heap_counts.used;
  }
  cr_expect(page_heap_counts.used <= most, "grew from %zu to %zu pages", most,
            page_heap_counts.used);
  mutator_orphan(mutator);
  expect_sound();
  expect_all_memory_back();
}

/* A heap of many pages that are not full, as collections leave them: looking them all through each
   sixteen fresh pages took a fifth of a program's time. */
Test(pages, looks_for_empty_pages_become_rarer_the_more_there_are) {
  enum { LISTED = 4000, FRESH = 2000, CLASS = 6, OTHER = 7 };
  struct mutator *mutator = mutator_adopt();
  unsigned cells = size_classes[CLASS].cells;
  void **all = malloc((size_t)LISTED * cells * sizeof *all), **halves = all;
  for (size_t i = 0; i < (size_t)LISTED * cells; i++) all[i] = take(mutator, CLASS);
  for (size_t i = 0; i < (size_t)LISTED * cells; i += 2) *halves++ = all[i];
  flush(all, (size_t)(halves - all));
  free(all);
  mutator_trim(mutator);
  cr_assert_geq(mutator->looked, LISTED - 2);
  unsigned looks = 0;
  for (size_t spans = 0, before = page_heap_counts.used; spans < FRESH;) {
    unsigned taken = mutator->spans_taken;
    take(mutator, OTHER);
    looks += mutator->spans_taken < taken;
    spans = page_heap_counts.used - before;
  }
  cr_expect_geq(looks, 1);
  cr_expect_leq(looks, FRESH / (LISTED / 8) + 1);
}

Test(pages, empty_pages_go_while_all_that_happens_are_frees) {
  struct mutator *mutator = mutator_adopt();
  size_t count = take_pages(mutator, 8, PAGES), most = 0;
  for (size_t i = 0; i < count; i++) {
    put(mutator, 8, cells[i]);
    size_t left = (count - i) * (size_t)size_classes[8].size / HEAP_PAGE;
    most = size_max(most, page_heap_counts.used - size_min(left, page_heap_counts.used));
  }
  cr_expect_leq(page_heap_counts.used, 32, "%zu of %d pages", page_heap_counts.used, PAGES);
  cr_expect_leq(most, PAGES / 4, "at most %zu pages too many", most);
  expect_sound();
}

Test(pages, trimming_releases_empty_pages) {
  struct mutator *mutator = mutator_adopt();
  enum { COUNT = 40000 };
  static void *cells[COUNT];
  for (int i = 0; i < COUNT; i++) cells[i] = take(mutator, 6);
  size_t full = page_heap_counts.used;
  for (int i = 0; i < COUNT; i++) put(mutator, 6, cells[i]);
  mutator_flush_buffers(mutator);
  mutator_trim(mutator);
  cr_expect(page_heap_counts.used <= 1, "%zu of %zu pages stay", page_heap_counts.used, full);
  take(mutator, 6);
  expect_sound();
}

/* The collector walks over the pages of the pool while threads take some. */
Test(pages, a_walk_comes_to_every_page_that_stays) {
  enum { CLASS = 8, LISTED = 40 };
  struct mutator *mutator = mutator_adopt();
  size_t count = take_pages(mutator, CLASS, LISTED), halves = 0;
  for (size_t i = 0; i < count; i += 2) cells[halves++] = cells[i];
  mutator_flush_buffers(mutator);
  flush(cells, halves);
  pages_drain_returned(mutator);
  struct page_walk walk = {.class = CLASS};
  unsigned steps = 0, ahead = 0;
  mutator->looked = 0;
  while (pages_trim_find(mutator, &walk)) {
    cr_assert_null(walk.found, "half of each is in use");
    if (++steps % 5) continue;
    /* All that it has come by are taken, and one more. */
    for (struct page *page; walk.last && (page = pages_dequeue(mutator, CLASS));)
      if (page == walk.last) walk.last = NULL;
    if (pages_dequeue(mutator, CLASS)) ahead++;
  }
  cr_expect_gt(ahead, 4);
  cr_expect_eq(mutator->looked + ahead, page_heap_counts.used - 1, "one is current: %u, %u, %zu",
               mutator->looked, ahead, page_heap_counts.used);
}

static bool lists(const struct mutator *mutator, unsigned class, const struct page *wanted) {
  const struct page *page = mutator->sparse[class];
  while (page && page != wanted) page = page->next;
  return page;
}

/* Those that are aside already, and those that a walk lists there. */
Test(pages, a_page_that_a_walk_gives_back_of_is_in_no_list_meanwhile) {
  const unsigned class = size_class_of(1000);
  struct mutator *mutator = mutator_adopt();
  size_t count = take_pages(mutator, class, 40);
  for (int round = 0; round < 2; round++) {
    unsigned found = 0, kept = 0, gone = 0;
    for (size_t i = 0; i < count; i++)
      if (cells[i] && i % (round ? 64 : 16)) {
        flush(&cells[i], 1);
        cells[i] = NULL;
      }
    mutator_flush_buffers(mutator);
    pages_drain_returned(mutator);
    struct page_walk walk = {.class = class};
    for (unsigned steps = 0; pages_trim_find(mutator, &walk); steps++) {
      cr_assert_lt(steps, 200, "it comes to an end");
      struct page *page = walk.found;
      if (!page) continue;
      found++;
      cr_assert(!lists(mutator, class, page));
      if (steps % 7 == 3) { /* and others are taken meanwhile */
        struct page *taken = pages_dequeue(mutator, class);
        if (taken == walk.last) walk.last = NULL;
        gone += taken != NULL;
      }
      if (!(page = pages_trim_found(&walk))) continue;
      cr_expect_gt(page->purged, 0);
      pages_trim_keep(mutator, &walk, page);
      cr_assert(lists(mutator, class, page));
      kept++;
    }
    cr_expect_gt(found, 10, "%u in round %d", found, round);
    cr_expect_gt(kept + gone, found / 2);
  }
  expect_sound();
}

Test(pages, trimming_gives_the_free_parts_of_nearly_empty_pages_back) {
  struct mutator *mutator = mutator_adopt();
  const unsigned class = size_class_of(1000);
  const size_t size = size_classes[class].size;
  unsigned count = size_classes[class].cells * 4u;
  void **cells = malloc(count * sizeof *cells);
  for (unsigned i = 0; i < count; i++) {
    cells[i] = take(mutator, class);
    memset(cells[i], (int)(i % 250 + 1), size);
  }
  for (unsigned i = 0; i < count; i++)
    if (i % 32) put(mutator, class, cells[i]);
  mutator_flush_buffers(mutator);
  mutator_trim(mutator);
  size_t resident = 0, looked = 0, holes = 0;
  for (size_t p = 1; p < heap.top; p++) {
    if (heap.pages[p].class != class || !heap.pages[p].purged) continue;
    looked++;
    resident += unit_resident((void *)page_address(&heap.pages[p]), HEAP_PAGE);
    holes += heap.pages[p].purged;
  }
  cr_expect(looked >= 2);
  cr_expect_eq(page_heap_counts.holes, holes);
  cr_expect_eq(looked * HEAP_PAGE / KERNEL_PAGE - holes, resident, "they are counted rightly");
  cr_expect(resident <= looked * 6, "%zu kernel pages of %zu heap pages", resident, looked);
  for (unsigned i = 0; i < count; i += 32)
    for (size_t b = 0; b < size; b++)
      cr_assert_eq(((uint8_t *)cells[i])[b], i % 250 + 1, "cell %u was harmed", i);
  for (unsigned i = 0; i < count; i++)
    if (i % 32) cr_assert(take(mutator, class));
  cr_expect_eq(page_heap_counts.holes, 0, "all are in use again");
  expect_sound();
  free(cells);
}

/* Eight pages of cells of 1000 bytes, of which every eighth is in use; how many there are. */
static size_t leave_every_eighth(struct mutator *mutator, unsigned class) {
  const size_t count = size_classes[class].cells * 8u;
  for (size_t i = 0; i < count; i++) cells[i] = take(mutator, class);
  for (size_t i = 0; i < count; i++)
    if (i % 8) put(mutator, class, cells[i]);
  mutator_flush_buffers(mutator);
  return count;
}

Test(pages, trimming_leaves_free_parts_where_they_will_be_used_again) {
  struct mutator *mutator = mutator_adopt();
  leave_every_eighth(mutator, size_class_of(1000));
  mutator_keeps_holes = true;
  mutator_trim(mutator);
  cr_expect_eq(page_heap_counts.holes, 0);
  mutator_keeps_holes = false; /* it was not to be */
  mutator_trim(mutator);
  cr_expect_gt(page_heap_counts.holes, 0);
  expect_sound();
}

/* As where blocks come and go in turns: once it is seen that all is taken again. */
Test(pages, free_parts_that_are_filled_again_each_time_stay_until_somebody_asks) {
  struct mutator *mutator = mutator_adopt();
  const unsigned class = size_class_of(1000);
  const size_t count = leave_every_eighth(mutator, class);
  pages_trim_at_work(mutator);
  cr_expect_gt(page_heap_counts.holes, 0, "nothing is known yet");
  for (int round = 0; round < 4; round++) {
    for (size_t i = 0; i < count; i++)
      if (i % 8) cr_assert(cells[i] = take(mutator, class));
    for (size_t i = 0; i < count; i++)
      if (i % 8) put(mutator, class, cells[i]);
    mutator_flush_buffers(mutator);
    pages_trim_at_work(mutator);
  }
  cr_expect_eq(page_heap_counts.holes, 0);
  mutator->trim_due = 1;
  pages_trim_at_work(mutator);
  cr_expect_gt(page_heap_counts.holes, 0, "who asks gets them");
  const uint64_t second = 1000000000;
  for (unsigned i = 1; i < 20; i++) page_heap_decay(i * second);
  cr_expect(holes_pay(), "that is forgotten again");
  expect_sound();
}

Test(pages, trimming_again_gives_back_what_has_become_free_since) {
  struct mutator *mutator = mutator_adopt();
  const unsigned class = size_class_of(1000);
  const size_t count = leave_every_eighth(mutator, class);
  mutator_trim(mutator);
  size_t holes = page_heap_counts.holes, used = page_heap_counts.used;
  cr_expect_gt(holes, used * HEAP_PAGE / KERNEL_PAGE / 4);
  mutator_trim(mutator);
  cr_expect_eq(page_heap_counts.holes, holes);
  for (size_t i = 0; i < count; i += 8)
    if (i % 32) put(mutator, class, cells[i]);
  mutator_flush_buffers(mutator);
  mutator_trim(mutator);
  cr_expect_eq(page_heap_counts.used, used);
  cr_expect_gt(page_heap_counts.holes, holes * 5 / 4, "%zu, before %zu", page_heap_counts.holes,
               holes);
  for (size_t i = 0; i < count; i += 32) put(mutator, class, cells[i]);
  mutator_orphan(mutator);
  expect_all_memory_back();
  cr_expect_eq(page_heap_counts.holes, 0);
  expect_sound();
}

Test(pages, holes_in_pages_that_stay_in_use_are_given_back) {
  struct mutator *mutator = mutator_adopt();
  const unsigned class = size_class_of(10000);
  const size_t size = size_classes[class].size, count = size_classes[class].cells * 4u;
  for (size_t i = 0; i < count; i++) {
    cells[i] = take(mutator, class);
    memset(cells[i], (int)(i % 250 + 1), size);
  }
  size_t live = 0, resident = 0, freed = 0;
  for (size_t i = 0; i < count; i++) /* too many stay for a page to be nearly empty */
    if (i % 2) put(mutator, class, cells[i]), freed++;
  mutator_flush_buffers(mutator);
  mutator_trim(mutator);
  mutator_purge_holes(mutator);
  for (size_t p = 1; p < heap.top; p++) {
    if (!heap.pages[p].cells || heap.pages[p].class != class || page_first(p) != p) continue;
    resident += unit_resident((void *)page_address(&heap.pages[p]), heap.pages[p].run * HEAP_PAGE);
  }
  for (size_t i = 0; i < count; i += 2, live++)
    for (size_t b = 0; b < size; b++)
      cr_assert_eq(((uint8_t *)cells[i])[b], i % 250 + 1, "cell %zu was harmed", i);
  /* A live cell of 10,240 bytes touches four kernel pages at most. */
  cr_expect_leq(resident, live * 4, "%zu kernel pages for %zu cells", resident, live);
  cr_expect_leq(live * 3, resident);
  for (size_t i = 0; i < freed; i++) cr_assert(take(mutator, class));
  expect_sound();
}

Test(pages, free_cells_are_counted) {
  uint64_t seed = 24;
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    struct page *page = page_heap_span(class);
    unsigned used = 0;
    for (unsigned c = 0; c < page->cells; c++)
      if (unit_below(&seed, 3) == 0) {
        page_allocated(page)[c / 64] |= 1ull << (c % 64);
        used++;
      }
    cr_expect_eq(page_free_cells(page), page->cells - used, "class %u", class);
  }
}
