/* sweep.c: the flip and the sweep. Mark bits are set by hand; the world of these tests is one
   thread, or threads that wait while the flip runs. */
#include "tests/unit/step.h"

#include "collect/mark.h"
#include "collect/sweep.h"
#include "mutator/canary.h"
#include "report/report.h"

static void start(void) {
  unit_start_heap();
  sweep_init();
}

TestSuite(sweep, .init = start, .timeout = 60);

static const struct sweep_policy take_all = {.live = true, .quarantined = true};

static bool is_marked(const void *object) {
  struct cell cell;
  if (!cell_of((uintptr_t)object, &cell)) return false;
  return page_marked(cell.page)[cell.index / 64] >> (cell.index % 64) & 1;
}

static void set_marked(const void *object) {
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  page_marked(cell.page)[cell.index / 64] |= 1ull << (cell.index % 64);
}

static bool is_allocated(const void *object) {
  struct cell cell;
  if (!cell_of((uintptr_t)object, &cell)) return false;
  return page_allocated(cell.page)[cell.index / 64] >> (cell.index % 64) & 1;
}

static void *make(size_t size, unsigned extra_state) {
  void *object = allocate(size, NULL);
  cr_assert(object);
  *state_at((uintptr_t)object) |= (uint8_t)extra_state;
  return object;
}

static void expect_no_marks(void) {
  for (size_t i = 1; i < heap.top; i++)
    for (size_t w = 0; w < PAGE_WORDS; w++)
      if (heap.marked[i][w]) cr_assert_fail("a bit stands in page %zu, word %zu", i, w);
}

Test(sweep, what_was_not_reached_dies_and_the_rest_lives) {
  enum { COUNT = 20000 };
  static void *objects[COUNT];
  uint64_t dead = 0, dead_bytes = 0;
  for (int i = 0; i < COUNT; i++) {
    objects[i] = make(i % 200 ? (size_t)i % 3000 : 100000, 0);
    struct cell cell = {0};
    cell_of((uintptr_t)objects[i], &cell);
    if (i % 3) {
      dead++;
      dead_bytes += cell.page->size;
    } else {
      set_marked(objects[i]);
    }
  }
  struct sweep_counts counts = sweep_flip(&take_all);
  cr_expect_eq(counts.dead_objects, dead);
  cr_expect_eq(counts.dead_bytes, dead_bytes);
  cr_expect_eq(counts.kept_objects, 0);
  sweep_rest();
  for (int i = 0; i < COUNT; i++) {
    if (i % 3 == 0) cr_assert(unit_is_live(objects[i]) && is_allocated(objects[i]));
    else cr_assert(!unit_is_live(objects[i]) && !is_allocated(objects[i]));
  }
  expect_no_marks();
  counts = sweep_flip(&take_all); /* nothing is marked any more: the second mark found nothing */
  cr_expect_eq(counts.dead_objects, COUNT - dead);
  sweep_rest();
  thread_detach();
  mutator_orphan(mutator_adopt());
  cr_expect_eq(page_heap_counts.used, 0, "all memory is back");
}

Test(sweep, cells_that_wait_are_neither_swept_nor_counted) {
  enum { COUNT = 500 };
  static void *objects[COUNT];
  for (int i = 0; i < COUNT; i++) objects[i] = make(100, 0);
  for (int i = 0; i < COUNT; i++) release(objects[i]);
  size_t waiting = mutator_buffered_bytes();
  cr_assert(waiting > 0);
  struct sweep_counts counts = sweep_flip(&take_all);
  cr_expect_eq(counts.dead_objects + counts.kept_objects, 0);
  sweep_rest();
  cr_expect_eq(mutator_buffered_bytes(), waiting);
  static void *again[COUNT];
  for (int i = 0; i < COUNT; i++) {
    again[i] = make(100, 0);
    for (int j = 0; j < i; j++) cr_assert_neq(again[i], again[j]);
  }
}

