/* quarantine.c: what free() does under free=quarantine: the state byte and the pages of large
   objects. When the cells come back is for the sweep and the cycle to test. */
#include "tests/unit/unit.h"

#include <unistd.h>

#include "mutator/quarantine.h"

TestSuite(quarantine, .init = unit_start_heap, .timeout = 60);

static void *make(size_t size) {
  void *object = allocate(size, NULL);
  cr_assert(object);
  return memset(object, 0x33, size);
}

static uint8_t state_of(const void *object) { return *state_at((uintptr_t)object); }

static bool quarantine_slowly(void *object) {
  struct cell cell;
  return cell_of((uintptr_t)object, &cell) && quarantine(&cell);
}

Test(quarantine, a_block_is_quarantined_once_and_stays_as_it_is) {
  static const size_t sizes[] = {1, 40, 1000, 5000, 32767};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    for (int slowly = 0; slowly < 2; slowly++) {
      uint8_t *object = make(sizes[s]);
      cr_assert(slowly ? quarantine_slowly(object) : quarantine_fast(object));
      cr_assert_eq(state_of(object), STATE_QUARANTINED);
      cr_assert(!quarantine_fast(object) && !quarantine_slowly(object));
      for (size_t b = 0; b < sizes[s]; b++) cr_assert_eq(object[b], 0x33);
      for (int i = 0; i < 3000; i++) cr_assert_neq(make(sizes[s]), object);
    }
  }
}

Test(quarantine, a_block_in_use_keeps_its_memory) {
  static const size_t sizes[] = {40, 5000, 40000, 3 << 20};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    uint8_t *object = make(sizes[s]);
    struct cell cell;
    cr_assert(cell_of((uintptr_t)object, &cell) && quarantine_in_use(&cell));
    cr_assert(!quarantine_in_use(&cell) && !quarantine(&cell));
    cr_assert_eq(state_of(object), STATE_QUARANTINED);
    for (size_t b = 0; b < sizes[s]; b++) cr_assert_eq(object[b], 0x33);
  }
}

Test(quarantine, what_lies_inside_a_block_takes_the_long_way) {
  for (size_t size = 0; size < SMALL_LIMIT; size = size * 5 / 4 + 1) {
    char *object = make(size);
    for (size_t at = 1; at <= size; at++)
      cr_assert(!quarantine_fast(object + at), "%zu of %zu", at, size);
    cr_assert(quarantine_fast(object));
  }
}

Test(quarantine, what_is_no_plain_object_takes_the_long_way) {
  char *object = make(100), *large = make(100000);
  int local;
  void *const others[] = {NULL,
                          &local,
                          object + 1,
                          object + 16,
                          large,
                          (char *)heap.base,
                          (char *)heap.base + heap.size - GRANULE};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    cr_expect(!quarantine_fast(others[i]), "%zu", i);
  *state_at((uintptr_t)object) = STATE_LIVE | STATE_PINNED;
  cr_expect(!quarantine_fast(object));
  cr_expect(quarantine_slowly(object));
  cr_expect_eq(state_of(object), STATE_QUARANTINED, "and is pinned no more");
}

Test(quarantine, what_is_quarantined_is_counted_in_bytes) {
  enum { COUNT = 3000 };
  static void *objects[COUNT];
  for (int i = 0; i < COUNT; i++) objects[i] = make(i % 3 ? 100 : 1000);
  size_t before = quarantine_bytes, untold = self.quarantined, bytes = 0;
  for (int i = 0; i < COUNT; i++) {
    cr_assert(i % 2 ? quarantine_slowly(objects[i]) : quarantine_fast(objects[i]));
    cr_assert(!quarantine_fast(objects[i]), "and it is counted once");
    struct cell cell = {0};
    cr_assert(cell_of((uintptr_t)objects[i], &cell));
    bytes += cell.page->size;
  }
  cr_expect_eq(quarantine_bytes + self.quarantined - before - untold, bytes);
  cr_expect_lt(self.quarantined, QUARANTINE_TOLD);
  before = quarantine_bytes + self.quarantined;
  cr_assert(quarantine_slowly(make(16 << 20)));
  size_t large = quarantine_bytes + self.quarantined - before;
  cr_expect(large >= 1 << 20 && large < 2 << 20, "its memory is back: a sixteenth");
}

Test(quarantine, large_objects_give_their_memory_back_at_once) {
  uint8_t *small = make(100000), *large = make(3000000);
  struct cell cell;
  cr_assert(cell_of((uintptr_t)large, &cell));
  size_t pages = (cell.page->size + HEAP_PAGE - 1) / HEAP_PAGE, filled = page_heap_filled();
  cr_assert(quarantine_slowly(small) && quarantine_slowly(large));
  cr_expect_gt(unit_resident(small, 98304), 20);
  cr_expect_eq(unit_resident(large, 3000000), 0);
  for (size_t b = 0; b < 3000000; b += 999) cr_assert_eq(large[b], 0);
  cr_expect_eq(page_heap_counts.emptied, pages);
  cr_expect_lt(page_heap_filled(), filled, "and do not hasten the next collection as much");
  page_heap_release_large(cell.page);
  cr_expect_eq(page_heap_counts.emptied, 0);
  bool zero = false;
  uint8_t *again = (uint8_t *)page_address(page_heap_large(3000000, GRANULE, &zero));
  for (size_t b = 0; zero && b < 3000000; b += 999) cr_assert_eq(again[b], 0);
}

static bool is_readable(const void *at) {
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  bool readable = write(ends[1], at, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return readable;
}

Test(quarantine, where_freed_blocks_are_to_fault_all_large_ones_do) {
  static const size_t sizes[] = {33000, 68000, 200000, 300000};
  options.freed = FREED_FAULT;
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    char *before = make(sizes[s]), *object = make(sizes[s]), *behind = make(sizes[s]);
    cr_assert(quarantine_slowly(object));
    for (size_t b = 0; b < sizes[s]; b += 1000) cr_assert(!is_readable(object + b), "%zu", b);
    cr_expect(is_readable(before + sizes[s] - 1) && is_readable(behind));
  }
  size_t filled = page_heap_filled();
  for (int i = 0; i < 3000; i++) cr_assert(quarantine_slowly(make(40000)));
  cr_expect_gt(page_heap_filled(), filled + 3000 * KERNEL_PAGE / HEAP_PAGE / 2,
               "or no cycle comes");
  char *small = make(32000);
  cr_assert(quarantine_slowly(small));
  cr_expect(is_readable(small));
  options.check = CHECK_POISON;
  char *object = make(100000);
  cr_assert(quarantine_slowly(object));
  cr_expect(is_readable(object), "a collection looks at its contents");
}

/* --- of two threads that free a block at once, one is told --------------------------------------
 */

enum { BLOCKS = 200000 };
static void *blocks[BLOCKS];
static int won;
static pthread_barrier_t barrier;

static void *race(void *unused) {
  int mine = 0;
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < BLOCKS; i++) mine += quarantine_fast(blocks[i]);
  atomic_add(&won, mine);
  return unused;
}

Test(quarantine, threads_that_race_win_each_block_once) {
  for (int i = 0; i < BLOCKS; i++) blocks[i] = make(20);
  pthread_t other;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_create(&other, NULL, race, NULL);
  race(NULL);
  pthread_join(other, NULL);
  cr_expect_eq(won, BLOCKS);
}
