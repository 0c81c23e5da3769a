/* mutator.c: cells taken and put back, by one thread and by many. The invariant: no cell is in two
   places, and all memory comes back. */
#include "tests/unit/mutator/cells.h"

#include "heap/random.h"

TestSuite(mutator, .init = unit_start_heap, .timeout = 60);
TestSuite(small_mutator, .timeout = 60);

Test(mutator, the_table_of_buffers_agrees_with_the_classes) {
  for (size_t size = 0; size < SMALL_LIMIT; size++)
    if ((char *)&mutator_fast.dummy + mutator_fast.buffer[size >> GRANULE_SHIFT] !=
        (char *)&mutator_fast.dummy.buffers[size_class_of(size)])
      cr_assert_fail("size %zu", size);
}

Test(mutator, the_dummy_has_nothing_to_take_or_to_put_to) {
  for (unsigned class = 0; class < CLASS_COUNT; class ++) {
    cr_expect_null(mutator_fast.dummy.buffers[class].hot);
    cr_expect_eq(mutator_fast.dummy.buffers[class].limit, 0);
  }
}

Test(mutator, cells_of_every_class_are_distinct_and_in_place) {
  struct mutator *mutator = mutator_adopt();
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    unsigned count = size_classes[class].cells * 3u + 7;
    void **cells = malloc(count * sizeof *cells);
    for (unsigned i = 0; i < count; i++) {
      struct cell place;
      cells[i] = take(mutator, class);
      cr_assert(cells[i]);
      cr_assert(cell_of((uintptr_t)cells[i], &place));
      cr_assert_eq(place.address, (uintptr_t)cells[i]);
      cr_assert_eq(place.page->class, class);
      cr_assert_eq(*state_at(place.address), STATE_NONE, "making it live is the caller's");
      cr_assert(page_allocated(place.page)[place.index / 64] >> (place.index % 64) & 1);
    }
    for (unsigned i = 0; i < count; i++) put(mutator, class, cells[i]);
    free(cells);
  }
  mutator_orphan(mutator);
  expect_sound();
  expect_all_memory_back();
}

Test(mutator, the_newest_cell_comes_back_first) {
  struct mutator *mutator = mutator_adopt();
  void *a = take(mutator, 4), *b = take(mutator, 4), *c = take(mutator, 4);
  put(mutator, 4, b);
  put(mutator, 4, a);
  put(mutator, 4, c);
  cr_expect_eq(take(mutator, 4), c);
  cr_expect_eq(take(mutator, 4), a);
  cr_expect_eq(take(mutator, 4), b);
  expect_sound();
}

Test(mutator, a_full_buffer_gives_its_older_half_back) {
  struct mutator *mutator = mutator_adopt();
  enum { COUNT = 3000 };
  static void *cells[COUNT];
  const unsigned class = 2;
  for (int i = 0; i < COUNT; i++) cells[i] = take(mutator, class);
  for (int i = 0; i < COUNT; i++) {
    put(mutator, class, cells[i]);
    struct buffer *buffer = &mutator->buffers[class];
    cr_assert(buffer->count <= buffer->limit);
    cr_assert(buffer->limit <= size_classes[class].slots);
    cr_assert_eq(buffer->hot, cells[i]);
    cr_assert_null(buffer->slot[0], "the bottom");
  }
  for (int i = 0; i < 100; i++) cr_assert_eq(take(mutator, class), cells[COUNT - 1 - i]);
  expect_sound();
}

Test(mutator, what_an_owner_was_given_to_begin_with_is_not_used_again_by_it) {
  struct mutator *giver = mutator_adopt(), *taker = mutator_adopt();
  void *first = take(giver, 1), *second = take(giver, 1);
  struct cell place = {0};
  cr_assert(cell_of((uintptr_t)first, &place));
  unsigned free = page_free_cells(place.page);
  put(taker, 1, first);
  cr_expect_eq(taker->buffers[1].count, 0);
  cr_expect_eq(page_free_cells(place.page), free + 1, "it is the page's again");
  put(taker, 1, second);
  cr_expect_eq(take(taker, 1), second, "but for the first, they are used where they were freed");
  put(taker, 1, second);
  mutator_orphan(giver);
  giver = mutator_adopt();
  first = take(giver, 1);
  mutator_orphan(giver);
  giver = mutator_adopt();
  put(giver, 1, first);
  cr_expect_eq(take(giver, 1), first, "its own it keeps");
  expect_sound();
}