Test(sweep, objects_made_between_flip_and_sweep_live) {
  enum { COUNT = 5000 };
  static void *fresh[COUNT];
  for (int i = 0; i < COUNT; i++) make(100, 0);
  sweep_flip(&take_all);
  for (int i = 0; i < COUNT; i++) fresh[i] = make(i % 100 ? 100 : 90000, 0);
  sweep_rest();
  for (int i = 0; i < COUNT; i++) cr_assert(unit_is_live(fresh[i]));
  expect_no_marks();
}

/* Pages that are wholly in use stand in no list; the others are swept when their turn comes. */
Test(sweep, a_thread_that_allocates_sweeps_for_itself) {
  enum { COUNT = 20000 };
  static void *objects[COUNT];
  for (int i = 0; i < COUNT; i++) objects[i] = make(100, 0);
  for (int i = 0; i < COUNT; i += 4) release(objects[i]);
  size_t before = page_heap_counts.used;
  cr_expect_eq(sweep_flip(&take_all).dead_objects, COUNT * 3 / 4);
  for (int i = 0; i < COUNT * 3 / 4; i++) make(100, 0);
  cr_expect(page_heap_counts.used <= before + 2, "%zu pages became %zu", before,
            page_heap_counts.used);
  sweep_rest();
}

Test(sweep, a_cancelled_marking_leaves_no_mark) {
  void *objects[200];
  for (int i = 0; i < 200; i++) {
    objects[i] = make(i % 10 ? 100 : 70000, 0);
    set_marked(objects[i]);
  }
  heap.pages[page_first(((uintptr_t)objects[0] - heap.base) >> HEAP_PAGE_SHIFT)].rescan = 1;
  sweep_cancel();
  expect_no_marks();
  for (size_t i = 1; i < heap.top; i++) cr_expect_eq(heap.pages[i].rescan, 0);
  for (int i = 0; i < 200; i++) cr_expect(unit_is_live(objects[i]));
}

/* --- policies --------------------------------------------------------------------------------- */

Test(sweep, live_objects_stay_without_reclaim) {
  void *live = make(100, 0), *large = make(100000, 0), *quarantined = make(100, 0);
  *state_at((uintptr_t)quarantined) = STATE_QUARANTINED;
  struct sweep_policy policy = {.live = false, .quarantined = true};
  struct sweep_counts counts = sweep_flip(&policy);
  cr_expect_eq(counts.dead_objects, 1);
  cr_expect_eq(counts.kept_objects, 2);
  cr_expect_eq(counts.kept_bytes, 112 + round_up(100001, KERNEL_PAGE));
  sweep_rest();
  cr_expect(unit_is_live(live) && unit_is_live(large));
  cr_expect(!is_allocated(quarantined));
  cr_expect_eq(*state_at((uintptr_t)quarantined), STATE_NONE);
}

Test(sweep, quarantined_objects_stay_while_a_pointer_is_left) {
  void *reached = make(100, 0), *unreached = make(100, 0), *large = make(100000, 0);
  *state_at((uintptr_t)reached) = *state_at((uintptr_t)unreached) = *state_at((uintptr_t)large) =
      STATE_QUARANTINED;
  set_marked(reached);
  struct sweep_policy policy = {.live = true, .quarantined = false};
  cr_expect_eq(sweep_flip(&policy).kept_objects, 2, "unless the policy takes them");
  sweep_rest();
  set_marked(reached);
  cr_expect_eq(sweep_flip(&take_all).dead_objects, 2);
  sweep_rest();
  cr_expect(is_allocated(reached) && !is_allocated(unreached) && !is_allocated(large));
}

Test(sweep, pinned_objects_stay) {
  void *pinned = make(100, STATE_PINNED), *large = make(100000, STATE_PINNED);
  cr_expect_eq(sweep_flip(&take_all).kept_objects, 2);
  sweep_rest();
  cr_expect(unit_is_live(pinned) && unit_is_live(large));
}

