/* large.c: a thread's large objects wait for its next request, and go back in time. */
#include "tests/unit/unit.h"

#include "mutator/large.h"

static void start(void) {
  unit_start_heap();
  cr_assert(thread_attach());
}

TestSuite(large, .init = start, .timeout = 60);

static size_t usable(const void *object) {
  struct cell cell = {0};
  cr_assert_eq(object_find(object, &cell), STATE_LIVE);
  return cell_usable(&cell);
}

/* Without a change of what the page heap has given. */
Test(large, what_was_freed_is_made_again) {
  void *object = allocate(100000, NULL);
  cr_assert(usable(object) >= 100000 && usable(object) < 100000 + KERNEL_PAGE);
  size_t used = page_heap_counts.used;
  cr_assert_eq(release(object), RELEASED);
  cr_expect(!unit_is_live(object));
  cr_expect_eq(release(object), RELEASE_NOT_LIVE);
  cr_expect_eq(page_heap_counts.used, used);
  bool zero = true;
  void *other = allocate(70000, &zero);
  cr_expect_eq(other, object, "as many heap pages");
  cr_expect(!zero);
  cr_expect(usable(other) >= 70000 && usable(other) < 70000 + KERNEL_PAGE);
  cr_expect_eq(allocate_aligned(HEAP_PAGE, 70000, NULL) == other, false, "it is taken once");
  cr_assert_eq(release(other), RELEASED);
  cr_expect_neq(allocate(60000, NULL), other, "fewer heap pages");
  cr_expect_neq(allocate_aligned(2 * HEAP_PAGE, 70000, NULL), NULL);
  cr_expect_eq(allocate(131071, NULL), other);
}

Test(large, few_and_short_ones_are_kept) {
  void *objects[20];
  for (int i = 0; i < 20; i++) objects[i] = allocate(40000, NULL);
  for (int i = 0; i < 20; i++) release(objects[i]);
  cr_expect_eq(page_heap_counts.used, LARGE_KEPT);
  for (int i = 0; i < 20; i++) objects[i] = allocate(200000, NULL);
  size_t used = page_heap_counts.used;
  for (int i = 0; i < 20; i++) release(objects[i]);
  cr_expect_eq(page_heap_counts.used, used - 80, "those that are there leave no room");
  allocate_trim(false);
  cr_expect_eq(page_heap_counts.used, 0);
  for (int i = 0; i < 20; i++) objects[i] = allocate(200000, NULL);
  for (int i = 0; i < 20; i++) release(objects[i]);
  cr_expect_eq(page_heap_counts.used, 12);
  allocate_trim(false);
  release(allocate(300000, NULL));
  cr_expect_eq(page_heap_counts.used, 0, "too long");
}

/* Its run is longer than its size tells. */
Test(large, one_with_room_to_grow_is_not_kept) {
  struct page *page = unit_large(3, HEAP_PAGE, &(bool){false});
  page->size = 2 * HEAP_PAGE;
  cr_expect(!large_keep(self.real, page));
  page->size = 3 * HEAP_PAGE;
  cr_expect(large_keep(self.real, page));
}

Test(large, they_go_back_after_a_cycle) {
  void *first = allocate(100000, NULL), *second = allocate(50000, NULL);
  release(first);
  mutator_ask_to_trim();
  release(second);
  cr_expect_eq(page_heap_counts.used, 1, "the second, which came later");
  cr_expect_eq(page_heap_counts.large, round_up(50001, KERNEL_PAGE) / KERNEL_PAGE);
}

Test(large, they_go_back_from_a_thread_that_waits) {
  release(allocate(100000, NULL));
  cr_expect(mutator_has_harvest(self.real));
  mutator_bequeath(); /* makes the pool */
  mutator_harvest(self.real, 100);
  cr_expect(!mutator_has_harvest(self.real));
  cr_expect_eq(page_heap_counts.used, 0);
}

static void *leave_some(void *unused) {
  for (int i = 0; i < 3; i++) release(allocate(100000, NULL));
  thread_detach();
  return unused;
}

Test(large, they_go_back_with_their_thread) {
  pthread_t thread;
  pthread_create(&thread, NULL, leave_some, NULL);
  pthread_join(thread, NULL);
  cr_expect_eq(page_heap_counts.used, 0);
}

/* A handler that interrupts the owner at work with them goes by the page heap. */
Test(large, nothing_is_taken_or_kept_while_the_owner_is_at_work) {
  void *object = allocate(100000, NULL);
  release(object);
  self.real->busy = 1;
  void *other = allocate(100000, NULL);
  cr_expect_neq(other, object);
  size_t used = page_heap_counts.used;
  release(other);
  cr_expect_eq(page_heap_counts.used, used - 2);
  self.real->busy = 0;
  cr_expect_eq(allocate(100000, NULL), object);
}

/* It was found dead and waits for its sweep, yet the program, which had hidden the pointer, frees
   it: the sweep that comes later must not take the object that is made there. */
Test(large, a_pending_sweep_is_forgotten) {
  void *object = allocate(100000, NULL);
  struct cell cell = {0};
  cr_assert(object_find(object, &cell));
  page_marked(cell.page)[0] = 1;
  cell.page->unswept = 1;
  release(object);
  cr_expect_eq(allocate(100000, NULL), object);
  cr_expect(!cell.page->unswept && !page_marked(cell.page)[0]);
}
