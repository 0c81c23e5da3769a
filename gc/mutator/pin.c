/* pin.c: see pin.h. */
#include "mutator/pin.h"

/* By compare-and-swap, and only while the object is live: a free() in another thread, which loads
   and stores the state byte without a lock, then either comes later and takes the pin away, or
   came before, and a cell that waits in a buffer is never made to look like an object. */
bool pin_object(uintptr_t word) {
  struct cell cell;
  if (!cell_of(word, &cell)) return false;
  uint8_t *state = cell.state, old = atomic_get(state);
  do {
    if (!(old & STATE_LIVE) || (old & STATE_DROPPED)) return false;
  } while (!__atomic_compare_exchange_n(state, &old, old | STATE_PINNED, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED));
  /* Afterwards: the collector clears the hint of a page in which it finds no pinned object. Set
     even when the object was pinned before, in case the page was another's when that was done. */
  __atomic_fetch_or(&cell.page->hints, HINT_PINNED, __ATOMIC_RELAXED);
  return true;
}

/* A page may change its use meanwhile: then the address is not what it was, and pin_object finds
   another object or none. */
void pin_all(void) {
  size_t top = atomic_get(&heap.top);
  for (size_t i = 1; i < top; i++) {
    const struct page *page = &heap.pages[i];
    if (!page_begins(page)) continue;
    for (uint32_t word = 0; word < page->words; word++)
      for (uint64_t bits = atomic_get(&page_allocated(page)[word]); bits; bits &= bits - 1)
        pin_object(page_address(page) + (word * 64 + (uint32_t)__builtin_ctzll(bits)) * page->size);
  }
}

void pin_end(const struct cell *cell) {
  __atomic_fetch_and(cell->state, (uint8_t)~STATE_PINNED, __ATOMIC_SEQ_CST);
}