Test(sweep, injected_leaks_are_counted_when_they_come_back) {
  void *reached = make(100, STATE_DROPPED);
  make(100, STATE_DROPPED);
  make(100000, STATE_DROPPED);
  make(100, 0);
  set_marked(reached);
  struct sweep_counts counts = sweep_flip(&take_all);
  cr_expect_eq(counts.recovered, 2);
  cr_expect_eq(counts.dead_objects, 3);
  sweep_rest();
}

static void fill_and_sweep(struct sweep_policy policy, uint8_t expected) {
  static const size_t sizes[] = {10, 100, 5000, 2000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    uint8_t *dead = make(sizes[i], 0), *live = make(sizes[i], 0);
    memset(dead, 0x33, sizes[i]);
    memset(live, 0x44, sizes[i]);
    set_marked(live);
    sweep_flip(&policy);
    sweep_rest();
    for (size_t b = 0; b < sizes[i]; b++) {
      cr_assert_eq(dead[b], expected, "byte %zu of %zu", b, sizes[i]);
      cr_assert_eq(live[b], 0x44, "byte %zu of %zu", b, sizes[i]);
    }
    release(live);
  }
}

Test(sweep, what_is_freed_is_zero_so_that_it_keeps_no_other_garbage) {
  fill_and_sweep((struct sweep_policy){.live = true}, 0);
}
Test(sweep, or_poison) {
  fill_and_sweep((struct sweep_policy){.live = true, .poison = true}, 0xdb);
}

Test(sweep, what_the_program_freed_keeps_no_other_either) {
  static const size_t sizes[] = {10, 100, 500, 5000, 32000, 100000};
  static const struct sweep_policy policy = {.quarantined = true};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    uint8_t *freed = make(sizes[i], 0), *kept = make(sizes[i], 0), *live = make(sizes[i], 0);
    memset(freed, 0x33, sizes[i]);
    memset(kept, 0x44, sizes[i]);
    memset(live, 0x55, sizes[i]);
    *state_at((uintptr_t)freed) = *state_at((uintptr_t)kept) = STATE_QUARANTINED;
    set_marked(kept);
    sweep_flip(&policy);
    sweep_rest();
    uint8_t expected = sizes[i] < SMALL_LIMIT ? 0 : 0x33; /* a large one's is left as it is */
    for (size_t b = 0; b < sizes[i]; b++) {
      cr_assert_eq(freed[b], expected, "byte %zu of %zu", b, sizes[i]);
      cr_assert_eq(kept[b], 0x44, "byte %zu of %zu", b, sizes[i]);
      cr_assert_eq(live[b], 0x55, "byte %zu of %zu", b, sizes[i]);
    }
  }
}

/* To give it back would cost a page fault for each page, where the next who gets it fills it. */
Test(sweep, a_block_of_less_than_a_mebibyte_is_zeroed_where_it_is) {
  enum { SIZE = 100000 };
  static const struct sweep_policy policy = {.quarantined = true};
  options.zero = true;
  uint8_t *freed = make(SIZE, 0);
  memset(freed, 0x33, SIZE);
  *state_at((uintptr_t)freed) = STATE_QUARANTINED;
  sweep_flip(&policy);
  sweep_rest();
  cr_expect_eq(unit_resident(freed, SIZE), SIZE / KERNEL_PAGE);
  for (size_t b = 0; b < SIZE; b++) cr_assert_eq(freed[b], 0, "byte %zu", b);
}

