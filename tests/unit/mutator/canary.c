/* canary.c: the pattern in the slack of a block: which change of it is found, what is remembered of
   a block's size, and that no word of it looks like a pointer. Who asks and what is reported is for
   preload/hardening. */
#include "tests/unit/unit.h"

#include "mutator/canary.h"

static void start_with(bool strip) {
  options_default(&options);
  options.canary = true;
  options.strip_high_bits = strip;
  cr_assert(heap_init(GIB, NULL));
  canary_start();
  mutator_init();
}
static void start(void) { start_with(false); }

TestSuite(canary, .init = start, .timeout = 60);

static uint8_t *make(size_t size, struct cell *cell) {
  uint8_t *object = allocate(size, NULL);
  cr_assert(object && object_find(object, cell));
  canary_set(cell->address, cell->page->size, size);
  return object;
}

static bool is_whole(const struct cell *cell) {
  struct canary_change change;
  return canary_check(cell->address, cell->page->size, &change);
}

static const size_t sizes[] = {0,    1,    8,     15,    16,    17,    31,     100,   127,
                               1000, 1024, 28672, 30001, 32767, 32768, 100000, 131071};
enum { SIZES = sizeof sizes / sizeof *sizes };

Test(canary, remembers_what_was_asked_for) {
  struct cell cell = {0};
  for (size_t i = 0; i < SIZES; i++) {
    uint8_t *object = make(sizes[i], &cell);
    cr_expect_eq(cell_usable(&cell), sizes[i]);
    cr_expect(is_whole(&cell));
    memset(object, 'x', sizes[i]);
    cr_expect(is_whole(&cell), "what the program may write is none of it");
    cr_expect_eq(release(object), RELEASED);
  }
}

Test(canary, of_an_aligned_block_with_a_lot_of_slack) {
  struct cell cell = {0};
  for (size_t alignment = 32; alignment <= 4 * HEAP_PAGE; alignment *= 2) {
    uint8_t *object = allocate_aligned(alignment, 1, NULL);
    cr_assert(object_find(object, &cell));
    canary_set(cell.address, cell.page->size, 1);
    cr_expect_eq(cell_usable(&cell), 1);
    cr_expect(is_whole(&cell));
    object[cell.page->size - 1] ^= 1;
    cr_expect(!is_whole(&cell), "%zu", alignment);
  }
}

Test(canary, any_byte_behind_a_block_is_missed) {
  struct canary_change change;
  struct cell cell = {0};
  for (size_t i = 0; i < SIZES; i++) {
    uint8_t *object = make(sizes[i], &cell);
    size_t size = cell.page->size;
    for (size_t at = sizes[i]; at < size; at += at < sizes[i] + 40 || at + 40 > size ? 1 : 37) {
      for (unsigned value = 0; value < 256; value += value < 128 ? 1 : 13) {
        uint8_t before = object[at];
        cr_assert(before & 0x80, "no letter and no zero stands there");
        object[at] = (uint8_t)value;
        bool whole = canary_check(cell.address, size, &change);
        cr_assert_eq(whole, value == before, "byte %zu of %zu", at, sizes[i]);
        if (whole) continue;
        cr_assert_eq(change.request, sizes[i]);
        cr_assert_eq(change.at, at);
        cr_assert(is_whole(&cell), "one is told");
        cr_assert_eq(cell_usable(&cell), size - 1, "nothing is known any more");
        object[at] = before;
        canary_set(cell.address, size, sizes[i]);
      }
    }
  }
}

Test(canary, all_that_lies_behind_is_missed) {
  struct canary_change change;
  struct cell cell = {0};
  for (size_t i = 0; i < SIZES; i++) {
    uint8_t *object = make(sizes[i], &cell);
    memset(object + sizes[i], 0, cell.page->size - sizes[i]);
    cr_assert(!canary_check(cell.address, cell.page->size, &change));
    cr_expect_eq(change.at, sizes[i]);
  }
}

Test(canary, moves_with_the_end_of_its_block) {
  struct cell cell = {0};
  uint8_t *object = make(100, &cell);
  for (size_t size = 0; size < cell.page->size; size++) {
    memset(object, 'x', cell_usable(&cell));
    size_t old = cell_usable(&cell);
    canary_move(cell.address, cell.page->size, size);
    cr_expect_eq(cell_usable(&cell), size);
    cr_expect(is_whole(&cell));
    for (size_t at = 0; at < size; at++) cr_expect_eq(object[at], at < old ? 'x' : 0);
  }
  canary_wipe(cell.address, cell.page->size);
  cr_expect_eq(object[cell.page->size - 1], 0, "nothing is left of it");
  cr_expect_eq(cell_usable(&cell), cell.page->size - 1);
}

Test(canary, a_block_of_which_nothing_is_known_is_whole) {
  struct cell cell = {0};
  uint8_t *object = allocate(100, NULL);
  cr_assert(object_find(object, &cell));
  cr_expect(is_whole(&cell));
  cr_expect_eq(cell_usable(&cell), cell.page->size - 1);
  canary_set(cell.address, cell.page->size, 50);
  object[50] = 'x';
  canary_forget(cell.address, cell.page->size);
  cr_expect(is_whole(&cell));
}

/* Cells of one granule between others of two: an entry is two bytes of the latter alone. */
Test(canary, entries_of_neighbours_are_their_own) {
  enum { COUNT = 3000 };
  static struct cell cells[COUNT];
  for (int turn = 0; turn < 2; turn++) {
    for (size_t i = 0; i < COUNT; i++) make(i % 40, &cells[i]);
    for (size_t i = 0; i < COUNT; i++) {
      cr_assert_eq(cell_usable(&cells[i]), i % 40);
      canary_wipe(cells[i].address, cells[i].page->size);
    }
    for (size_t i = 0; i < COUNT; i++) {
      cr_assert_eq(cell_usable(&cells[i]), cells[i].page->size - 1);
      cr_assert_eq(release((void *)cells[i].address), RELEASED);
    }
    mutator_trim(self.real);
  }
}

static uintptr_t stripped(uintptr_t word) {
  return word & (((uintptr_t)1 << PORT_ADDRESS_BITS) - 1);
}

/* At every step of a scan: words of the pattern, and words that end in it. */
static void expect_no_pointer(bool strip) {
  struct cell cell = {0};
  for (size_t i = 0; i < 3000; i++) {
    uint8_t *object = make(1024 + i % 200, &cell);
    memset(object, 0, cell_usable(&cell));
    for (size_t at = 1000; at + 8 <= cell.page->size; at++) {
      uintptr_t word;
      memcpy(&word, object + at, sizeof word);
      cr_assert(!heap_holds(word) && (!word || word >> PORT_ADDRESS_BITS));
      bool inside = at >= cell_usable(&cell);
      if (strip && inside) cr_assert(!heap_holds(stripped(word)), "%zx", word);
    }
  }
}
Test(canary, no_word_of_it_is_an_address) { expect_no_pointer(false); }
Test(stripped_canary, no_word_of_it_is_an_address_but_for_its_top, .timeout = 60) {
  start_with(true);
  expect_no_pointer(true);
}

Test(canary, differs_by_address_and_process) {
  struct cell one, two;
  uint8_t *a = make(32, &one), *b = make(32, &two);
  cr_expect(memcmp(a + 32, b + 32, 16) != 0);
  uint8_t before[16];
  memcpy(before, a + 32, sizeof before);
  canary_start();
  canary_set(one.address, one.page->size, 32);
  cr_expect(memcmp(a + 32, before, sizeof before) != 0);
}
