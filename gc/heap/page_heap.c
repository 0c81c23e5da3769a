/* page_heap.c: see page_heap.h. */
#include "heap/page_heap.h"

#include <string.h>

#include "base/lock.h"
#include "base/remedy.h"
#include "ports/port.h"

enum {
  EXACT_LISTS = 64,    /* list n holds runs of n pages, n < 64 */
  LISTS = 64 + 4 * 22, /* then four a doubling, up to 2^28 pages */
  LEAST_DIRTY = 32,    /* pages that may stay dirty whatever is in use: 2 MiB */
};
static const uint64_t decay_period = 400000000;

struct page_heap_counts page_heap_counts;

static struct {
  struct lock lock;
  struct page *lists[LISTS];
  uint64_t decay_at; /* when decay next looks */
  size_t dirty_low;  /* the fewest dirty pages seen in this period */
} state;

#define counts page_heap_counts

static unsigned list_of(size_t pages) {
  if (pages < EXACT_LISTS) return (unsigned)pages;
  unsigned log = 63 - (unsigned)__builtin_clzll(pages); /* at least 6 */
  unsigned list = EXACT_LISTS + (log - 6) * 4 + ((pages >> (log - 2)) & 3);
  return list < LISTS ? list : LISTS - 1;
}

static void set_ends(struct page *run, bool free) {
  struct page *last = run + run->run - 1;
  last->run = run->run;
  run->free = last->free = free;
}

static void list_add(struct page *run) {
  struct page **head = &state.lists[list_of(run->run)];
  run->previous = NULL;
  run->next = *head;
  if (*head) (*head)->previous = run;
  *head = run;
  set_ends(run, true);
  if (run->dirty) atomic_set(&counts.dirty_free, counts.dirty_free + run->run);
}

static void list_remove(struct page *run) {
  if (run->previous) run->previous->next = run->next;
  else state.lists[list_of(run->run)] = run->next;
  if (run->next) run->next->previous = run->previous;
  run->next = run->previous = NULL;
  set_ends(run, false);
  if (run->dirty) atomic_set(&counts.dirty_free, counts.dirty_free - run->run);
}

/* Free pages left the lists for good: decay may count only on the fewest there were. */
static void note_low(void) {
  if (counts.dirty_free < state.dirty_low) state.dirty_low = counts.dirty_free;
}

/* Makes a run free, joined with its free neighbours. */
static void add_coalesced(struct page *run) {
  size_t first = page_index(run), end = first + run->run;
  if (end < heap.top && heap.pages[end].free) {
    struct page *behind = &heap.pages[end];
    list_remove(behind);
    run->run += behind->run;
    run->dirty |= behind->dirty;
  }
  if (heap.pages[first - 1].free) { /* page 0 is never free */
    struct page *before = &heap.pages[first - heap.pages[first - 1].run];
    list_remove(before);
    before->run += run->run;
    before->dirty |= run->dirty;
    run = before;
  }
  list_add(run);
}

/* Cuts a run that is in no list to its first `pages` pages; the rest becomes free. */
static void split(struct page *run, size_t pages) {
  if (run->run == pages) return;
  struct page *rest = run + pages;
  rest->run = run->run - (uint32_t)pages;
  rest->dirty = run->dirty;
  run->run = (uint32_t)pages;
  rest[-1].free = 0;
  add_coalesced(rest);
}

static struct page *find_run(size_t pages) {
  for (unsigned list = list_of(pages); list < LISTS; list++) {
    struct page *best = NULL;
    int looked = 0;
    for (struct page *run = state.lists[list]; run; run = run->next) {
      if (run->run < pages) continue;
      if (list < EXACT_LISTS) return run;
      if (!best || run->run < best->run || (run->run == best->run && run < best)) best = run;
      if (++looked == 32) break; /* good enough, and bounded */
    }
    if (best) return best;
  }
  return NULL;
}

/* Fresh pages from above the top, joined with a free run that ends there. */
static struct page *grow(size_t pages) {
  struct page *run = &heap.pages[heap.top];
  size_t have = 0;
  if (heap.top > 1 && run[-1].free) {
    have = run[-1].run;
    run -= have;
  }
  size_t first = page_index(run);
  if (pages > heap.page_limit - first || !heap_commit(first + pages)) return NULL;
  run = &heap.pages[first];
  if (have) list_remove(run);
  else run->dirty = 0;
  run->run = (uint32_t)pages;
  atomic_set_release(&heap.top, first + pages);
  return run;
}