/* Cells of up to 64 bytes are claimed several at a time. */
Test(sweep, each_small_cell_meets_its_own_fate) {
  enum { COUNT = 9000 };
  static uint8_t *objects[COUNT], fates[COUNT]; /* 0 dead, 1 reached, 2 dead, yet freed */
  static const size_t sizes[] = {1, 17, 33, 49, 65, 100, 120, 200, 250, 500, 1000, 1500};
  uint64_t seed = 71;
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    for (int round = 0; round < 4; round++) {
      for (int i = 0; i < COUNT; i++) {
        objects[i] = make(sizes[s], 0);
        memset(objects[i], 0x33, sizes[s]);
        size_t of = (size_t)round * 30; /* all dead at first, then fewer */
        fates[i] = unit_below(&seed, 100) < of ? 1 : unit_below(&seed, 50) == 0 ? 2 : 0;
        if (fates[i] == 1) set_marked(objects[i]);
      }
      sweep_flip(&take_all);
      for (int i = 0; i < COUNT; i++)
        if (fates[i] == 2) cr_assert_eq(release(objects[i]), RELEASED);
      sweep_rest();
      for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(unit_is_live(objects[i]), fates[i] == 1, "%d of size %zu", i, sizes[s]);
        if (fates[i] == 0) cr_assert(!is_allocated(objects[i]), "%d of size %zu", i, sizes[s]);
        if (fates[i] == 1) cr_assert(*objects[i] == 0x33 && objects[i][sizes[s] - 1] == 0x33);
        if (fates[i] == 1) release(objects[i]);
      }
      expect_no_marks();
    }
  }
}

enum { CELLS = 2048 };
static struct {
  struct page *page;
  void *old[2 * CELLS];          /* of 32 bytes, in that page or not */
  uint8_t *new[HEAP_PAGE / 256]; /* of 256, in the same page later */
  int new_count;
} change;

static bool is_begun(void) { return page_allocated(change.page)[1] != ~0ull; }

/* The program frees what is dead, whose pointers it had hidden, and gets the page for other cells.
 */
static void free_the_dead(void) {
  for (int i = 0; i < 2 * CELLS; i++)
    if (unit_page_of(change.old[i]) == change.page) release(change.old[i]);
  allocate_trim(true);
  cr_assert_eq(change.page->cells, 0, "the page was released");
  for (int i = 0; i < CELLS; i++) {
    uint8_t *object = memset(make(250, 0), 0x55, 250);
    if (unit_page_of(object) == change.page) change.new[change.new_count++] = object;
  }
  cr_assert_gt(change.new_count, 200);
}

Test(sweep, a_page_that_changes_its_class_meanwhile) {
  static void *others[CELLS];
  int kept = 0;
  change.old[0] = make(20, 0);
  change.page = unit_page_of(change.old[0]);
  for (int i = 0; i < CELLS; i++) others[i] = make(250, 0); /* dead ones behind it */
  cr_assert_eq(unit_page_of(others[0]), change.page + 1);
  for (int i = 1; i < 2 * CELLS; i++) change.old[i] = make(20, 0); /* and another is current */
  set_marked(change.old[5]);                                       /* not all of it is garbage */
  sweep_flip(&take_all);
  cr_assert(step_through(sweep_rest, is_begun, free_the_dead));
  for (int i = 0; i < change.new_count; i++)
    for (int b = 0; b < 250; b++) cr_assert_eq(change.new[i][b], 0x55, "%d, %d", i, b);
  for (int i = 0; i < CELLS; i++) kept += is_allocated(others[i]);
  cr_expect_leq(kept, change.new_count, "all dead ones are free: %d are not", kept);
}

static size_t unwiped_pages(void) {
  size_t count = 0;
  for (size_t i = 1; i < heap.top; i++) count += heap.pages[i].unwiped;
  return count;
}

static void leave_unwiped_pages(size_t size) {
  for (int i = 0; i < 40000; i++) memset(make(size, 0), 0x33, size);
  sweep_flip(&take_all);
  sweep_rest();
  cr_assert_gt(unwiped_pages(), 5);
}

Test(sweep, pages_of_nothing_but_garbage_are_wiped_before_they_are_used_again) {
  static const size_t sizes[] = {20, 100, 2000};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    leave_unwiped_pages(30);
    size_t used = page_heap_counts.used;
    for (int i = 0; i < 5000; i++) {
      uint8_t *object = make(sizes[s], 0);
      for (size_t b = 0; b < sizes[s]; b++) cr_assert_eq(object[b], 0);
      memset(object, 0x33, sizes[s]);
    }
    cr_assert_gt(page_heap_counts.used, used);
  }
}