Test(mutator, cells_that_were_used_serve_before_fresh_ones) {
  struct mutator *mutator = mutator_adopt();
  unsigned class = size_class_of(1000);
  size_t begun = take_pages(mutator, class, 1) - 1; /* the last is the first of another page */
  while (mutator->buffers[class].count) take(mutator, class);
  struct page *second = mutator->current[class];
  cr_assert(second->fresh && page_free_cells(second) > 20);
  flush(cells, begun / 2); /* as another thread does */
  for (size_t i = 0; i < begun / 2; i++) {
    struct cell cell;
    cr_assert(cell_of((uintptr_t)take(mutator, class), &cell));
    cr_expect_neq(cell.page, second, "cell %zu", i);
  }
  struct cell cell; /* and then that page goes on */
  cr_assert(cell_of((uintptr_t)take(mutator, class), &cell));
  cr_expect_eq(cell.page, second);
  cr_expect_eq(page_heap_counts.used, 2);
  expect_sound();
}

/* Of its own cells a thread may soon want as many again, and keeps them, although since it became
   the owner it has made none. */
Test(mutator, who_only_frees_keeps_few_cells_of_others) {
  enum { COUNT = 1000, CLASS = 4, FEW = 32 };
  struct mutator *giver = mutator_adopt(), *freeing = mutator_adopt();
  static void *cells[COUNT];
  for (int i = 0; i < COUNT; i++) cells[i] = take(giver, CLASS);
  for (int i = 0; i < COUNT; i++) {
    put(freeing, CLASS, cells[i]);
    cr_assert_leq(freeing->buffers[CLASS].count, FEW);
  }
  for (int i = 0; i < COUNT; i++) cells[i] = take(giver, CLASS);
  mutator_orphan(giver);
  giver = mutator_adopt();
  cr_assert_eq(giver->buffers[CLASS].limit, 0);
  for (int i = 0; i < COUNT; i++) put(giver, CLASS, cells[i]);
  cr_expect_gt(giver->buffers[CLASS].count, FEW, "its own it keeps");
  expect_sound();
}

/* One mutator at random work; each cell holds the number of the slot that has it. */
static void work(uint64_t seed, int steps) {
  struct mutator *mutator = mutator_adopt();
  enum { SLOTS = 5000 };
  static struct {
    void *cell;
    unsigned class;
  } slots[SLOTS];
  for (int i = 0; i < steps; i++) {
    size_t s = unit_below(&seed, SLOTS);
    if (slots[s].cell) {
      if (*(uintptr_t *)slots[s].cell != s) cr_assert_fail("slot %zu was overwritten", s);
      if (i % 5) put(mutator, slots[s].class, slots[s].cell);
      else flush(&slots[s].cell, 1);
      slots[s].cell = NULL;
    } else {
      slots[s].class = 1 + (unsigned)unit_below(&seed, i % 9 ? 12 : CLASS_SMALL_END - 1);
      slots[s].cell = take(mutator, slots[s].class);
      *(uintptr_t *)slots[s].cell = s;
    }
    if (i % 10000 == 0) mutator_trim(mutator);
    if (i % 17000 == 0) mutator_flush_buffers(mutator);
  }
  for (size_t s = 0; s < SLOTS; s++)
    if (slots[s].cell) put(mutator, slots[s].class, slots[s].cell);
  mutator_orphan(mutator);
  expect_sound();
  expect_all_memory_back();
}

Test(mutator, random_takes_and_puts) { work(21, 300000); }

/* Four threads, each with a mutator, hand cells to each other through a common table. */
enum { SHARED = 4000 };
static struct {
  void *cell;
  unsigned class;
} shared[SHARED];
static uint8_t shared_busy[SHARED];

static void *exchange(void *argument) {
  uint64_t seed = (uintptr_t)argument;
  struct mutator *mutator = mutator_adopt();
  for (int i = 0; i < 150000; i++) {
    size_t s = unit_below(&seed, SHARED);
    if (__atomic_exchange_n(&shared_busy[s], 1, __ATOMIC_ACQUIRE)) continue;
    if (shared[s].cell) {
      if (*(uintptr_t *)shared[s].cell != s) atomic_add(&taken_twice, 1);
      put(mutator, shared[s].class, shared[s].cell);
      shared[s].cell = NULL;
    } else {
      shared[s].class = 1 + (unsigned)unit_below(&seed, 10);
      shared[s].cell = take(mutator, shared[s].class);
      if (shared[s].cell) *(uintptr_t *)shared[s].cell = s;
    }
    __atomic_store_n(&shared_busy[s], 0, __ATOMIC_RELEASE);
    if (i % 20000 == 19999) { /* a thread ends, another begins */
      mutator_orphan(mutator);
      mutator = mutator_adopt();
    }
  }
  mutator_orphan(mutator);
  return NULL;
}

