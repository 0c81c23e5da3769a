/* quarantine.c: see quarantine.h. */
#include "mutator/quarantine.h"

#include "base/option.h"
#include "heap/page_heap.h"
#include "mutator/canary.h"

/* The memory of smaller ones is wanted again too soon: git, whose compressor makes and frees four
   of 64 KiB for each object, took 4.5 times as long. */
enum { LEAST_EMPTIED = 256 << 10 };

size_t quarantine_bytes;

/* A condemned object's contents are looked at again. */
static bool closes(void) { return options.freed == FREED_FAULT && options.check == CHECK_OFF; }

static bool is_emptied_by_free(const struct page *page) {
  return page->class == CLASS_LARGE && (page->size >= LEAST_EMPTIED || UNLIKELY(closes()) ||
                                        UNLIKELY(atomic_get(&page->hints) & HINT_OWN));
}

bool quarantine_in_use(const struct cell *cell) {
  uint8_t *state = cell->state, old = atomic_get(state);
  do {
    if (!(old & STATE_LIVE)) return false;
  } while (!__atomic_compare_exchange_n(state, &old, STATE_QUARANTINED, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED));
  return true;
}

bool quarantine(const struct cell *cell) {
  if (!quarantine_in_use(cell)) return false;
  if (is_emptied_by_free(cell->page)) {
    if (UNLIKELY(heap.pads != NULL)) canary_forget(cell->address, cell->page->size);
    page_heap_empty_large(cell->page);
    if (UNLIKELY(closes())) page_heap_close_large(cell->page);
  }
  size_t size = cell->page->size;
  quarantine_count(is_emptied(cell) ? size / EMPTIED_SHARE : size);
  uintptr_t address = cell->address;
  OPAQUE(address); /* up to here a word that a mark finds: the object cannot die under our hands */
  return true;
}
