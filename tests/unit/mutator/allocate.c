/* allocate.c: objects made, resized and freed, and every way to free what is none. */
#include "tests/unit/step.h"

TestSuite(allocate, .init = unit_start_heap, .timeout = 60);
TestSuite(small_allocate, .timeout = 60);

static void expect_object(const void *object, size_t size, size_t alignment) {
  struct cell cell = {0};
  cr_assert(object, "size %zu", size);
  cr_assert_eq((uintptr_t)object % alignment, 0, "size %zu", size);
  cr_assert_eq(object_find(object, &cell), STATE_LIVE);
  cr_assert(cell_usable(&cell) >= size);
  struct cell end;
  cr_assert(cell_of((uintptr_t)object + size, &end) && end.address == (uintptr_t)object,
            "one past the end of %zu bytes stays inside", size);
}

Test(allocate, objects_of_every_size) {
  for (size_t size = 0; size < 3 * SMALL_LIMIT; size += size < 2100 ? 1 : 13) {
    char *object = allocate(size, NULL);
    expect_object(object, size, GRANULE);
    memset(object, 0x55, size);
    cr_assert_eq(release(object), RELEASED);
    cr_assert(!unit_is_live(object));
  }
}

Test(allocate, sizes_around_the_border_of_large_objects) {
  static const size_t sizes[] = {SMALL_LIMIT - 1, SMALL_LIMIT,   SMALL_LIMIT + 1,   HEAP_PAGE - 1,
                                 HEAP_PAGE,       HEAP_PAGE + 1, 2 * HEAP_PAGE - 1, 2 * HEAP_PAGE,
                                 10 * MIB - 1,    10 * MIB,      10 * MIB + 1,      100 * MIB};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *object = allocate(sizes[i], NULL);
    expect_object(object, sizes[i], GRANULE);
    object[0] = object[sizes[i] - 1] = 1;
    cr_assert_eq(release(object), RELEASED);
  }
  allocate_trim(false);
  cr_expect_eq(page_heap_counts.large, 0);
}

Test(allocate, alignments) {
  for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2)
    for (size_t size = 0; size <= 300000; size = size * 3 + 1) {
      void *object = allocate_aligned(alignment, size, NULL);
      expect_object(object, size, alignment);
      if (size % 2) cr_assert_eq(release(object), RELEASED);
    }
}

Test(allocate, says_when_memory_is_zero) {
  bool zero;
  char *object = allocate(HEAP_PAGE * 3, &zero);
  cr_expect(zero, "fresh from the kernel");
  memset(object, 1, HEAP_PAGE * 3);
  release(object);
  object = allocate(HEAP_PAGE * 3, &zero);
  cr_expect(!zero || !object[100]);
  zero = true;
  allocate(10, &zero);
  cr_expect(!zero, "a cell never is");
  zero = true;
  allocate_aligned(64, 10, &zero);
  cr_expect(!zero);
}

Test(allocate, impossible_sizes_are_refused) {
  static const size_t sizes[] = {GIB, 2 * GIB, PTRDIFF_MAX, SIZE_MAX - HEAP_PAGE, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    cr_expect_null(allocate(sizes[i], NULL));
    cr_expect_null(allocate_aligned(KERNEL_PAGE, sizes[i], NULL));
  }
  cr_expect_null(allocate_aligned(GIB, 10, NULL));
  cr_expect_null(allocate_aligned((size_t)1 << 62, 10, NULL));
  cr_expect_eq(page_heap_counts.used, 0);
}

Test(small_allocate, memory_runs_out_and_comes_back) {
  unit_start_heap_of(16 * MIB, NULL);
  enum { MOST = 20000 };
  static void *objects[MOST];
  int count = 0;
  while (count < MOST && (objects[count] = allocate(1000, NULL))) count++;
  cr_expect(count > 14000 && count < 17000, "%d objects", count);
  cr_expect_null(allocate(100000, NULL));
  cr_expect_null(allocate_aligned(65536, 10, NULL));
  for (int i = 0; i < count; i++) cr_assert_eq(release(objects[i]), RELEASED);
  for (int i = 0; i < count - 64; i++) cr_assert(allocate(1000, NULL), "object %d of %d", i, count);
}

/* --- bad frees -------------------------------------------------------------------------------- */

Test(allocate, a_double_free_is_found) {
  static const size_t sizes[] = {0, 1, 100, 5000, 32767, 32768, 500000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    void *object = allocate(sizes[i], NULL);
    cr_expect_eq(release(object), RELEASED, "size %zu", sizes[i]);
    cr_expect_eq(release(object), RELEASE_NOT_LIVE, "size %zu", sizes[i]);
  }
}

