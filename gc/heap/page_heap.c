/* page_heap.c: see page_heap.h. */
#include "heap/page_heap.h"

#include <string.h>

#include "base/lock.h"
#include "base/option.h"
#include "heap/free_runs.h"
#include "heap/guard.h"
#include "heap/holes.h"
#include "heap/random.h"
#include "ports/port.h"

enum {
  PAGES_TO_PURGE = 16, /* garbage of fewer pages is wiped where they are wanted again */
  BULK = 64,           /* pages of a block that makes no other pages go */
  LEAST_DIRTY = 32,    /* pages that may stay dirty whatever is in use: 2 MiB, and above that ... */
  DIRTY_PART = 8,      /* ... so large a part of what is */
  EXPECTED_SLACK = 16, /* collections begin so large a part later than planned */

  /* Spare pages of objects that grow, mostly address space that is never touched: */
  LEAST_GROWING = 4,     /* pages of such an object with them, at least */
  MOST_SPARE = 256,      /* behind one object */
  LEAST_SPARE = 128,     /* together, whatever is in use, and above that ... */
  SPARE_PART = 4,        /* ... so large a part of what is */
  SPARE_SPACE = 1 << 20, /* pages of reserved space below which none are given */

  KERNEL_PAGES = HEAP_PAGE / KERNEL_PAGE, /* of a heap page */

  PLACES = 32,   /* under random=on: where in a free run, or in fresh pages, one is taken */
  GAPS_PART = 4, /* and gaps of so large a part of what is in use are filled first */
};
static const uint64_t decay_period = 400000000;

struct page_heap_counts page_heap_counts;
bool page_heap_mapped_over;
size_t page_heap_limit = SIZE_MAX;

static struct {
  struct lock lock;
  uint64_t decay_at;  /* when decay next looks */
  size_t dirty_low;   /* the fewest dirty pages seen in this period */
  size_t purged;      /* pages over the limit that were given back in it and not yet taken again */
  size_t allowance;   /* dirty pages that may stay because such pages were soon taken again */
  size_t most;        /* the most pages that memory ever stood behind */
  size_t expected;    /* pages that are likely to be in use before the next collection */
  bool refused;       /* in this period the kernel took nothing back: it is locked */
  size_t spare;       /* pages of runs of large objects that these do not use yet */
  size_t spare_dirty; /* of those, dirty ones */
} state;

#define counts page_heap_counts

/* Free pages left the lists for good: decay may count only on the fewest there were. */
static void note_low(void) {
  if (counts.dirty_free < state.dirty_low) state.dirty_low = counts.dirty_free;
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
  if (have) free_runs_remove(run);
  else run->dirty = 0;
  run->run = (uint32_t)pages;
  atomic_set_release(&heap.top, first + pages);
  return run;
}

/* What is given back because much is free, and wanted again soon after, was given back for nothing:
   a program that fills and empties its heap in turns would pay for each page each time. From then
   on so much may stay, as long as no more is resident than was before. */
static void note_wanted(size_t pages) {
  size_t again = size_min(pages, state.purged);
  state.purged -= again;
  state.allowance = size_min(state.allowance + 2 * again, state.most);
}

/* The first pages of a run that is in no list are to be used. A run knows how many of its pages are
   dirty, not which; here that is an estimate, while what a split says of a part is never too few:
   one dirty page makes each of them look so. */
static void note_use(const struct page *run, size_t pages) {
  if (UNLIKELY(state.purged)) note_wanted(pages - run->dirty * (uint64_t)pages / run->run);
}

static size_t purge_to(size_t keep) {
  size_t purged = free_runs_purge(keep);
  note_low();
  return purged;
}

/* Pages' worth of memory behind what is in use. */
static size_t backed(void) {
  return counts.used + state.spare_dirty - counts.emptied - counts.holes / KERNEL_PAGES;
}

/* Free pages that are likely to be taken before the next collection. */
static size_t expected(void) { return state.expected - size_min(state.expected, counts.used); }

/* How many free pages may stay dirty. */
static size_t dirty_limit(void) {
  size_t in_use = backed(), room = state.most - size_min(state.most, in_use);
  size_t limit = size_max(counts.used / DIRTY_PART, LEAST_DIRTY);
  size_t most = atomic_get(&page_heap_limit);
  limit = size_max(size_max(limit, size_min(state.allowance, room)), expected());
  return size_min(limit, most - size_min(most, in_use));
}

size_t page_heap_backed(void) { return backed() + counts.dirty_free; }

