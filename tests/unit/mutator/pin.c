/* pin.c: what a pin takes hold of, and that free() takes it away. */
#include "tests/unit/unit.h"

#include "mutator/pin.h"

TestSuite(pin, .init = unit_start_heap, .timeout = 60);

static uint8_t state_of(const void *object) {
  struct cell cell;
  return object_find(object, &cell);
}

Test(pin, by_any_word_into_a_live_object) {
  static const size_t sizes[] = {1, 16, 300, 5000, SMALL_LIMIT, 3 * MIB};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (size_t offset = 0; offset <= sizes[i]; offset += sizes[i] / 3 + 1) {
      char *object = allocate(sizes[i], NULL);
      cr_assert(pin_concerns((uintptr_t)object + offset));
      cr_assert(pin_object((uintptr_t)object + offset), "size %zu", sizes[i]);
      cr_assert_eq(state_of(object), STATE_LIVE | STATE_PINNED);
      struct cell cell;
      cr_assert(cell_of((uintptr_t)object, &cell) && cell.page->hints & HINT_PINNED);
      cr_assert_eq(release(object), RELEASED);
      cr_assert_eq(state_of(object), STATE_NONE);
    }
}

Test(pin, nothing_else) {
  char *object = allocate(100, NULL);
  cr_assert(!pin_object(0) && !pin_object(heap.base) && !pin_object(heap.base - 1));
  cr_assert(!pin_object(~(uintptr_t)0) && !pin_object((uintptr_t)&object));
  cr_assert(!pin_concerns((uintptr_t)&object));
  release(object);
  cr_assert(!pin_object((uintptr_t)object), "freed");
  cr_assert_eq(state_of(object), STATE_NONE);
  static const uint8_t gone[] = {STATE_QUARANTINED, STATE_DEAD, STATE_LIVE | STATE_DROPPED};
  object = allocate(100, NULL);
  for (size_t i = 0; i < sizeof gone; i++) {
    *state_at((uintptr_t)object) = gone[i];
    cr_assert(!pin_object((uintptr_t)object));
    cr_assert_eq(state_of(object), gone[i]);
  }
}

Test(pin, all_that_is_live) {
  enum { SIZES = 40 };
  char *kept[SIZES], *freed[SIZES];
  for (size_t i = 0; i < SIZES; i++) {
    size_t size = i * i * i * 10 + 1; /* up to some that are large objects */
    kept[i] = allocate(size, NULL);
    freed[i] = allocate(size, NULL);
  }
  for (size_t i = 0; i < SIZES; i++) release(freed[i]);
  pin_all();
  for (size_t i = 0; i < SIZES; i++) {
    cr_expect_eq(state_of(kept[i]), STATE_LIVE | STATE_PINNED);
    cr_expect_eq(state_of(freed[i]), STATE_NONE);
  }
}

Test(pin, ends) {
  char *object = allocate(100, NULL);
  pin_object((uintptr_t)object);
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  pin_end(&cell);
  cr_assert_eq(state_of(object), STATE_LIVE);
}

/* free() loads and stores without a lock while another thread pins: a free cell is never left with
   a state. */
static void *volatile passed;
static void *pin_what_passes(void *stop) {
  while (!atomic_get((bool *)stop)) pin_object((uintptr_t)passed);
  return NULL;
}

Test(pin, against_free) {
  bool stop = false;
  pthread_t thread;
  enum { OBJECTS = 64 };
  void *objects[OBJECTS];
  pthread_create(&thread, NULL, pin_what_passes, &stop);
  for (int round = 0; round < 20000; round++) {
    for (int i = 0; i < OBJECTS; i++) objects[i] = allocate(100, NULL);
    passed = objects[round % OBJECTS];
    for (int i = 0; i < OBJECTS; i++)
      if (!release_fast(objects[i])) cr_assert_eq(release(objects[i]), RELEASED);
    for (int i = 0; i < OBJECTS; i++) cr_assert_eq(state_of(objects[i]), STATE_NONE);
  }
  atomic_set(&stop, true);
  pthread_join(thread, NULL);
}
