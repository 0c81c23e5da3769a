/* quarantine.h: what free() does under free=quarantine. The block stays as it is until a mark finds
   no word that points to it, wherever such a word may lie; only then does the sweep hand its cell
   out again. Nothing but the state byte changes, by one exchange, so that of two threads that free
   a block at once one is told. MarkUs: Ainsworth and Jones, "MarkUs: drop-in use-after-free
   prevention for low-level languages" (IEEE S&P 2020).

   Any thread, signal handlers too. */
#ifndef RECLAIM_QUARANTINE_H
#define RECLAIM_QUARANTINE_H

#include "heap/heap.h"
#include "mutator/self.h"

/* Of a live object, large or not, whatever else is known of it. False: it is none (any more). */
HIDDEN bool quarantine(const struct cell *cell);
/* The same whatever the policy is; its memory stays, too, since somebody may be at work there. */
HIDDEN bool quarantine_in_use(const struct cell *cell);

/* Bytes that were quarantined, since the start; what threads that have not ended have counted for
   themselves and not told yet is missing, less than QUARANTINE_TOLD each. */
enum { QUARANTINE_TOLD = 16 << 10 };
extern HIDDEN size_t quarantine_bytes;

/* A handler that interrupts this may make it lose count of some, which harms nobody. */
static inline void quarantine_count(size_t bytes) {
  if (UNLIKELY(!self.there)) return;
  self.quarantined += bytes;
  if (self.quarantined < QUARANTINE_TOLD && !self.ended) return;
  atomic_add(&quarantine_bytes, self.quarantined);
  self.quarantined = 0;
}

/* After that: did its memory go back to the kernel, so that it reads as zeros? */
static inline bool is_emptied(const struct cell *cell) {
  return cell->page->class == CLASS_LARGE && cell->page->purged;
}

/* For an address of any kind of which nothing is known. The state byte is not zero only where an
   object begins, so that no lookup of the cell is needed. NULL: not in the heap, or nothing of the
   class of its page, which is *class, begins at such an address. */
static inline uint8_t *state_if_ours(const void *pointer, unsigned *class) {
  uintptr_t address = (uintptr_t)pointer, offset = address - heap.base;
  if (UNLIKELY(offset >= heap.size)) return NULL;
  size_t number = offset >> HEAP_PAGE_SHIFT;
  if (UNLIKELY(number >= atomic_get(&heap.committed_pages))) return NULL;
  *class = page_entry_class(atomic_get(&heap.page_first[number]));
  const struct size_class *c = &size_classes[*class];
  return LIKELY(is_at_step(address, c->state_shift)) ? state_in_class(c, address) : NULL;
}

/* The same as quarantine() for a small object that is live and nothing else. False: it is not. */
static inline bool quarantine_fast(const void *pointer) {
  unsigned class;
  uint8_t *state = state_if_ours(pointer, &class), live = STATE_LIVE;
  if (UNLIKELY(!state || class == CLASS_LARGE)) return false;
  if (UNLIKELY(!__atomic_compare_exchange_n(state, &live, STATE_QUARANTINED, false,
                                            __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)))
    return false;
  quarantine_count(size_classes[class].size);
  return true;
}

#endif
