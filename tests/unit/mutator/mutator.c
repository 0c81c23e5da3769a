/* mutator.c: cells taken and put back, by one thread and by many. The invariant: no cell is in two
   places, and all memory comes back. */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <sys/wait.h>

TestSuite(mutator, .init = unit_start_heap, .timeout = 60);
TestSuite(small_mutator, .timeout = 60);

/* Who has a cell, by its granule; kept by the tests. */
static uint8_t held[GIB / GRANULE];
static int taken_twice, given_twice;

static uint8_t *holder(const void *cell) {
  return &held[((uintptr_t)cell - heap.base) >> GRANULE_SHIFT];
}

static void *take(struct mutator *mutator, unsigned class) {
  void *cell = mutator_take(mutator, class);
  if (!cell) return NULL;
  if (__atomic_exchange_n(holder(cell), 1, __ATOMIC_RELAXED)) atomic_add(&taken_twice, 1);
  return cell;
}

static void put(struct mutator *mutator, unsigned class, void *cell) {
  if (!__atomic_exchange_n(holder(cell), 0, __ATOMIC_RELAXED)) atomic_add(&given_twice, 1);
  mutator_put(mutator, class, cell);
}

static void flush(void **cells, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!__atomic_exchange_n(holder(cells[i]), 0, __ATOMIC_RELAXED)) atomic_add(&given_twice, 1);
  mutator_flush(cells, count);
}

static void expect_sound(void) {
  cr_expect_eq(taken_twice, 0, "a cell was handed out twice");
  cr_expect_eq(given_twice, 0);
}

/* Twice: what one orphan's end frees may belong to another. */
static void expect_all_memory_back(void) {
  struct mutator *mutators[64];
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 64; i++) mutators[i] = mutator_adopt();
    for (int i = 0; i < 64; i++) mutator_orphan(mutators[i]);
  }
  cr_expect_eq(page_heap_counts.used, 0, "%zu heap pages stay", page_heap_counts.used);
  cr_expect_eq(mutator_buffered_bytes(), 0);
}

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