/* More is in use than before, by so many pages. Where those were not dirty, others go for them
   before more is resident than ever was. But blocks of many pages come and go, and each would then
   be paid for page by page, coming and going. */
static void note_growth(size_t pages) {
  size_t limit = dirty_limit();
  bool bulk = pages >= BULK && backed() + counts.dirty_free <= atomic_get(&page_heap_limit);
  if (!bulk && counts.dirty_free > limit && !state.refused)
    state.refused = !purge_to(limit - limit / 8);
  state.most = size_max(state.most, backed() + counts.dirty_free);
}

static void count_used(size_t pages) {
  atomic_set(&counts.used, counts.used + pages);
  if (counts.used > counts.peak) counts.peak = counts.used;
  note_growth(pages);
}

/* Gives the first pages of a run that is in no list back; the rest. */
static struct page *leave_ahead(struct page *run, size_t ahead) {
  if (!ahead) return run;
  struct page *rest = run + ahead;
  rest->free = 0; /* left from when a run began or ended here */
  rest->run = run->run - (uint32_t)ahead;
  rest->dirty = free_runs_dirty_part(run, rest->run);
  run->dirty = free_runs_dirty_part(run, ahead);
  run->run = (uint32_t)ahead;
  free_runs_add(run);
  return rest;
}

/* A run of so many pages somewhere in a longer one. NULL: there is none so long. */
static COLD struct page *take_anywhere(size_t pages) {
  size_t wish = pages + random_below(PLACES), free = heap.top - counts.used - state.spare;
  struct page *run = free_runs_find(wish);
  if (!run && free > size_max(counts.used / GAPS_PART, 2 * PLACES)) run = free_runs_find(pages);
  if (run) free_runs_remove(run);
  else if (!(run = grow(wish))) return NULL;
  size_t ahead = random_below(size_min(run->run - pages, PLACES - 1) + 1);
  note_use(run, pages);
  free_runs_split(run, ahead + pages);
  return leave_ahead(run, ahead);
}

/* The one that fits best. */
static struct page *take_best(size_t pages) {
  struct page *run = free_runs_find(pages);
  if (run) free_runs_remove(run);
  else if (!(run = grow(pages))) return NULL;
  note_use(run, pages);
  free_runs_split(run, pages);
  return run;
}

/* A run in no list, of which so many pages are to be used and the rest are spare. `dirty` tells
   whether its memory may hold old contents. */
static struct page *take(size_t pages, size_t spare) {
  struct page *run = UNLIKELY(options.random) ? take_anywhere(pages + spare) : NULL;
  if (!run) run = take_best(pages + spare);
  if (!run) return NULL;
  note_low();
  count_used(pages);
  state.spare += spare;
  return run;
}

/* Are there unwiped pages among these? From here on there are none. */
static bool take_unwiped(struct page *page, size_t pages) {
  unsigned any = 0;
  for (size_t i = 0; i < pages; i++) {
    any |= page[i].unwiped;
    page[i].unwiped = 0;
  }
  return any;
}

/* Much of a large object may never be written, and little costs less wiped than faulted in. */
static void wipe_for_large(struct page *page, size_t pages) {
  for (size_t i = 0, n; i < pages; i += n + 1) {
    for (n = 0; i + n < pages && page[i + n].unwiped; n++) page[i + n].unwiped = 0;
    void *address = (void *)page_address(page + i);
    if (n && (n < PAGES_TO_PURGE || !port_purge(address, n * HEAP_PAGE)))
      memset(address, 0, n * HEAP_PAGE);
  }
}

/* A run of which so many pages were used, and how many of those and of the others are dirty. */
static void give_back(struct page *run, size_t used, size_t used_dirty, size_t spare_dirty) {
  atomic_set(&counts.used, counts.used - used);
  state.spare -= run->run - used;
  state.spare_dirty -= spare_dirty;
  run->dirty = (uint32_t)(used_dirty + spare_dirty);
  size_t limit = dirty_limit(), mine = run->dirty, before = counts.dirty_free + mine;
  size_t keep = before <= limit ? before : size_max(limit / 2, size_min(expected(), limit));
  /* What was freed last goes last: it is in the cache, and the program may read it yet. */
  if (before > limit && mine <= keep) purge_to(keep - mine);
  free_runs_add(run);
  if (before > limit && mine > keep) purge_to(keep);
  state.purged += before - counts.dirty_free;
}