/* A run in no list. `dirty` tells whether its memory may hold old contents. */
static struct page *take(size_t pages) {
  struct page *run = find_run(pages);
  if (run) {
    list_remove(run);
    split(run, pages);
  } else {
    run = grow(pages);
    if (!run) return NULL;
  }
  note_low();
  atomic_set(&counts.used, counts.used + pages);
  if (counts.used > counts.peak) counts.peak = counts.used;
  return run;
}

/* The kernel pages that lie wholly inside. All zero: nothing lives here. */
static void purge_inner(const void *begin, const void *end) {
  uintptr_t from = round_up((uintptr_t)begin, KERNEL_PAGE),
            to = (uintptr_t)end & ~(KERNEL_PAGE - 1ul);
  if (from < to) port_purge((void *)from, to - from);
}

static size_t purge_run(struct page *run) {
  uintptr_t address = page_address(run);
  size_t size = (size_t)run->run * HEAP_PAGE;
  if (!port_purge((void *)address, size)) return 0;
  size_t first = page_index(run), end = first + run->run;
  purge_inner(state_at(address), state_at(address) + (size_t)run->run * PAGE_GRANULES);
  purge_inner(heap.allocated[first], heap.allocated[end]);
  purge_inner(heap.marked[first], heap.marked[end]);
  atomic_set(&counts.dirty_free, counts.dirty_free - run->run);
  run->dirty = 0;
  return size;
}

static size_t purge_to(size_t keep) {
  size_t purged = 0;
  if (WITHOUT(give_back)) return 0;
  for (unsigned list = LISTS; list-- > 1 && counts.dirty_free > keep;)
    for (struct page *run = state.lists[list]; run && counts.dirty_free > keep; run = run->next)
      if (run->dirty) purged += purge_run(run);
  note_low();
  return purged;
}

static void give_back(struct page *run) {
  atomic_set(&counts.used, counts.used - run->run);
  run->dirty = 1;
  add_coalesced(run);
  size_t limit = size_max(counts.used / 2, LEAST_DIRTY);
  if (counts.dirty_free > limit) purge_to(limit / 2);
}

/* Takes the run out of the lookup tables; from here on no word points into it. */
static void forget(struct page *run) {
  size_t first = page_index(run);
  run->cells = 0;
  COMPILER_BARRIER();
  memset(heap.page_class + first, CLASS_NONE, run->run);
  for (size_t i = 0; i < run->run; i++) heap.page_first[first + i] = (uint32_t)(first + i);
}

static void clear_descriptor(struct page *page) {
  page->free = page->has_pinned = page->purged = page->rescan = 0;
  page->scan = page->skip = 0;
  atomic_set(&page->full, 0); /* may be under the stale look of a flusher or a sweeper */
  atomic_set(&page->unswept, 0);
  atomic_set(&page->owner, NULL);
  page->next = page->previous = NULL;
}

struct page *page_heap_span(unsigned class) {
  const struct size_class *c = &size_classes[class];
  lock_acquire(&state.lock);
  struct page *page = take(c->span);
  if (page) {
    size_t first = page_index(page);
    clear_descriptor(page);
    page->class = (uint8_t) class;
    page->size = c->size;
    page->reciprocal = c->reciprocal;
    page->words = (uint8_t)((c->cells + 63) / 64);
    uint64_t *allocated = heap.allocated[first];
    unsigned tail = c->cells & 63;
    if (tail)
      allocated[page->words - 1] = ~0ull << tail; /* cells that do not exist are never free */
    for (size_t i = 0; i < c->span; i++) {
      if (i) heap.pages[first + i].cells = 0;
      heap.page_first[first + i] = (uint32_t)first;
    }
    atomic_set_release(&page->cells, c->cells);
    COMPILER_BARRIER();
    if (!heap.free_slowly) memset(heap.page_class + first, (int)class, c->span);
  }
  lock_release(&state.lock);
  return page;
}

void page_heap_release_span(struct page *page) {
  lock_acquire(&state.lock);
  forget(page);
  for (unsigned w = 0; w < page->words; w++) page_allocated(page)[w] = 0;
  atomic_set(&page->full, 0);
  give_back(page);
  lock_release(&state.lock);
}

/* Enters a large object's pages [from, to) of its run into the tables. */
static void enter_large(struct page *page, size_t from, size_t to) {
  size_t first = page_index(page);
  for (size_t i = from; i < to; i++) {
    if (i) heap.pages[first + i].cells = 0;
    heap.page_first[first + i] = (uint32_t)first;
  }
  memset(heap.page_class + first + from, CLASS_LARGE, to - from);
}