Test(mutator, random_takes_and_puts) {
  struct mutator *mutator = mutator_adopt();
  enum { SLOTS = 5000 };
  static struct {
    void *cell;
    unsigned class;
  } slots[SLOTS];
  uint64_t seed = 21;
  for (int i = 0; i < 300000; i++) {
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

Test(mutator, a_flush_takes_cells_of_many_pages_in_any_order) {
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

Test(mutator, cells_freed_by_another_thread_are_taken_again) {
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

Test(mutator, an_orphan_is_adopted_with_its_pages) {
  struct mutator *mutator = mutator_adopt();
  void *kept = take(mutator, 3);
  mutator_orphan(mutator);
  cr_expect_eq(page_heap_counts.used, 1, "a cell of it lives");
  cr_expect_eq(mutator_buffered_bytes(), 0);
  struct mutator *heir = mutator_adopt();
  cr_expect_eq(heir, mutator);
  take(heir, 3);
  cr_expect_eq(page_heap_counts.used, 1, "the old page serves");
  put(heir, 3, kept);
  expect_sound();
}

/* Takes that many pages' worth of cells of a class; returns their number. */
enum { PAGES = 200, CELLS = PAGES * 4096 };
static void *cells[CELLS];
static size_t take_pages(struct mutator *mutator, unsigned class, size_t pages) {
  size_t count = 0;
  while (page_heap_counts.used <= pages) cells[count++] = take(mutator, class);
  return count;
}

Test(mutator, empty_pages_go_while_all_that_happens_are_frees) {
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

Test(mutator, an_owner_who_is_asked_gives_up_what_others_emptied) {
  struct mutator *mutator = mutator_adopt();
  size_t count = take_pages(mutator, 8, PAGES), used = page_heap_counts.used;
  flush(cells, count);
  cr_expect_geq(page_heap_counts.used, used - 1, "they are the owner's");
  mutator_ask_to_trim();
  for (unsigned i = 0; i < size_classes[3].cells + 1u; i++) take(mutator, 3); /* a change of page */
  cr_expect_leq(page_heap_counts.used, 8, "%zu pages", page_heap_counts.used);
  expect_sound();
}

/* A heap that was large and is nearly empty all over: as its objects are replaced, those that stay
   gather in few pages. Old objects come back as by a sweep, or from other threads. */
static void expect_dense(bool idle) {
  enum { LIVE_PART = 10, TURNS = 30, EACH = 5 };
  struct mutator *mutator = mutator_adopt();
  mutator_bequeath();
  size_t count = take_pages(mutator, 8, PAGES), live = 0;
  uint64_t seed = 1;
  for (size_t i = 0; i < count; i++) {
    if (unit_below(&seed, LIVE_PART) == 0) cells[live++] = cells[i];
    else put(mutator, 8, cells[i]);
  }
  size_t before = page_heap_counts.used, needed = PAGES / LIVE_PART;
  cr_assert_geq(before, PAGES * 3 / 4);
  for (int turn = 0; turn < TURNS; turn++) {
    for (size_t i = 0; i < live / EACH; i++) {
      size_t k = unit_below(&seed, live);
      void *old = cells[k];
      cells[k] = take(mutator, 8);
      flush(&old, 1);
    }
    if (idle) mutator_harvest(mutator, SIZE_MAX);
    mutator_bequeath();
    mutator_ask_to_trim();
  }
  cr_expect_leq(page_heap_counts.used, 3 * needed, "%zu pages, %zu before, %zu are needed",
                page_heap_counts.used, before, needed);
  expect_sound();
}

Test(mutator, a_sparse_heap_becomes_dense_as_objects_are_replaced) { expect_dense(false); }
Test(mutator, so_does_one_whose_owner_waits_now_and_then) { expect_dense(true); }

Test(mutator, an_idle_mutator_is_emptied_and_its_pages_serve_others) {
  struct mutator *idle = mutator_adopt(), *other = mutator_adopt();
  mutator_bequeath(); /* where they go to is made beside the program */
  void *kept[CLASS_SMALL_END];
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    put(idle, class, take(idle, class));
    kept[class] = take(idle, class);
  }
  size_t count = take_pages(idle, 8, 300), used = page_heap_counts.used;
  for (size_t i = 0; i < count; i++) put(idle, 8, cells[i]);
  cr_expect_eq(mutator_harvest(idle, 5), 5, "no more than that");
  cr_expect_gt(mutator_harvest(idle, SIZE_MAX), CLASS_SMALL_END / 2);
  cr_expect_eq(mutator_buffered_bytes(), 0);
  mutator_bequeath();
  cr_expect_lt(page_heap_counts.used, used);
  used = page_heap_counts.used;
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) take(other, class);
  cr_expect_eq(page_heap_counts.used, used, "no page was needed");
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    put(other, class, kept[class]);
    put(idle, class, take(idle, class));
  }
  idle->busy = 1;
  cr_expect_eq(mutator_harvest(idle, SIZE_MAX), 0, "at work, it is left alone");
  cr_expect_gt(mutator_buffered_bytes(), 0);
  expect_sound();
}

Test(mutator, one_that_was_never_used_touches_no_memory_of_its_buffers) {
  struct mutator *mutator = mutator_adopt();
  take(mutator, 3);
  mutator_orphan(mutator);
  mutator = mutator_adopt();
  unsigned char resident[sizeof *mutator / 4096 + 2];
  uintptr_t begin = (uintptr_t)mutator->buffers & ~4095ul,
            end = (uintptr_t)(mutator->buffers + CLASS_COUNT);
  cr_assert_eq(mincore((void *)begin, end - begin, resident), 0);
  unsigned pages = 0;
  for (size_t i = 0; i < (end - begin) / 4096; i++) pages += resident[i] & 1;
  cr_expect_leq(pages, 4, "%u pages", pages);
}

Test(mutator, pages_of_an_orphan_serve_others) {
  struct mutator *dead = mutator_adopt(), *mine = mutator_adopt();
  take(dead, 3);
  take(mine, 5); /* has no page for class 3 */
  mutator_orphan(dead);
  size_t before = page_heap_counts.used;
  take(mine, 3);
  cr_expect_eq(page_heap_counts.used, before);
  expect_sound();
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

Test(mutator, buffered_bytes_are_counted) {
  struct mutator *mutator = mutator_adopt();
  cr_expect_eq(mutator_buffered_bytes(), 0);
  void *cell = take(mutator, 8);
  size_t bytes = mutator_buffered_bytes();
  cr_expect_eq(bytes, mutator->buffers[8].count * (size_t)size_classes[8].size);
  put(mutator, 8, cell);
  cr_expect_eq(mutator_buffered_bytes(), bytes + size_classes[8].size);
  mutator_flush_buffers(mutator);
  cr_expect_eq(mutator_buffered_bytes(), 0);
}

Test(mutator, trimming_releases_empty_pages) {
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

Test(mutator, trimming_gives_the_free_parts_of_nearly_empty_pages_back) {
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
  size_t resident = 0, looked = 0;
  for (size_t p = 1; p < heap.top; p++) {
    unsigned char map[HEAP_PAGE / KERNEL_PAGE];
    if (heap.pages[p].class != class || !heap.pages[p].purged) continue;
    looked++;
    mincore((void *)page_address(&heap.pages[p]), HEAP_PAGE, map);
    for (size_t k = 0; k < sizeof map; k++) resident += map[k] & 1;
  }
  cr_expect(looked >= 2);
  cr_expect(resident <= looked * 6, "%zu kernel pages of %zu heap pages", resident, looked);
  for (unsigned i = 0; i < count; i += 32)
    for (size_t b = 0; b < size; b++)
      cr_assert_eq(((uint8_t *)cells[i])[b], i % 250 + 1, "cell %u was harmed", i);
  for (unsigned i = 0; i < count; i++)
    if (i % 32) cr_assert(take(mutator, class));
  expect_sound();
  free(cells);
}

Test(mutator, free_cells_are_counted) {
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
  struct cell place = {0};
  cr_assert(cell_of((uintptr_t)cell, &place));
  place.page->unswept = 1;
  mutator = mutator_adopt();
  take(mutator, 3);
  cr_expect_eq(swept, 1);
}

/* --- fork ------------------------------------------------------------------------------------- */

static int status_of(pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(mutator, a_fork_child_never_hands_out_what_others_hold) {
  struct mutator *mine = mutator_adopt(), *other = mutator_adopt();
  for (int i = 0; i < 5000; i++) {
    take(mine, 3);
    take(other, 3);
  }
  pid_t child = fork();
  if (child == 0) {
    mutator_fork_child(&mine, 1);
    size_t before = page_heap_counts.used;
    for (int i = 0; i < 20000; i++)
      if (!take(mine, 3)) _exit(1);
    if (taken_twice) _exit(2);
    if (mutator_adopt() == mine) _exit(3);
    if (page_heap_counts.used > before + 20000 / size_classes[3].cells + 1) _exit(4);
    _exit(0);
  }
  cr_expect_eq(status_of(child), 0);
}

Test(mutator, a_fork_child_uses_the_pages_of_the_threads_it_lacks) {
  struct mutator *mine = mutator_adopt(), *other = mutator_adopt();
  enum { COUNT = 20000 };
  static void *cells[COUNT];
  for (int i = 0; i < COUNT; i++) cells[i] = take(other, 3);
  flush(cells, COUNT);
  pid_t child = fork();
  if (child == 0) {
    mutator_fork_child(&mine, 1);
    size_t before = page_heap_counts.used;
    for (int i = 0; i < COUNT / 2; i++)
      if (!take(mine, 3)) _exit(1);
    if (taken_twice) _exit(2);
    _exit(page_heap_counts.used > before + 2 ? 3 : 0);
  }
  cr_expect_eq(status_of(child), 0);
}