Test(sweep, a_large_object_holds_no_garbage_either) {
  for (int round = 0; round < 3; round++) {
    leave_unwiped_pages(30);
    uint8_t *object = round ? make(300000, 0) : allocate_growing(300000);
    for (size_t b = 0; b < 300000; b++) cr_assert_eq(object[b], 0);
    struct cell cell;
    cr_assert(cell_of((uintptr_t)object, &cell));
    if (resize_in_place(&cell, 500000))
      for (size_t b = 0; b < 500000; b++) cr_assert_eq(object[b], 0);
    memset(object, 0x33, 300000);
  }
}

Test(sweep, what_is_unwiped_and_given_back_is_not_wiped_once_more) {
  leave_unwiped_pages(30);
  page_heap_purge(0);
  cr_expect_eq(unwiped_pages(), 0);
}

static int condemned_times[3];
static void note_condemned(uintptr_t address, size_t size, enum condemned condemned) {
  cr_assert(address % GRANULE == 0 && size >= 16);
  condemned_times[condemned]++;
}

Test(sweep, condemned_objects_are_never_used_again) {
  const struct sweep_policy condemn = {.live = true, .quarantined = true, .condemn = true};
  sweep_condemned = note_condemned;
  void *dead = make(100, 0), *large = make(100000, STATE_DROPPED), *live = make(100, 0);
  set_marked(live);
  struct sweep_counts counts = sweep_flip(&condemn);
  cr_expect_eq(counts.dead_objects, 2);
  cr_expect_eq(counts.condemned, 2);
  cr_expect_eq(counts.recovered, 1);
  sweep_rest();
  cr_expect_eq(condemned_times[CONDEMNED_NOW], 2);
  cr_expect_eq(*state_at((uintptr_t)dead), STATE_LIVE | STATE_CONDEMNED);
  cr_expect(is_allocated(dead) && is_allocated(large));
  for (int i = 0; i < 3000; i++) cr_assert_neq(make(100, 0), dead);
  expect_no_marks();
}

Test(sweep, a_condemned_object_that_is_reached_again_is_revived) {
  const struct sweep_policy condemn = {.live = true, .quarantined = true, .condemn = true};
  sweep_condemned = note_condemned;
  void *object = make(100, 0), *other = make(100, 0);
  sweep_flip(&condemn);
  set_marked(object);
  struct sweep_counts counts = sweep_flip(&condemn);
  cr_expect_eq(counts.revived, 1);
  cr_expect_eq(counts.condemned, 1, "the other one still is");
  cr_expect_eq(counts.dead_objects, 0, "but not anew");
  cr_expect_eq(condemned_times[CONDEMNED_NOW], 2);
  cr_expect_eq(condemned_times[CONDEMNED_STILL], 1);
  cr_expect_eq(condemned_times[CONDEMNED_NO_MORE], 1);
  cr_expect_eq(*state_at((uintptr_t)object), STATE_LIVE);
  cr_expect_eq(*state_at((uintptr_t)other), STATE_LIVE | STATE_CONDEMNED);
}

/* --- confirmation ----------------------------------------------------------------------------- */

static struct sweep_counts flip_and_sweep(struct sweep_policy policy) {
  struct sweep_counts counts = sweep_flip(&policy);
  sweep_rest();
  return counts;
}