/* Takes the run out of the lookup tables; from here on no word points into it. */
static void forget(struct page *run) {
  size_t first = page_index(run);
  for (size_t i = 0; i < run->run; i++)
    heap.page_first[first + i] = page_entry(first + i, CLASS_NONE);
  COMPILER_BARRIER(); /* the marker goes by the entries, and the flip by the count */
  run->cells = 0;
  COMPILER_BARRIER();
  memset(heap.page_class + first, CLASS_NONE, run->run);
}

void page_heap_free_slowly(const struct page *page) {
  memset(heap.page_class + page_index(page), CLASS_NONE, page->run);
}

static void clear_descriptor(struct page *page) {
  page->free = page->hints = page->purged = page->rescan = page->barred = 0;
  page->scan = page->skip = 0;
  atomic_set(&page->full, 0); /* may be under the stale look of a flusher or a sweeper */
  atomic_set(&page->unswept, 0);
  atomic_set(&page->owner, NULL);
  page->next = page->previous = NULL;
}

struct page *page_heap_span(unsigned class) {
  const struct size_class *c = &size_classes[class];
  lock_acquire(&state.lock);
  struct page *page = take(c->span, 0);
  if (page) {
    size_t first = page_index(page);
    clear_descriptor(page);
    page->unwiped = take_unwiped(page, c->span);
    page->purged_at = 0;
    page->class = (uint8_t) class;
    page->size = c->size;
    page->reciprocal = c->reciprocal;
    page->words = (uint8_t)((c->cells + 63) / 64);
    uint64_t *allocated = heap.allocated[first];
    unsigned tail = c->cells & 63;
    if (tail)
      allocated[page->words - 1] = ~0ull << tail; /* cells that do not exist are never free */
    for (size_t i = 1; i < c->span; i++) heap.pages[first + i].cells = 0;
    atomic_set_release(&page->cells, c->cells);
    COMPILER_BARRIER();
    heap.page_first[first] = page_entry(first, class); /* first: it is none of page 0's any more */
    COMPILER_BARRIER();
    for (size_t i = 1; i < c->span; i++) heap.page_first[first + i] = page_entry(first, class);
    COMPILER_BARRIER();
    if (!heap.free_slowly) memset(heap.page_class + first, (int)class, c->span);
  }
  lock_release(&state.lock);
  return page;
}

/* These pages of an object are the heap's again, whatever the program has made of them. */
static bool take_over(const struct page *page, size_t from, size_t to) {
  if (LIKELY(!(atomic_get(&page->hints) & HINT_OWN))) return true;
  return port_renew((void *)(page_address(page) + from * HEAP_PAGE), (to - from) * HEAP_PAGE);
}

void page_heap_release_span(struct page *page) {
  lock_acquire(&state.lock);
  if (!take_over(page, 0, page->run)) { /* nobody else can use it */
    lock_release(&state.lock);
    return;
  }
  forget(page);
  for (unsigned w = 0; w < page->words; w++) page_allocated(page)[w] = 0;
  atomic_set(&page->full, 0);
  counts.holes -= page->purged;
  for (size_t i = 1; i < page->run; i++) page[i].unwiped = page->unwiped;
  give_back(page, page->run, page->hints & HINT_OWN ? 0 : page->run, 0);
  lock_release(&state.lock);
}

void page_heap_note_holes(struct page *page, size_t holes) {
  lock_acquire(&state.lock);
  holes_note(page, holes);
  lock_release(&state.lock);
}

void page_heap_fill_holes(struct page *page) {
  page->purged_at = 0;
  if (!page->purged) return;
  lock_acquire(&state.lock);
  holes_fill(page);
  note_growth(0);
  lock_release(&state.lock);
}

/* Enters a large object's pages [from, to) of its run into the tables. */
static void enter_large(struct page *page, size_t from, size_t to) {
  size_t first = page_index(page);
  for (size_t i = from; i < to; i++) {
    if (i) heap.pages[first + i].cells = 0;
    heap.page_first[first + i] = page_entry(first, CLASS_LARGE);
    COMPILER_BARRIER(); /* the first page's first: it is none of page 0's any more */
  }
  memset(heap.page_class + first + from, CLASS_LARGE, to - from);
}

static size_t pages_for(size_t bytes) { return (bytes + HEAP_PAGE - 1) / HEAP_PAGE; }

/* A large object of a run that is in no list. */
static void set_up_large(struct page *page, size_t bytes) {
  clear_descriptor(page);
  page->class = CLASS_LARGE;
  page->size = round_up(bytes, KERNEL_PAGE);
  page->reciprocal = 0;
  page->words = 1;
  heap.allocated[page_index(page)][0] = 1; /* its one cell */
  atomic_set_release(&page->cells, 1);
  COMPILER_BARRIER();
  enter_large(page, 0, page->run);
  guard_set(page);
  page_heap_note_large(page->size, 0);
}

