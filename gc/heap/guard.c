/* guard.c: see guard.h. */
#include "heap/guard.h"

#include "ports/port.h"

static struct { size_t count; /* stretches of memory that are closed */ } state;

size_t guard_pages(size_t bytes) {
  if (LIKELY(!options.guard) || state.count >= GUARDS_MOST) return 0;
  return round_up(bytes, KERNEL_PAGE) % HEAP_PAGE == 0;
}

/* Behind it, with so many bytes of its run. */
static uintptr_t end_of(const struct page *page) { return page_address(page) + page->size; }
static size_t room_behind(const struct page *page) {
  return (size_t)page->run * HEAP_PAGE - page->size;
}

/* False: there are too many mappings, ours or the program's; or a filter may not know the call. */
static bool bar(struct page *page, uint8_t how, uintptr_t begin, size_t size) {
  if (state.count >= GUARDS_MOST || atomic_get(&port_sealed)) return false;
  page->barred |= how;
  COMPILER_BARRIER();
  if (port_protect_none((void *)begin, size)) {
    state.count++;
    return true;
  }
  COMPILER_BARRIER();
  page->barred &= (uint8_t)~how;
  return false;
}

static bool unbar(struct page *page, uint8_t how, uintptr_t begin, size_t size) {
  if (!(page->barred & how)) return true;
  if (!port_protect_write((void *)begin, size)) return false;
  COMPILER_BARRIER();
  page->barred &= (uint8_t)~how;
  state.count--;
  return true;
}

void guard_set(struct page *page) {
  if (LIKELY(!options.guard) || page->barred & BARRED_BEHIND || !room_behind(page)) return;
  bar(page, BARRED_BEHIND, end_of(page), KERNEL_PAGE);
}

bool guard_lift(struct page *page) { return unbar(page, BARRED_BEHIND, end_of(page), KERNEL_PAGE); }

void guard_close(struct page *page) {
  if (!(page->barred & BARRED_WHOLE)) bar(page, BARRED_WHOLE, page_address(page), page->size);
}

bool guard_open(struct page *page) {
  return unbar(page, BARRED_WHOLE, page_address(page), page->size);
}

bool guard_is_ours(uintptr_t address, uintptr_t *end) {
  const struct page *page = &heap.pages[page_first((address - heap.base) >> HEAP_PAGE_SHIFT)];
  *end = round_down(address, HEAP_PAGE) + HEAP_PAGE;
  if (page->class != CLASS_LARGE || !page->cells || !page->barred) return false;
  uintptr_t behind = end_of(page);
  if (address < behind) {
    *end = behind;
    return page->barred & BARRED_WHOLE;
  }
  if (!(page->barred & BARRED_BEHIND) || address >= behind + KERNEL_PAGE) return false;
  *end = behind + KERNEL_PAGE;
  return true;
}
