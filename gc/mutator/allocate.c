/* allocate.c: see allocate.h. */
#include "mutator/allocate.h"

#include "base/option.h"
#include "heap/page_heap.h"
#include "mutator/large.h"
#include "mutator/orphans.h"
#include "mutator/pages.h"
#include "mutator/parking.h"

/* The mutator to work with, marked busy; borrowed is set when the thread has none of its own
   (before set-up failed for lack of memory, after its end, or inside its own slow path in a
   handler that did not pass the gate). */
static struct mutator *begin(bool *borrowed) {
  ASSERT(!self.thread || !parking_is_parked(self.thread)); /* blocking.h: libc must not get here */
  struct mutator *mutator = thread_attach() ? self.real : NULL;
  *borrowed = !mutator || mutator->busy;
  if (*borrowed) mutator = mutator_adopt();
  if (mutator) {
    mutator->busy = 1;
    COMPILER_BARRIER();
  }
  return mutator;
}

static void end(struct mutator *mutator, bool borrowed) {
  COMPILER_BARRIER();
  mutator->busy = 0;
  if (borrowed) mutator_orphan(mutator);
}

static void set_live(void *object) {
  COMPILER_BARRIER();
  *state_at((uintptr_t)object) = STATE_LIVE;
}

/* The calling thread's own, marked busy. NULL: it has none, or is at work with it. */
static struct mutator *begin_own(void) {
  struct mutator *mutator = self.real;
  if (!mutator || mutator->busy) return NULL;
  mutator->busy = 1;
  COMPILER_BARRIER();
  return mutator;
}

static struct page *take_kept(size_t bytes, size_t alignment) {
  struct mutator *mutator = alignment <= HEAP_PAGE ? begin_own() : NULL;
  if (!mutator) return NULL;
  struct page *page = large_take(mutator, bytes);
  end(mutator, false);
  return page;
}

static bool keep(struct page *page) {
  struct mutator *mutator = begin_own();
  if (!mutator) return false;
  if (UNLIKELY(atomic_get(&mutator->trim_due))) mutator_trim(mutator);
  bool kept = large_keep(mutator, page);
  end(mutator, false);
  return kept;
}

static void *allocate_large(size_t size, size_t alignment, bool *zero) {
  bool known_zero = false;
  if (size >= heap.page_limit * HEAP_PAGE) return NULL;
  struct page *page = take_kept(size + 1, alignment);
  if (!page) page = page_heap_large(size + 1, alignment, &known_zero);
  if (!page) return NULL;
  if (zero) *zero = known_zero;
  void *object = (void *)page_address(page);
  set_live(object);
  return object;
}

void *allocate_growing(size_t size) {
  if (size < SMALL_LIMIT) return allocate(size, NULL);
  if (size >= heap.page_limit * HEAP_PAGE) return NULL;
  struct page *page = page_heap_large_growing(size + 1);
  if (!page) return NULL;
  void *object = (void *)page_address(page);
  set_live(object);
  return object;
}

static void *allocate_cell(unsigned class) {
  bool borrowed;
  struct mutator *mutator = begin(&borrowed);
  if (!mutator) return NULL;
  void *cell = mutator_take(mutator, class);
  if (cell) set_live(cell);
  end(mutator, borrowed);
  return cell;
}

void *allocate(size_t size, bool *zero) {
  if (zero) *zero = false;
  if (size >= SMALL_LIMIT) return allocate_large(size, GRANULE, zero);
  return allocate_cell(size_class_of(size));
}

void *allocate_aligned(size_t alignment, size_t size, bool *zero) {
  if (zero) *zero = false;
  if (alignment <= GRANULE) return allocate(size, zero);
  unsigned class = class_aligned(alignment, size);
  if (class < CLASS_SMALL_END) return allocate_cell(class);
  return allocate_large(size, alignment, zero);
}

enum release_result release(void *pointer) {
  struct cell cell;
  if (!heap_holds((uintptr_t)pointer)) return RELEASE_FOREIGN;
  uint8_t old = object_find(pointer, &cell);
  /* Exchanged, so that of two threads that free one block at once only one goes on. */
  if (!state_is_none(old)) old = __atomic_exchange_n(cell.state, STATE_NONE, __ATOMIC_SEQ_CST);
  if (state_is_none(old)) return RELEASE_NOT_LIVE;
  if (cell.page->class == CLASS_LARGE) {
    if (!keep(cell.page)) page_heap_release_large(cell.page);
  } else {
    bool borrowed;
    struct mutator *mutator = self.ended ? NULL : begin(&borrowed);
    if (mutator) {
      mutator_put(mutator, cell.page->class, pointer);
      end(mutator, borrowed);
    } else {
      mutator_flush(&pointer, 1);
    }
  }
  return old & STATE_CONDEMNED ? RELEASE_CONDEMNED : RELEASED;
}

bool resize_in_place(const struct cell *cell, size_t size) {
  if (cell->page->class != CLASS_LARGE || size >= heap.page_limit * HEAP_PAGE) return false;
  /* Words may point to what would be cut off: it is quarantined with all of the old object. */
  if (options.free_policy == FREE_QUARANTINE && size + 1 < cell->page->size) return false;
  return size >= SMALL_LIMIT && page_heap_resize_large(cell->page, size + 1);
}

void allocate_trim(bool all) {
  struct mutator *mutator = begin_own();
  if (!mutator) return;
  if (all) mutator_flush_buffers(mutator);
  mutator_trim(mutator);
  if (all) mutator_purge_holes(mutator);
  end(mutator, false);
}