Test(sweep, an_object_dies_when_as_many_marks_as_wanted_missed_it) {
  for (unsigned confirm = 0; confirm <= 7; confirm++) {
    void *small = make(100, 0), *large = make(100000, STATE_DROPPED);
    const size_t bytes = 112 + round_up(100001, KERNEL_PAGE);
    struct sweep_policy policy = {.live = true, .confirm = confirm};
    for (unsigned cycle = 1; cycle < confirm; cycle++) {
      struct sweep_counts counts = flip_and_sweep(policy);
      cr_expect_eq(counts.dead_objects + counts.recovered, 0);
      cr_expect_eq(counts.suspect_bytes, bytes);
      cr_expect_eq(counts.kept_objects, 0);
      cr_assert(unit_is_live(small) && unit_is_live(large));
      cr_expect_eq(state_suspected(*state_at((uintptr_t)small)), cycle);
    }
    struct sweep_counts counts = flip_and_sweep(policy);
    cr_expect_eq(counts.dead_objects, 2, "confirm %u", confirm);
    cr_expect_eq(counts.dead_bytes, bytes);
    cr_expect_eq(counts.suspect_bytes, 0);
    cr_expect_eq(counts.recovered, 1);
    cr_expect(!is_allocated(small) && !is_allocated(large));
    cr_expect_eq(*state_at((uintptr_t)small), STATE_RECLAIMED);
  }
}

Test(sweep, what_was_taken_back_is_no_object) {
  const struct sweep_policy policy = {.live = true, .confirm = 1};
  static const size_t wanted[] = {8, 20, 50, 100}; /* the first three are claimed several at once */
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    void *object = make(wanted[i], 0);
    struct cell cell;
    flip_and_sweep(policy);
    cr_assert_eq(object_find(object, &cell), STATE_RECLAIMED, "%zu", wanted[i]);
    cr_expect_eq(release(object), RELEASE_NOT_LIVE);
    cr_expect_eq(object_find(object, &cell), STATE_RECLAIMED, "and still is not");
    uint64_t *word = &page_allocated(cell.page)[cell.index / 64], bit = 1ull << cell.index % 64;
    __atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST); /* as in a buffer */
    struct sweep_counts counts = flip_and_sweep(policy);
    cr_expect_eq(counts.dead_objects + counts.kept_objects, 0);
    cr_expect(is_allocated(object), "it waits");
    __atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST);
  }
}

Test(sweep, a_cell_that_is_freed_and_made_again_begins_anew) {
  const struct sweep_policy policy = {.live = true, .confirm = 3};
  void *object = make(100, 0), *large = make(100000, 0);
  flip_and_sweep(policy);
  flip_and_sweep(policy);
  cr_expect_eq(state_suspected(*state_at((uintptr_t)object)), 2);
  cr_assert_eq(release(object), RELEASED, "a suspect is freed like any other");
  cr_assert_eq(release(large), RELEASED);
  cr_assert_eq(make(100, 0), object);
  cr_assert_eq(make(100000, 0), large);
  cr_expect_eq(flip_and_sweep(policy).dead_objects, 0);
  cr_expect_eq(flip_and_sweep(policy).dead_objects, 0);
  cr_expect_eq(flip_and_sweep(policy).dead_objects, 2);
}

Test(sweep, what_was_freed_is_not_confirmed) {
  const struct sweep_policy policy = {.live = true, .quarantined = true, .confirm = 7};
  void *object = make(100, 0);
  *state_at((uintptr_t)object) = STATE_QUARANTINED;
  struct sweep_counts counts = flip_and_sweep(policy);
  cr_expect_eq(counts.dead_objects, 1);
  cr_expect_eq(counts.suspect_bytes, 0);
  cr_expect(!is_allocated(object));
}

Test(sweep, without_reclaim_nobody_is_suspected) {
  void *object = make(100, 0);
  struct sweep_counts counts = flip_and_sweep((struct sweep_policy){.confirm = 2});
  cr_expect_eq(counts.suspect_bytes, 0);
  cr_expect_eq(counts.kept_objects, 1);
  cr_expect_eq(*state_at((uintptr_t)object), STATE_LIVE);
}

