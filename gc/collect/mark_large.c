/* mark_large.c: objects that are marked piece by piece; see marker.h.

   Parts of a large object may never have been touched, or be closed by the program. And an array of
   pointers must not put all that it leads to on the mark stack at once. */
#include "collect/marker.h"
#include "heap/page_heap.h"

enum {
  PRESENCE_FILTER = 64 * 1024, /* larger objects may have pages that were never touched */
  PIECE = 1 << 20,             /* of an object: what is looked through for presence at once */
  SLICE = 16 * 1024,           /* of a piece: scanned before what it refers to is */
};

static void scan_present(void *marker, uintptr_t begin, uintptr_t end) {
  marker_scan(marker, begin, end);
}

COLD bool marker_is_closed(uintptr_t begin, uintptr_t end) {
  size_t low = 0, high = marking.protected_count; /* in the order of addresses */
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (marking.protected[middle].end <= begin) low = middle + 1;
    else high = middle;
  }
  for (; low < marking.protected_count && marking.protected[low].begin < end; low++)
    if (!marking.protected[low].readable) return true;
  return false;
}

/* Part of it may have been unmapped: only copying raises no fault, wherever presence is not known.
 */
static bool is_mapped_over(const struct page *page) { return UNLIKELY(page->hints & HINT_MAPPED); }

void marker_scan_part(struct marker *w, uintptr_t address, size_t size) {
  bool closed = UNLIKELY(marking.protected_count) && marker_is_closed(address, address + size);
  bool mapped = UNLIKELY(atomic_get(&page_heap_mapped_over)) &&
                is_mapped_over(&heap.pages[page_first((address - heap.base) >> HEAP_PAGE_SHIFT)]);
  if (closed || mapped) {
    uintptr_t begin = round_down(address, KERNEL_PAGE);
    uintptr_t end = round_up(address + size, KERNEL_PAGE); /* neighbours: kept for nothing */
    if (!port_present_copies(&w->large, begin, end, closed, scan_present, w)) w->failed = true;
  } else if (size < PRESENCE_FILTER || WITHOUT(large_presence))
    marker_scan(w, address, address + size);
  else if (!port_present_ranges(&w->large, address, address + size, scan_present, w))
    w->failed = true;
}

/* Puts the parts of [begin, end) on the stack, the first on top. What finds no room is scanned now,
   as far as `limit`: no word is cut in two at the end, either. */
static void push_parts(struct marker *w, uintptr_t begin, uintptr_t end, uintptr_t limit,
                       size_t size, unsigned class) {
  for (uintptr_t at = begin + round_down(end - begin - 1, size);; at -= size) {
    if (!push(w, (at - heap.base) >> GRANULE_SHIFT << 8 | class))
      marker_scan_part(w, at, size_min(size + KERNEL_PAGE, limit - at));
    if (at == begin) break;
  }
}

struct presence {
  struct marker *marker;
  uintptr_t begin, end;
  bool whole;
};
static void note_presence(void *context, uintptr_t begin, uintptr_t end) {
  struct presence *presence = context;
  if (begin == presence->begin && end == presence->end) presence->whole = true;
  else marker_scan(presence->marker, begin, end);
}

/* What begins here of a large object, up to where the next slice or piece does, and some of that:
   no word is cut in two. */
void marker_scan_portion(struct marker *w, object object) {
  struct cell cell;
  uintptr_t at = object_address(object);
  if (!cell_of(at, &cell)) return;
  uintptr_t end = cell.address + cell.page->size;
  if (object_class(object) == CLASS_SLICE) {
    marker_scan(w, at, size_min(at + SLICE + sizeof(uintptr_t), end));
    return;
  }
  end = size_min(at + PIECE + KERNEL_PAGE, end);
  if (WITHOUT(large_presence) || is_mapped_over(cell.page) ||
      (UNLIKELY(marking.protected_count) && marker_is_closed(at, end))) {
    marker_scan_part(w, at, end - at);
    return;
  }
  struct presence presence = {w, at, end, false};
  if (!port_present_ranges(&w->large, at, end, note_presence, &presence)) w->failed = true;
  else if (presence.whole) push_parts(w, at, size_min(at + PIECE, end), end, SLICE, CLASS_SLICE);
}

void marker_scan_large(struct marker *w, object object) {
  uintptr_t address = object_address(object);
  const struct page *page = object_page(object);
  size_t size = page->size;
  if (UNLIKELY(page->barred & BARRED_WHOLE)) return;
  if (size < PRESENCE_FILTER) marker_scan_part(w, address, size);
  else push_parts(w, address, address + size, address + size, PIECE, CLASS_PIECE);
}