struct page *page_heap_large(size_t bytes, size_t alignment, bool *zero) {
  size_t pages = (bytes + HEAP_PAGE - 1) / HEAP_PAGE;
  size_t extra = alignment > HEAP_PAGE ? alignment / HEAP_PAGE : 0;
  if (pages + extra < pages || pages + extra > heap.page_limit) return NULL;
  lock_acquire(&state.lock);
  struct page *page = take(pages + extra);
  if (page) {
    if (extra) {
      size_t ahead = (round_up(page_address(page), alignment) - page_address(page)) / HEAP_PAGE;
      uint8_t dirty = page->dirty;
      split(page, ahead + pages);
      if (ahead) {
        struct page *aligned = page + ahead;
        aligned->run = (uint32_t)pages;
        aligned->dirty = dirty;
        page->run = (uint32_t)ahead;
        list_add(page);
        page = aligned;
      }
      atomic_set(&counts.used, counts.used - extra);
    }
    *zero = !page->dirty;
    clear_descriptor(page);
    page->class = CLASS_LARGE;
    page->size = round_up(bytes, KERNEL_PAGE);
    page->reciprocal = 0;
    page->words = 1;
    size_t first = page_index(page);
    heap.allocated[first][0] = 1; /* its one cell */
    enter_large(page, 0, pages);
    atomic_set_release(&page->cells, 1);
    atomic_set(&counts.large, counts.large + pages);
  }
  lock_release(&state.lock);
  return page;
}

void page_heap_release_large(struct page *page) {
  lock_acquire(&state.lock);
  atomic_set(&counts.large, counts.large - page->run);
  forget(page);
  page_allocated(page)[0] = 0;
  page_marked(page)[0] = 0; /* found dead, yet freed by the program, which had hidden its pointer */
  atomic_set(&page->unswept, 0);
  give_back(page);
  lock_release(&state.lock);
}

bool page_heap_resize_large(struct page *page, size_t bytes) {
  size_t pages = (bytes + HEAP_PAGE - 1) / HEAP_PAGE, size = round_up(bytes, KERNEL_PAGE);
  lock_acquire(&state.lock);
  size_t old = page->run, first = page_index(page);
  bool done = true;
  if (pages == old) {
    page->size = size;
  } else if (pages < old) {
    page->size = size;
    COMPILER_BARRIER();
    struct page *rest = page + pages;
    rest->run = (uint32_t)(old - pages);
    page->run = (uint32_t)pages;
    forget(rest);
    atomic_set(&counts.large, counts.large - (old - pages));
    give_back(rest);
  } else {
    size_t more = pages - old;
    struct page *behind = &heap.pages[first + old];
    if (first + old < heap.top && behind->free && behind->run >= more) {
      list_remove(behind);
      split(behind, more);
    } else if (first + old == heap.top && more <= heap.page_limit - heap.top &&
               heap_commit(heap.top + more)) {
      atomic_set_release(&heap.top, heap.top + more);
    } else {
      done = false;
    }
    if (done) {
      note_low();
      enter_large(page, old, pages);
      COMPILER_BARRIER();
      page->run = (uint32_t)pages;
      page->size = size; /* last: a stopped thread's half-grown object is its old self */
      atomic_set(&counts.used, counts.used + more);
      atomic_set(&counts.large, counts.large + more);
      if (counts.used > counts.peak) counts.peak = counts.used;
    }
  }
  lock_release(&state.lock);
  return done;
}

size_t page_heap_purge(size_t keep) {
  lock_acquire(&state.lock);
  size_t purged = purge_to(keep);
  lock_release(&state.lock);
  return purged;
}

void page_heap_decay(uint64_t now) {
  if (now < atomic_get(&state.decay_at)) return;
  if (!lock_try(&state.lock)) return;
  if (state.decay_at && state.dirty_low) purge_to(counts.dirty_free - state.dirty_low);
  state.dirty_low = counts.dirty_free;
  atomic_set(&state.decay_at, now + decay_period);
  lock_release(&state.lock);
}

void page_heap_shrink(size_t budget) {
  lock_acquire(&state.lock);
  heap_shrink(budget);
  lock_release(&state.lock);
}

void page_heap_lock(void) { lock_acquire(&state.lock); }
void page_heap_unlock(void) { lock_release(&state.lock); }