struct page *page_heap_large(size_t bytes, size_t alignment, bool *zero) {
  size_t pages = pages_for(bytes);
  size_t extra = alignment > HEAP_PAGE ? alignment / HEAP_PAGE : 0;
  if (pages + extra < pages || pages + extra > heap.page_limit) return NULL;
  lock_acquire(&state.lock);
  size_t spare = guard_pages(bytes);
  struct page *page = take(pages + extra, spare);
  if (!page && spare) page = take(pages + extra, spare = 0);
  if (page) {
    wipe_for_large(page, page->run);
    if (extra) {
      size_t ahead = (round_up(page_address(page), alignment) - page_address(page)) / HEAP_PAGE;
      free_runs_split(page, ahead + pages + spare);
      page = leave_ahead(page, ahead);
      atomic_set(&counts.used, counts.used - extra);
    }
    *zero = !page->dirty;
    page->dirty = free_runs_dirty_part(page, spare);
    state.spare_dirty += page->dirty;
    set_up_large(page, bytes);
  }
  lock_release(&state.lock);
  return page;
}

/* How many pages an object that grows gets above what it needs: as many again. */
static size_t spare_for(size_t pages) {
  size_t spare =
      size_min(size_max(pages, LEAST_GROWING - size_min(pages, LEAST_GROWING)), MOST_SPARE);
  bool room = heap.page_limit >= SPARE_SPACE &&
              state.spare + spare <= size_max(counts.used / SPARE_PART, LEAST_SPARE);
  return room ? spare : 0;
}

struct page *page_heap_large_growing(size_t bytes) {
  size_t pages = pages_for(bytes);
  if (pages > heap.page_limit) return NULL;
  lock_acquire(&state.lock);
  size_t spare = size_max(spare_for(pages), guard_pages(bytes));
  struct page *page = take(pages, spare);
  if (!page && spare) page = take(pages, 0);
  if (page) {
    wipe_for_large(page, page->run);
    page->dirty = free_runs_dirty_part(page, page->run - pages);
    state.spare_dirty += page->dirty;
    set_up_large(page, bytes);
  }
  lock_release(&state.lock);
  return page;
}

void page_heap_forget_sweep(struct page *page) {
  if (page_marked(page)[0]) page_marked(page)[0] = 0; /* else no memory need be behind it */
  atomic_set(&page->unswept, 0);
}

void page_heap_reopen_large(struct page *page) {
  if (LIKELY(!(atomic_get(&page->hints) & HINT_PROTECTED))) return;
  if (!port_commit((void *)page_address(page), pages_for(page->size) * HEAP_PAGE)) return;
  __atomic_fetch_and(&page->hints, (uint8_t)~HINT_PROTECTED, __ATOMIC_RELAXED);
}

void page_heap_release_large(struct page *page) {
  lock_acquire(&state.lock);
  size_t pages = pages_for(page->size);
  if ((UNLIKELY(page->barred) && !(guard_open(page) && guard_lift(page))) ||
      !take_over(page, 0, pages)) { /* nobody else can use it */
    lock_release(&state.lock);
    return;
  }
  bool clean = page->purged;
  page_heap_note_large(0, clean ? page->size / EMPTIED_SHARE : page->size);
  forget(page);
  page_allocated(page)[0] = 0;
  page_heap_forget_sweep(page);
  if (clean) atomic_set(&counts.emptied, counts.emptied - pages);
  for (size_t i = 1; i < pages; i++) page[i].unwiped = page->unwiped;
  bool fresh = clean || page->hints & HINT_OWN;
  give_back(page, pages, fresh ? 0 : pages, page->dirty);
  lock_release(&state.lock);
}

/* Memory is, or may be, behind all of it again. */
static void fill_large(struct page *page) {
  if (!page->purged) return;
  atomic_set(&counts.emptied, counts.emptied - pages_for(page->size));
  page_heap_note_large(page->size, page->size / EMPTIED_SHARE);
  page->purged = 0;
}

