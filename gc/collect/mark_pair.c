/* mark_pair.c: two who mark without a locked operation for each object; see mark.h.

   Each sets bits in a bitmap of its own, the first in that of marks, and leaves alone what is set
   in either. What both find at the same moment, before either sees the other's bit, is scanned
   twice, which does no harm: it is counted once in the end, when what the second has marked goes to
   the bitmap of marks. (A locked operation for each object was a quarter of the time of two
   markers.) */
#include "base/option.h"
#include "collect/marker.h"
#include "heap/page_heap.h"

/* Not where nearly all is marked beforehand, nor where most of the heap is free: page faults would
   cost more than is saved. */
void marker_pair_prepare(void) {
  size_t top = atomic_get_acquire(&heap.top);
  if (options_keep_unfreed() || page_heap_used() < top / 2) return;
  if (marker_commit_found(1, top)) marker_populate_found(top);
}

bool marker_pair_begin(size_t top) { return marking.tables && marker_commit_found(1, top); }

void marker_pair_join(struct marker *w) {
  uint64_t(*second)[PAGE_WORDS] = marking.found[0].cells;
  w->other = second[0] - heap.marked[0];
  if (w == &markers[0]) return;
  w->other = -w->other;
  for (unsigned class = 0; class < CLASSES; class ++) w->marks[class] = second;
}

/* Both have scanned it, and counted it if it counts. */
static COLD void count_once(const struct page *page, unsigned word, uint64_t cells) {
  for (; cells; cells &= cells - 1) {
    uintptr_t offset = (word * 64 + (unsigned)__builtin_ctzll(cells)) * page->size;
    if (state_is_none(*state_at(page_address(page) + offset))) continue;
    markers[0].reached[page->class]--;
    if (page->class == CLASS_LARGE) markers[0].counts.bytes -= page->size;
  }
}

void marker_pair_merge(const struct page *page) {
  size_t at = page_index(page);
  uint64_t *first = heap.marked[at], *second = marking.found[0].cells[at];
  for (unsigned word = 0; word < page->words; word++) {
    uint64_t cells = second[word];
    if (!cells) continue;
    if (UNLIKELY(cells & first[word])) count_once(page, word, cells & first[word]);
    first[word] |= cells;
    second[word] = 0;
  }
}

void marker_pair_merge_all(void) {
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++)
    if (page_begins(&heap.pages[i])) marker_pair_merge(&heap.pages[i]);
}