Test(sweep, what_a_suspect_holds_dies_with_it) {
  enum { LENGTH = 1000 };
  static void *list[LENGTH];
  const struct sweep_policy policy = {.live = true, .confirm = 2};
  cr_assert(mark_init());
  for (int i = 0; i < LENGTH; i++) list[i] = memset(make(40, 0), 0, 40);
  for (int i = 0; i + 1 < LENGTH; i++) *(void **)list[i] = list[i + 1];
  const struct mark_words words = {.stride = 8};
  for (int cycle = 0; cycle < 6; cycle++) { /* hidden, seen, hidden, seen, hidden, hidden */
    mark_begin(&words, NULL);
    if (cycle % 2 && cycle < 4) mark_word((uintptr_t)list[0]);
    cr_assert(mark_drain());
    mark_end();
    struct sweep_counts counts = sweep_flip(&policy);
    sweep_rest();
    cr_expect_eq(counts.dead_objects, cycle == 5 ? LENGTH : 0, "cycle %d", cycle);
    for (int i = 0; i < LENGTH; i++) cr_assert_eq(unit_is_live(list[i]), cycle < 5);
  }
}

Test(sweep, condemned_once_confirmed) {
  const struct sweep_policy condemn = {.live = true, .condemn = true, .confirm = 3};
  sweep_condemned = note_condemned;
  void *object = make(100, 0);
  cr_expect_eq(flip_and_sweep(condemn).condemned, 0);
  cr_expect_eq(flip_and_sweep(condemn).condemned, 0);
  for (int i = 0; i < 3; i++) {
    struct sweep_counts counts = flip_and_sweep(condemn);
    cr_expect_eq(counts.condemned, 1);
    cr_expect_eq(counts.dead_objects, i == 0);
    cr_expect_eq(counts.suspect_bytes, 0);
    cr_expect_eq(*state_at((uintptr_t)object), STATE_LIVE | STATE_CONDEMNED);
  }
  cr_expect_eq(condemned_times[CONDEMNED_NOW], 1);
  cr_expect_eq(condemned_times[CONDEMNED_STILL], 2);
}

/* --- a program that frees what was found dead: it had hidden its pointer ---------------------- */

Test(sweep, a_dead_cell_that_is_freed_before_its_sweep_is_freed_once) {
  enum { COUNT = 1000 };
  static void *objects[COUNT];
  for (int i = 0; i < COUNT; i++) objects[i] = make(100, 0);
  sweep_flip(&take_all);
  for (int i = 0; i < COUNT; i += 2) cr_assert_eq(release(objects[i]), RELEASED);
  sweep_rest();
  for (int i = 1; i < COUNT; i += 2) cr_assert_eq(release(objects[i]), RELEASE_NOT_LIVE);
  static void *again[2 * COUNT];
  for (int i = 0; i < 2 * COUNT; i++) {
    again[i] = make(100, 0);
    for (int j = 0; j < i; j++)
      if (again[i] == again[j]) cr_assert_fail("a cell was handed out twice");
  }
}

Test(sweep, a_dead_large_object_that_is_freed_before_its_sweep_leaves_no_mark) {
  void *dead = make(100000, 0);
  sweep_flip(&take_all);
  cr_assert_eq(release(dead), RELEASED);
  void *fresh = make(100000, 0);
  cr_assert_eq(fresh, dead, "the same place serves again");
  sweep_rest();
  cr_expect(unit_is_live(fresh));
  cr_expect(!is_marked(fresh), "the next marking would not scan it");
}

Test(sweep, a_dead_cell_that_is_freed_and_reused_before_its_sweep_lives) {
  void *dead = make(100, 0);
  sweep_flip(&take_all);
  cr_assert_eq(release(dead), RELEASED);
  void *fresh = make(100, 0);
  cr_assert_eq(fresh, dead, "the newest cell comes back first");
  sweep_rest();
  cr_expect(unit_is_live(fresh));
}

/* --- threads ---------------------------------------------------------------------------------- */

/* Each thread keeps some objects and loses others; between two barriers one of them plays the
   collector: it marks what is kept, flips, and sweeps while the others allocate on. */
enum { THREADS = 4, KEPT = 2000, ROUNDS = 12 };
static uint64_t *kept[THREADS][KEPT];
static pthread_barrier_t barrier;
static int harmed;