Test(allocate, a_pointer_into_an_object_is_found) {
  static const size_t sizes[] = {24, 100, 5000, 32767, 32768, 500000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *object = allocate(sizes[i], NULL);
    for (size_t at = 1; at <= sizes[i]; at = at < 40 ? at + 1 : at * 2)
      cr_expect_eq(release(object + at), RELEASE_NOT_LIVE, "%zu of %zu", at, sizes[i]);
    cr_expect(unit_is_live(object));
    cr_expect_eq(release(object), RELEASED);
  }
}

Test(allocate, foreign_pointers_are_found) {
  static int data;
  int local;
  char *block = malloc(10);
  cr_expect_eq(release(NULL), RELEASE_FOREIGN);
  cr_expect_eq(release(&data), RELEASE_FOREIGN);
  cr_expect_eq(release(&local), RELEASE_FOREIGN);
  cr_expect_eq(release(block), RELEASE_FOREIGN);
  cr_expect_eq(release((void *)UINTPTR_MAX), RELEASE_FOREIGN);
  cr_expect_eq(release((void *)(heap.base - 16)), RELEASE_FOREIGN);
  cr_expect_eq(release((void *)(heap.base + GIB)), RELEASE_FOREIGN);
  cr_expect_eq(release(heap.pages), RELEASE_FOREIGN, "our tables are no blocks either");
  free(block);
}

Test(allocate, addresses_of_the_heap_without_an_object) {
  cr_expect_eq(release((void *)heap.base), RELEASE_NOT_LIVE);
  cr_expect_eq(release((void *)(heap.base + 16)), RELEASE_NOT_LIVE);
  cr_expect_eq(release((void *)(heap.base + GIB - 16)), RELEASE_NOT_LIVE, "not committed");
  char *object = allocate(10, NULL);
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  for (uint32_t c = 0; c < cell.page->cells; c++) {
    void *other = (void *)(page_address(cell.page) + c * cell.page->size);
    if (other != object) cr_assert_eq(release(other), RELEASE_NOT_LIVE);
  }
}

Test(allocate, a_condemned_object_is_released_and_told) {
  void *object = allocate(50, NULL);
  *state_at((uintptr_t)object) |= STATE_CONDEMNED;
  cr_expect_eq(release(object), RELEASE_CONDEMNED);
  cr_expect_eq(release(object), RELEASE_NOT_LIVE);
}

enum { CONTESTED = 20000 };
static void *contested[CONTESTED];
static void *release_all(void *unused) {
  (void)unused;
  uintptr_t won = 0;
  for (int i = 0; i < CONTESTED; i++) won += release(contested[i]) == RELEASED;
  thread_detach();
  return (void *)won;
}

Test(allocate, of_two_threads_that_free_one_object_one_succeeds) {
  for (int i = 0; i < CONTESTED; i++) contested[i] = allocate(i % 100 ? 40 : 70000, NULL);
  pthread_t threads[2];
  uintptr_t won = 0;
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, release_all, NULL);
  for (int i = 0; i < 2; i++) {
    void *result;
    pthread_join(threads[i], &result);
    won += (uintptr_t)result;
  }
  cr_expect_eq(won, CONTESTED);
  cr_expect_eq(page_heap_counts.large, 0);
}

/* --- resizing --------------------------------------------------------------------------------- */

Test(allocate, large_objects_are_resized_in_place) {
  char *object = allocate(5 * HEAP_PAGE, NULL);
  memset(object, 7, 5 * HEAP_PAGE);
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  cr_expect(resize_in_place(&cell, 20 * HEAP_PAGE));
  expect_object(object, 20 * HEAP_PAGE, HEAP_PAGE);
  for (size_t i = 0; i < 5 * HEAP_PAGE; i++) cr_assert_eq(object[i], 7);
  cr_expect(resize_in_place(&cell, 2 * HEAP_PAGE));
  expect_object(object, 2 * HEAP_PAGE, HEAP_PAGE);
  cr_expect_eq(cell.page->run, 3, "the slack byte counts");
  cr_expect(!resize_in_place(&cell, SMALL_LIMIT - 1), "small enough for a cell");
  cr_expect(!resize_in_place(&cell, 2 * GIB));
  cr_expect(!resize_in_place(&cell, SIZE_MAX));
  cr_expect_eq(release(object), RELEASED);
  cr_expect_eq(page_heap_counts.used, 0);
}

