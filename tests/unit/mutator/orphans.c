/* orphans.c: mutators change hands when threads end, wait or fork, and nothing is lost or in two
   places. */
#include "tests/unit/mutator/cells.h"

#include <sys/wait.h>

TestSuite(orphans, .init = unit_start_heap, .timeout = 60);

Test(orphans, an_owner_who_is_asked_gives_up_what_others_emptied) {
  struct mutator *mutator = mutator_adopt();
  size_t count = take_pages(mutator, 8, PAGES), used = page_heap_counts.used;
  flush(cells, count);
  cr_expect_geq(page_heap_counts.used, used - 1, "they are the owner's");
  mutator_ask_to_trim();
  for (unsigned i = 0; i < size_classes[3].cells + 1u; i++) take(mutator, 3); /* a change of page */
  cr_expect_leq(page_heap_counts.used, 8, "%zu pages", page_heap_counts.used);
  expect_sound();
}

/* A server had very many threads at once, and frees what they made after their end. */
Test(orphans, all_of_very_many_give_up_what_others_emptied) {
  enum { MANY = 300, EACH = 10 };
  static void *left[MANY][EACH];
  static struct mutator *mutators[MANY];
  for (int i = 0; i < MANY; i++) mutators[i] = mutator_adopt();
  for (int i = 0; i < MANY; i++)
    for (int j = 0; j < EACH; j++) left[i][j] = take(mutators[i], 8);
  for (int i = 0; i < MANY; i++) mutator_orphan(mutators[i]);
  cr_assert_geq(page_heap_counts.used, MANY);
  for (int i = 0; i < MANY; i++) flush(left[i], EACH);
  for (int cycle = 0; cycle < 6; cycle++) mutator_bequeath();
  cr_expect_leq(page_heap_counts.used, 1, "%zu pages stay", page_heap_counts.used);
  expect_sound();
}

Test(orphans, an_orphan_is_adopted_with_its_pages) {
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

Test(orphans, a_sparse_heap_becomes_dense_as_objects_are_replaced) { expect_dense(false); }
Test(orphans, so_does_one_whose_owner_waits_now_and_then) { expect_dense(true); }

enum { WORK, DONE, STOP };
static int bequest = DONE;
static void *bequeath(void *unused) {
  for (int now; (now = __atomic_load_n(&bequest, __ATOMIC_ACQUIRE)) != STOP;) {
    if (now != WORK) continue;
    mutator_bequeath();
    __atomic_store_n(&bequest, DONE, __ATOMIC_RELEASE);
  }
  return unused;
}

/* redis waits for each request. Pages that were taken from it were held by the collector, which
   trimmed them, when it went on, and it began fresh ones of all classes in each cycle: with 7 MB in
   use its heap grew to 42. */
Test(orphans, what_was_taken_from_a_thread_stays_within_its_reach) {
  enum { ROUNDS = 200, CLASSES = 24 };
  struct mutator *mutator = mutator_adopt();
  mutator_bequeath();
  size_t count = take_pages(mutator, 8, PAGES);
  for (size_t i = 0; i < count; i++)
    if (i % 8) put(mutator, 8, cells[i]);
  pthread_t collector;
  pthread_create(&collector, NULL, bequeath, NULL);
  size_t before = page_heap_counts.used;
  for (int round = 0; round < ROUNDS; round++) {
    mutator_harvest(mutator, SIZE_MAX);
    __atomic_store_n(&bequest, WORK, __ATOMIC_RELEASE);
    for (unsigned class = 1; class <= CLASSES; class ++) take(mutator, class);
    while (__atomic_load_n(&bequest, __ATOMIC_ACQUIRE) != DONE) continue;
  }
  size_t after = page_heap_counts.used, needed = 0;
  for (unsigned class = 1; class <= CLASSES; class ++)
    needed += (ROUNDS / size_classes[class].cells + 2u) * size_classes[class].span; /* of which one
        may be in the collector's hands */
  cr_expect_leq(after, before + needed, "%zu pages, %zu before, %zu more are needed", after, before,
                needed);
  __atomic_store_n(&bequest, STOP, __ATOMIC_RELEASE);
  pthread_join(collector, NULL);
  expect_sound();
}

Test(orphans, an_idle_mutator_is_emptied_and_its_pages_serve_others) {
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
  cr_expect(mutator_has_harvest(idle));
  cr_expect_gt(mutator_harvest(idle, SIZE_MAX), CLASS_SMALL_END / 2);
  cr_expect(!mutator_has_harvest(idle));
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

Test(orphans, one_that_was_emptied_gets_no_memory_by_being_looked_at) {
  struct mutator *idle = mutator_adopt();
  mutator_bequeath();
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) put(idle, class, take(idle, class));
  cr_expect_gt(unit_resident(idle, sizeof idle->buffers), 3);
  mutator_harvest(idle, SIZE_MAX);
  cr_expect_eq(unit_resident(idle, sizeof idle->buffers), 0);
  cr_expect(!mutator_has_harvest(idle));
  cr_expect_eq(unit_resident(idle, sizeof idle->buffers), 0);
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) put(idle, class, take(idle, class));
  cr_expect(mutator_has_harvest(idle), "it goes on");
  expect_sound();
}