static void *allocate_and_lose(void *argument) {
  uintptr_t me = (uintptr_t)argument;
  uint64_t seed = me + 61;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < 6000; i++) {
      size_t k = unit_below(&seed, KEPT);
      if (kept[me][k] && *kept[me][k] != (me << 32 | k)) atomic_add(&harmed, 1);
      if (kept[me][k] && i % 4 == 0) release(kept[me][k]); /* else it is lost */
      kept[me][k] = allocate(8 + unit_below(&seed, unit_below(&seed, 200) ? 300 : 80000), NULL);
      if (!kept[me][k]) atomic_add(&harmed, 1);
      else *kept[me][k] = me << 32 | k;
    }
    pthread_barrier_wait(&barrier);
    if (me == 0) {
      for (int t = 0; t < THREADS; t++)
        for (int k = 0; k < KEPT; k++)
          if (kept[t][k]) set_marked(kept[t][k]);
      sweep_flip(&take_all);
    }
    pthread_barrier_wait(&barrier);
    if (me == 0) sweep_rest();
  }
  pthread_barrier_wait(&barrier);
  for (int k = 0; k < KEPT; k++) {
    if (!kept[me][k]) continue;
    if (*kept[me][k] != (me << 32 | (uintptr_t)k)) atomic_add(&harmed, 1);
    if (release(kept[me][k]) != RELEASED) atomic_add(&harmed, 1);
  }
  pthread_barrier_wait(&barrier);
  if (me == 0) {
    sweep_flip(&take_all);
    sweep_rest();
  }
  pthread_barrier_wait(&barrier);
  thread_detach();
  return NULL;
}

Test(sweep, threads_allocate_and_free_beside_the_sweep) {
  pthread_t threads[THREADS];
  pthread_barrier_init(&barrier, NULL, THREADS);
  for (uintptr_t i = 0; i < THREADS; i++)
    pthread_create(&threads[i], NULL, allocate_and_lose, (void *)i);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  cr_expect_eq(harmed, 0);
  expect_no_marks();
  struct mutator *mutators[THREADS];
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < THREADS; i++) mutators[i] = mutator_adopt();
    for (int i = 0; i < THREADS; i++) mutator_orphan(mutators[i]);
  }
  cr_expect_eq(page_heap_counts.used, 0, "%zu heap pages stay", page_heap_counts.used);
}

/* --- canaries --------------------------------------------------------------------------------- */

static void start_with_canaries(void) {
  options_default(&options);
  options.canary = true;
  options.errors = ERRORS_IGNORE; /* they are counted */
  cr_assert(heap_init(GIB, NULL));
  canary_start();
  mutator_init();
  sweep_init();
}

/* Of each size every fourth is overflowed: these are told, whatever else lies around them. */
Test(canaries, are_looked_at_in_what_is_dead, .init = start_with_canaries, .timeout = 60) {
  static const size_t sizes[] = {8, 24, 40, 60, 100, 1000, 30000, 100000, 3000000};
  enum { EACH = 20, SIZES = sizeof sizes / sizeof *sizes };
  struct cell cell = {0};
  for (int i = 0; i < EACH * SIZES; i++) {
    size_t size = sizes[i % SIZES];
    uint8_t *object = make(size, 0);
    cr_assert(object_find(object, &cell));
    canary_set(cell.address, cell.page->size, size);
    if (i % 4 == 0) object[size] = 0;
    if (i % 8 == 0) *state_at(cell.address) = STATE_QUARANTINED;
    if (i % 4 == 1) set_marked(object);
  }
  sweep_flip(&take_all);
  sweep_rest();
  cr_expect_eq(report_totals.bad_frees, EACH * SIZES / 4);
  for (int i = 0; i < EACH * SIZES; i++) {
    cr_assert(object_find(make(sizes[i % SIZES], 0), &cell));
    cr_expect_eq(cell_usable(&cell), cell.page->size - 1, "nothing is known of what was swept");
  }
}