Test(allocate, cells_are_not_resized_in_place) {
  void *object = allocate(100, NULL);
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  cr_expect(!resize_in_place(&cell, 200));
  cr_expect(!resize_in_place(&cell, 50000));
}

/* --- a page that changes hands ------------------------------------------------------------------
 */

enum { CELLS = 2048 };
static struct {
  struct page *page;
  void *old[2 * CELLS];       /* of 32 bytes, in that page or not */
  void *new[HEAP_PAGE / 256]; /* of 256, in the same page later */
  int new_count;
  void *twice; /* is freed by two threads at once */
  uint8_t *state;
  enum release_result result;
  unsigned steps, due;
} change;

static void fill_page(void) {
  for (int i = 0; i < 2 * CELLS; i++) change.old[i] = allocate(20, NULL);
  change.page = unit_page_of(change.old[0]); /* it is full, and another is current */
  change.new_count = 0;
  for (int i = 0; i < 2 * CELLS; i++) /* where no larger cell begins */
    if (unit_page_of(change.old[i]) == change.page && (uintptr_t)change.old[i] % 256 == 0x60)
      change.twice = change.old[i];
  change.state = state_at((uintptr_t)change.twice);
}

static void other_thread_frees(void) {
  for (int i = 0; i < 2 * CELLS; i++) {
    if (unit_page_of(change.old[i]) != change.page) continue;
    cr_assert_eq(release(change.old[i]), RELEASED);
    change.old[i] = NULL;
  }
  allocate_trim(true);
  cr_assert_eq(change.page->cells, 0, "the page was released");
  for (int i = 0; i < CELLS; i++) {
    void *object = allocate(250, NULL);
    if (unit_page_of(object) == change.page) change.new[change.new_count++] = object;
  }
  cr_assert_gt(change.new_count, 200);
}

static void free_twice(void) { change.result = release(change.twice); }

static bool is_next_step(void) {
  return ++change.steps == change.due && *change.state == STATE_LIVE;
}

Test(allocate, a_page_that_changes_its_class_between_any_two_instructions_of_a_free) {
  unsigned due = 1;
  for (;; due++) {
    fill_page();
    change.due = due;
    change.steps = 0;
    if (!step_through(free_twice, is_next_step, other_thread_frees)) break;
    cr_assert_eq(change.result, RELEASE_NOT_LIVE, "%u", due);
    for (int i = 0; i < change.new_count; i++) {
      cr_assert(unit_is_live(change.new[i]), "%u: %d", due, i);
      release(change.new[i]);
    }
    for (int i = 0; i < 2 * CELLS; i++)
      if (change.old[i]) release(change.old[i]);
    allocate_trim(true);
  }
  cr_expect_gt(due, 20, "%u", due);
}

/* --- fast paths ------------------------------------------------------------------------------- */

Test(allocate, the_fast_paths_need_a_filled_buffer) {
  cr_expect_null(allocate_fast(100), "this thread is not set up");
  void *object = allocate(100, NULL);
  void *second = allocate_fast(100);
  expect_object(second, 100, GRANULE);
  cr_expect_neq(second, object);
  cr_expect(release_fast(second));
  cr_expect_eq(allocate_fast(100), second);
  cr_expect(release_fast(object));
  cr_expect_null(allocate_fast(SMALL_LIMIT));
  cr_expect_null(allocate_fast(SIZE_MAX));
}

Test(allocate, the_fast_free_refuses_all_but_a_live_cell) {
  static int data;
  char *object = allocate(100, NULL), *large = allocate(100000, NULL);
  for (size_t size = 0; size < SMALL_LIMIT; size = size * 5 / 4 + 1) {
    char *other = allocate(size, NULL);
    for (size_t i = 1; i <= size; i++) cr_assert(!release_fast(other + i), "%zu of %zu", i, size);
    cr_assert(release_fast(other), "%zu", size);
  }
  cr_expect(!release_fast(large));
  cr_expect(!release_fast(&data));
  cr_expect(!release_fast(NULL));
  cr_expect(!release_fast((void *)heap.base));
  cr_expect(!release_fast((void *)(heap.base + GIB)));
  cr_expect(!release_fast((void *)(heap.base - 16)));
  cr_expect(release_fast(object));
  cr_expect(!release_fast(object), "freed");
  void *quarantined = allocate(100, NULL);
  *state_at((uintptr_t)quarantined) = STATE_QUARANTINED;
  cr_expect(!release_fast(quarantined));
  *state_at((uintptr_t)quarantined) = STATE_LIVE | STATE_PINNED;
  cr_expect(!release_fast(quarantined));
}