Test(orphans, one_that_was_never_used_touches_no_memory_of_its_buffers) {
  struct mutator *mutator = mutator_adopt();
  take(mutator, 3);
  mutator_orphan(mutator);
  mutator = mutator_adopt();
  size_t pages = unit_resident(mutator, sizeof mutator->buffers);
  cr_expect_leq(pages, 4, "%zu pages", pages);
}

Test(orphans, a_few_keep_the_few_pages_they_were_filling_until_a_cycle) {
  enum { MANY = 20, ALL = 8 };
  static struct mutator *mutators[MANY];
  for (int i = 0; i < MANY; i++) mutators[i] = mutator_adopt();
  for (int i = 0; i < MANY; i++)
    for (unsigned class = 1; class <= (i ? ALL : 2 * ALL); class ++)
      put(mutators[i], class, take(mutators[i], class));
  mutator_orphan(mutators[0]);
  cr_expect_eq(page_heap_counts.used, (MANY - 1) * ALL, "those of one that had many go");
  for (int i = 1; i < MANY; i++) mutator_orphan(mutators[i]);
  cr_expect_eq(page_heap_counts.used, 4 * ALL);
  cr_expect_eq(mutator_buffered_bytes(), 0);
  struct mutator *next = mutator_adopt();
  for (unsigned class = 1; class <= 2 * ALL; class ++) {
    cells[class] = take(next, class);
    cr_expect_eq(page_heap_counts.used, 4 * ALL + (class > ALL ? class - ALL : 0));
  }
  mutator_bequeath();
  cr_expect_eq(page_heap_counts.used, 2 * ALL, "only those of the living are left");
  for (unsigned class = 1; class <= 2 * ALL; class ++) put(next, class, cells[class]);
  mutator_orphan(next);
  expect_all_memory_back();
  expect_sound();
}

/* The few that may keep pages are those that have some. */
Test(orphans, those_that_have_nothing_do_not_take_the_place_of_others) {
  enum { MANY = 6 };
  struct mutator *mutators[MANY];
  for (int i = 0; i < MANY; i++) mutators[i] = mutator_adopt();
  for (int i = 0; i < MANY - 1; i++) mutator_orphan(mutators[i]);
  put(mutators[MANY - 1], 3, take(mutators[MANY - 1], 3));
  mutator_orphan(mutators[MANY - 1]);
  cr_expect_eq(page_heap_counts.used, 1, "it keeps its page");
  cr_expect_eq(mutator_adopt(), mutators[MANY - 1], "and is the next to be adopted");
}

static void expect_freed_serves(bool cycles) {
  struct mutator *dead = mutator_adopt(), *mine = mutator_adopt();
  size_t count = take_pages(dead, 8, 20);
  mutator_orphan(dead);
  if (cycles) mutator_bequeath();
  flush(cells, count / 2);
  size_t used = page_heap_counts.used;
  for (size_t i = 0; i < count / 4; i++) take(mine, 8);
  cr_expect_leq(page_heap_counts.used, used);
  cr_expect_neq(mutator_adopt(), mine);
  expect_sound();
}

Test(orphans, what_is_freed_of_pages_that_were_full_serves_others) { expect_freed_serves(false); }
Test(orphans, and_after_a_cycle) { expect_freed_serves(true); }

Test(orphans, pages_of_an_orphan_serve_others) {
  struct mutator *dead = mutator_adopt(), *mine = mutator_adopt();
  take(dead, 3);
  take(mine, 5); /* has no page for class 3 */
  mutator_orphan(dead);
  size_t before = page_heap_counts.used;
  take(mine, 3);
  cr_expect_eq(page_heap_counts.used, before);
  expect_sound();
}

Test(orphans, buffered_bytes_are_counted) {
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

/* --- fork ------------------------------------------------------------------------------------- */

static int status_of(pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(orphans, a_fork_child_never_hands_out_what_others_hold) {
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

Test(orphans, a_fork_child_uses_the_pages_of_the_threads_it_lacks) {
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
