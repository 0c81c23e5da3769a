/* mark_live.c: counts every live object as reached; see mark.h.

   What the program has not freed is searched from one end of the heap to the other instead of being
   found by its pointers (the linear sweep of MineSweeper: Erdos, Ainsworth, Jones, "MineSweeper: a
   'clean sweep' for drop-in use-after-free prevention", ASPLOS 2022). Memory is read in order, and
   a word that points to a live object leads nowhere. What was freed is still found by pointers:
   what it holds counts where it is reached itself. */
#include "collect/marker.h"

/* Which cells of one word of a page's bitmap hold live objects; `seen` gathers their states. */
static inline uint64_t live_cells(const struct page *page, unsigned word, uint8_t *seen) {
  size_t step = state_step(page);
  const uint8_t *states = state_at(page_address(page)) + word * 64 * step;
  uint64_t live = 0, bits = page_allocated(page)[word];
  unsigned left = page->cells - word * 64, all = 0;
  if (left < 64) bits &= (1ull << left) - 1;
  for (; bits; bits &= bits - 1) {
    unsigned cell = (unsigned)__builtin_ctzll(bits), state = states[cell * step];
    uint64_t is_live = state & STATE_LIVE;
    live |= is_live << cell;
    all |= state & -(unsigned)is_live;
  }
  *seen |= (uint8_t)all;
  return live;
}

static void mark_page(struct page *page) {
  uint64_t *marked = page_marked(page), count = 0;
  uint8_t seen = 0;
  for (unsigned word = 0; word < page->words; word++) {
    uint64_t live = live_cells(page, word, &seen);
    marked[word] |= live;
    count += count_ones(live);
  }
  if (page->class != CLASS_LARGE) markers[0].reached[page->class] += count;
  if (state_is_leaf(seen)) marking.leaves = true;
}

/* Live objects side by side, none of them a leaf. */
static void scan_run(struct marker *w, const struct page *page, unsigned first, unsigned count) {
  uintptr_t begin = page_address(page) + first * page->size;
  uintptr_t end = begin + count * page->size;
  bool in_place =
      LIKELY(!marking.careful) || (!(page->hints & HINT_MAPPED) && !marker_is_closed(begin, end));
  if (in_place) marker_scan(w, begin, end);
  else /* one at a time: a closed page is not the affair of those beside it */
    for (; begin < end; begin += page->size) marker_scan_part(w, begin, page->size);
}

/* Which of these cells may hold pointers. */
static uint64_t without_leaves(const struct page *page, unsigned word, uint64_t cells) {
  for (uint64_t bits = cells; bits; bits &= bits - 1) {
    unsigned cell = (unsigned)__builtin_ctzll(bits);
    if (state_is_leaf(*state_at(page_address(page) + (word * 64 + cell) * page->size)))
      cells &= ~(1ull << cell);
  }
  return cells;
}

void marker_scan_span(struct marker *w, object object) {
  const struct page *page = object_page(object);
  unsigned first = 0, count = 0; /* a run that may go on in the next word */
  uint8_t seen = 0;
  for (unsigned word = 0; word < page->words; word++) {
    uint64_t cells = live_cells(page, word, &seen);
    if (UNLIKELY(marking.leaves)) cells = without_leaves(page, word, cells);
    for (unsigned at = 0; at < 64;) {
      uint64_t rest = cells >> at;
      unsigned ones = ~rest ? (unsigned)__builtin_ctzll(~rest) : 64;
      ones = ones < 64 - at ? ones : 64 - at;
      if (!count) first = word * 64 + at;
      count += ones;
      at += ones;
      if (at == 64) break;
      scan_run(w, page, first, count);
      count = 0;
      rest = cells >> at;
      if (!rest) break;
      at += (unsigned)__builtin_ctzll(rest);
    }
  }
  scan_run(w, page, first, count);
}

void mark_live(void) {
  struct marker *w = &markers[0];
  marking.live = true;
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++)
    if (page_begins(&heap.pages[i])) mark_page(&heap.pages[i]);
  for (size_t i = top - 1; i; i--) { /* the first comes to lie on top */
    struct page *page = &heap.pages[i];
    if (!page_begins(page)) continue;
    bool large = page->class == CLASS_LARGE;
    if (large && !(page_marked(page)[0] & 1)) continue;
    object all = object_at(page, page_address(page));
    if (!large) all = (all & ~(object)0xff) | CLASS_SPAN;
    if (!push(w, all)) marker_scan_object(w, all);
  }
}