Test(mutator, threads_exchange_cells) {
  pthread_t threads[4];
  for (uintptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, exchange, (void *)(i + 31));
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  struct mutator *mutator = mutator_adopt();
  for (size_t s = 0; s < SHARED; s++)
    if (shared[s].cell) put(mutator, shared[s].class, shared[s].cell);
  mutator_orphan(mutator);
  expect_sound();
  expect_all_memory_back();
}

Test(small_mutator, no_memory_no_cell) {
  unit_start_heap_of(16 * MIB, NULL);
  struct mutator *mutator = mutator_adopt();
  enum { MOST = 16 << 20 >> 11 };
  static void *cells[MOST];
  const unsigned class = size_class_of(2047); /* of one page: none is left over */
  size_t count = 0;
  while (count < MOST && (cells[count] = take(mutator, class))) count++;
  cr_expect(count > MOST * 9 / 10 && count < MOST);
  cr_expect_null(mutator_take(mutator, class));
  cr_expect_null(mutator_take(mutator, 1));
  for (size_t i = 0; i < count; i++) put(mutator, class, cells[i]);
  cr_expect(take(mutator, class));
  cr_expect(take(mutator, class));
  expect_sound();
}

static unsigned swept;
static void note_sweep(struct page *page) {
  page->unswept = 0;
  swept++;
}

Test(mutator, a_page_that_waits_is_swept_before_it_is_used) {
  mutator_sweep_page = note_sweep;
  struct mutator *mutator = mutator_adopt();
  void *cell = take(mutator, 3);
  mutator_orphan(mutator);
  mutator_bequeath(); /* else it may go on being filled */
  struct cell place = {0};
  cr_assert(cell_of((uintptr_t)cell, &place));
  place.page->unswept = 1;
  mutator = mutator_adopt();
  take(mutator, 3);
  cr_expect_eq(swept, 1);
}

/* --- random=on -------------------------------------------------------------------------------- */

static void start_randomly(void) {
  unit_start_heap();
  options.random = true;
  random_start();
}
TestSuite(random_mutator, .init = start_randomly, .timeout = 60);

/* How many cells come next to the one before. */
static size_t count_neighbours(struct mutator *mutator, unsigned class, int count) {
  uintptr_t before = 0;
  size_t neighbours = 0;
  for (int i = 0; i < count; i++) {
    uintptr_t cell = (uintptr_t)take(mutator, class);
    uintptr_t distance = cell > before ? cell - before : before - cell;
    neighbours += distance == size_classes[class].size;
    before = cell;
  }
  return neighbours;
}

Test(random_mutator, cells_come_in_no_order) {
  enum { COUNT = 20000 };
  for (unsigned class = 1; class < 20; class += 3) {
    size_t neighbours = count_neighbours(mutator_adopt(), class, COUNT);
    cr_expect_lt(neighbours, COUNT / 20, "class %u: %zu", class, neighbours);
  }
  options.random = false;
  cr_expect_gt(count_neighbours(mutator_adopt(), 4, COUNT), COUNT * 9 / 10, "but by default");
  expect_sound();
}

Test(random_mutator, all_cells_of_a_page_are_found) {
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    struct mutator *mutator = mutator_adopt();
    size_t before = page_heap_counts.used, spans = 4, count = spans * size_classes[class].cells;
    for (size_t i = 0; i < count; i++) cr_assert(take(mutator, class));
    size_t pages = page_heap_counts.used - before;
    cr_expect_leq(pages, (spans + 1) * size_classes[class].span, "class %u: %zu", class, pages);
  }
  expect_sound();
}

Test(random_mutator, pages_come_in_no_order) {
  enum { SPANS = 500 };
  struct mutator *mutator = mutator_adopt();
  uintptr_t last = 0;
  size_t ascending = 0, next = 0;
  for (int i = 0; i < SPANS; i++) {
    uintptr_t page = page_address(page_heap_span(8));
    ascending += page > last;
    next += page == last + HEAP_PAGE;
    last = page;
  }
  cr_expect(next < SPANS / 4, "%zu follow the one before", next);
  cr_expect(ascending < SPANS * 9 / 10, "%zu lie above the one before", ascending);
  cr_expect_lt(heap.top, SPANS * 4, "and the space is used");
  cr_expect(take(mutator, 8));
}

Test(random_mutator, takes_puts_and_pages_are_sound) { work(29, 300000); }