void page_heap_empty_large(struct page *page) {
  size_t pages = pages_for(page->size);
  /* Not the spare pages behind: they may be taken away meanwhile. */
  bool done = page->hints & HINT_OWN ? take_over(page, 0, pages)
                                     : port_purge((void *)page_address(page), pages * HEAP_PAGE);
  lock_acquire(&state.lock);
  if (done && !page->purged) {
    atomic_set(&counts.emptied, counts.emptied + pages);
    page_heap_note_large(page->size / EMPTIED_SHARE, page->size);
  }
  if (!done) fill_large(page);
  page->purged = done;
  lock_release(&state.lock);
}

void page_heap_close_large(struct page *page) {
  lock_acquire(&state.lock);
  if (page->purged) guard_close(page);
  lock_release(&state.lock);
}

bool page_heap_open_large(struct page *page) {
  lock_acquire(&state.lock);
  bool open = guard_open(page);
  lock_release(&state.lock);
  return open;
}

/* Cuts a large object's run to so many pages. */
static void cut_large(struct page *page, size_t old, size_t pages) {
  struct page *rest = page + pages;
  rest->run = page->run - (uint32_t)pages;
  page->run = (uint32_t)pages;
  forget(rest);
  give_back(rest, old - pages, old - pages, page->dirty);
  page->dirty = 0;
}

size_t page_heap_take_spare(void) {
  lock_acquire(&state.lock);
  size_t before = state.spare;
  for (size_t i = 1; state.spare && i < heap.top; i++) {
    struct page *page = &heap.pages[i];
    if (!page_begins(page) || page->class != CLASS_LARGE) continue;
    size_t pages = pages_for(page->size);
    if (pages == page->run || !guard_lift(page)) continue;
    cut_large(page, pages, pages);
    guard_set(page);
  }
  size_t taken = before - state.spare;
  lock_release(&state.lock);
  return taken;
}

/* Makes a large object's run longer. False: no room behind it. */
static bool extend_large(struct page *page, size_t pages) {
  size_t room = page->run, end = page_index(page) + room, more = pages - room;
  struct page *behind = &heap.pages[end];
  if (end < heap.top && behind->free && behind->run >= more) {
    free_runs_remove(behind);
    note_use(behind, more);
    free_runs_split(behind, more);
    wipe_for_large(behind, more);
  } else if (end == heap.top && more <= heap.page_limit - heap.top &&
             heap_commit(heap.top + more)) {
    atomic_set_release(&heap.top, heap.top + more);
  } else {
    return false;
  }
  note_low();
  enter_large(page, room, pages);
  COMPILER_BARRIER();
  page->run = (uint32_t)pages;
  state.spare += more;
  return true;
}

bool page_heap_resize_large(struct page *page, size_t bytes) {
  size_t pages = pages_for(bytes), size = round_up(bytes, KERNEL_PAGE);
  lock_acquire(&state.lock);
  size_t old = pages_for(page->size);
  bool done = true;
  if (UNLIKELY(page->barred) && size != page->size && !guard_lift(page)) {
    lock_release(&state.lock);
    return false;
  }
  fill_large(page); /* found dead, perhaps, and used after all */
  size_t before = page->size;
  if (pages < old && !take_over(page, pages, old)) {
    done = false;
  } else if (pages < old) {
    page->size = size;
    COMPILER_BARRIER();
    cut_large(page, old, pages);
  } else if (pages <= page->run || extend_large(page, pages)) {
    COMPILER_BARRIER();
    page->size = size; /* last: a stopped thread's half-grown object is its old self */
    state.spare -= pages - old;
    uint32_t dirty = (uint32_t)size_min(page->dirty, page->run - pages);
    state.spare_dirty -= page->dirty - dirty;
    page->dirty = dirty;
    count_used(pages - old);
  } else {
    done = false;
  }
  page_heap_note_large(page->size, before);
  guard_set(page);
  lock_release(&state.lock);
  return done;
}

void page_heap_expect(size_t pages) {
  lock_acquire(&state.lock);
  state.expected = size_min(pages + pages / EXPECTED_SLACK, state.most);
  if (counts.dirty_free > dirty_limit()) purge_to(dirty_limit());
  lock_release(&state.lock);
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
  state.purged = 0;
  state.allowance /= 2;
  holes_decay();
  state.refused = false;
  atomic_set(&state.decay_at, now + decay_period);
  lock_release(&state.lock);
}

void page_heap_shrink(size_t budget) {
  lock_acquire(&state.lock);
  heap_shrink(budget);
  lock_release(&state.lock);
}

void page_heap_lock(void) {
  lock_acquire(&state.lock);
  heap_metadata_lock();
}
void page_heap_unlock(void) {
  heap_metadata_unlock();
  lock_release(&state.lock);
}