Test(allocate, the_fast_free_refuses_an_address_where_the_heap_has_not_grown_to) {
  allocate(100, NULL);
  cr_expect(!release_fast((void *)(heap.base + GIB - 16)));
}

Test(allocate, the_fast_look_at_a_size_knows_live_cells_alone) {
  for (size_t size = 0; size < SMALL_LIMIT; size += 61) {
    struct cell cell = {0};
    char *object = allocate(size, NULL);
    cr_assert(object_find(object, &cell));
    cr_assert_eq(cell_size_fast(object), cell.page->size);
    cr_expect_eq(cell_size_fast(object + 1), 0);
    for (size_t at = GRANULE; at < cell.page->size; at += GRANULE)
      cr_assert_eq(cell_size_fast(object + at), 0, "%zu of %zu", at, size);
    *state_at((uintptr_t)object) = STATE_LIVE | STATE_PINNED;
    cr_expect_eq(cell_size_fast(object), 0);
    *state_at((uintptr_t)object) = STATE_LIVE;
    release(object);
    cr_assert_eq(cell_size_fast(object), 0, "freed");
  }
  int here;
  cr_expect_eq(cell_size_fast(NULL), 0);
  cr_expect_eq(cell_size_fast(&here), 0);
  cr_expect_eq(cell_size_fast(allocate(SMALL_LIMIT, NULL)), 0, "a large object");
  cr_expect_eq(cell_size_fast((void *)(heap.base + GIB - GRANULE)), 0, "not committed");
}

Test(allocate, fast_and_slow_paths_together_keep_every_object) {
  enum { SLOTS = 4000 };
  static struct {
    uint32_t *object;
    size_t size;
  } slots[SLOTS];
  uint64_t seed = 41;
  for (int i = 0; i < 400000; i++) {
    size_t s = unit_below(&seed, SLOTS);
    if (slots[s].object) {
      uint32_t *words = slots[s].object;
      if (words[0] != s || words[slots[s].size / 4 - 1] != s) cr_assert_fail("slot %zu", s);
      if (!release_fast(words) && release(words) != RELEASED) cr_assert_fail("slot %zu", s);
      slots[s].object = NULL;
    } else {
      size_t size = 8 + unit_below(&seed, unit_below(&seed, 50) ? 600 : 100000);
      uint32_t *words = allocate_fast(size);
      if (!words) words = allocate(size, NULL);
      if (!words) cr_assert_fail("out of memory");
      words[0] = words[size / 4 - 1] = (uint32_t)s;
      slots[s].object = words;
      slots[s].size = size;
    }
  }
  for (size_t s = 0; s < SLOTS; s++)
    if (slots[s].object) cr_assert_eq(release(slots[s].object), RELEASED);
  thread_detach();
  mutator_orphan(mutator_adopt());
  cr_expect_eq(page_heap_counts.used, 0);
}

/* --- where the thread's own mutator must not be used ------------------------------------------ */

Test(allocate, inside_its_own_slow_path) {
  void *first = allocate(100, NULL);
  struct mutator *mine = self.real;
  uint32_t waiting = mine->buffers[size_class_of(100)].count;
  mine->busy = 1; /* as in a handler that interrupted a refill and passed no gate */
  void *second = allocate(100, NULL);
  expect_object(second, 100, GRANULE);
  cr_expect_neq(first, second);
  cr_expect_eq(release(first), RELEASED);
  cr_expect_eq(mine->buffers[size_class_of(100)].count, waiting, "its buffers were left alone");
  cr_expect_eq(mine->busy, 1);
  mine->busy = 0;
  cr_expect_eq(release(second), RELEASED);
}

static void *after_the_end(void *unused) {
  (void)unused;
  void *before = allocate(100, NULL);
  thread_detach();
  if (allocate_fast(100)) return "a fast path after the end";
  void *object = allocate(100, NULL), *large = allocate(100000, NULL);
  if (!object || !large || object == before) return "no object";
  if (self.thread) return "attached again";
  if (release(object) != RELEASED || release(before) != RELEASED) return "not freed";
  if (release(large) != RELEASED || release(large) != RELEASE_NOT_LIVE) return "not freed once";
  return NULL;
}

Test(allocate, after_the_end_of_a_thread) {
  pthread_t thread;
  void *complaint;
  pthread_create(&thread, NULL, after_the_end, NULL);
  pthread_join(thread, &complaint);
  cr_expect_null(complaint, "%s", (char *)complaint);
  mutator_bequeath();
  cr_expect_eq(page_heap_counts.used, 0);
}
