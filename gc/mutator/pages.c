/* pages.c: see pages.h. */
#include "mutator/pages.h"

#include "base/lock.h"
#include "base/remedy.h"
#include "heap/holes.h"
#include "heap/page_heap.h"
#include "mutator/large.h"
#include "ports/port.h"

enum {
  TRIM_PART = 8,      /* look for empty pages when this part of the heap's, ... */
  TRIM_LEAST = 16,    /* ... and this many at least, have become free cells since the last look */
  HOLES_LEAST = 1024, /* smaller free cells seldom make up a kernel page */
};

void (*mutator_sweep_page)(struct page *page);
bool mutator_pages_emptied, mutator_keeps_holes;
struct mutator *mutator_pool;

void mutator_page_freed(struct page *page) {
  if (!__atomic_load_n(&page->full, __ATOMIC_SEQ_CST)) return;
  if (!__atomic_exchange_n(&page->full, 0, __ATOMIC_SEQ_CST)) return;
  struct mutator *owner = __atomic_load_n(&page->owner, __ATOMIC_ACQUIRE);
  if (!owner) return; /* a page that changed hands under a stale look; its new owner lists it */
  if (atomic_get(&owner->bare)) owner = atomic_get_acquire(&mutator_pool);
  struct page *top = atomic_get(&owner->returned);
  do page->next = top;
  while (!__atomic_compare_exchange_n(&owner->returned, &top, page, true, __ATOMIC_SEQ_CST,
                                      __ATOMIC_RELAXED));
}

void mutator_flush(void **cells, size_t count) {
  struct page *page = NULL;
  uintptr_t begin = 0;
  size_t size = 0;
  size_t bytes = 0;
  uint64_t bits = 0;
  unsigned word = 0;
  for (size_t i = 0; i <= count; i++) {
    uintptr_t cell = i < count ? (uintptr_t)cells[i] : 0;
    bool same_page = page && i < count && cell - begin < size;
    uint32_t index = 0;
    if (same_page) index = cell_index((cell - begin) >> GRANULE_SHIFT, page->reciprocal);
    if (bits && (!same_page || index / 64 != word)) { /* cells of one word go together */
      __atomic_fetch_and(&page_allocated(page)[word], ~bits, __ATOMIC_SEQ_CST);
      bits = 0;
    }
    if (page && !same_page) mutator_page_freed(page);
    if (i == count) break;
    if (!same_page) {
      struct cell found;
      bool known = cell_of(cell, &found);
      CHECK(known && found.address == cell);
      page = found.page;
      index = found.index;
      begin = page_address(page);
      size = (size_t)page->run * HEAP_PAGE;
    }
    word = index / 64;
    bits |= 1ull << (index % 64);
    bytes += page->size;
  }
  atomic_sub(&page_heap_counts.cell_bytes, bytes);
}

void mutator_flush_buffers(struct mutator *mutator) {
  for (uint64_t set = mutator->used; set;) {
    unsigned class = next_class(&set);
    struct buffer *buffer = &mutator->buffers[class];
    uint32_t count = buffer->count;
    if (!count) continue;
    buffer->slot[count] = buffer->hot;
    buffer->count = 0;
    COMPILER_BARRIER();
    mutator_flush(buffer->slot + 1, count);
  }
}

/* --- lists --------------------------------------------------------------------------------------
 */

void pages_enqueue(struct mutator *mutator, struct page *page) {
  mutator->used |= 1ull << page->class;
  struct page_queue *queue = &mutator->queue[page->class];
  struct page *last = queue->tail; /* means nothing while there is no head */
  page->next = NULL;
  queue->tail = page;
  COMPILER_BARRIER();
  if (queue->head) last->next = page;
  else queue->head = page;
}

static struct page *pop_sparse(struct mutator *mutator, unsigned class) {
  struct page *page = mutator->sparse[class];
  if (!page) return NULL;
  mutator->sparse[class] = page->next;
  page->next = NULL;
  return page;
}

static void push_sparse(struct mutator *mutator, struct page *page) {
  page->next = mutator->sparse[page->class];
  mutator->sparse[page->class] = page;
}

/* Nearly empty pages last, and of those the one that was in use last: the others have time to
   become empty. Were they used in turn, a heap that was once large would stay so for ever. */
struct page *pages_dequeue(struct mutator *mutator, unsigned class) {
  struct page_queue *queue = &mutator->queue[class];
  struct page *page = queue->head;
  if (!page) return pop_sparse(mutator, class);
  queue->head = page->next;
  if (!queue->head) queue->tail = NULL;
  page->next = NULL;
  return page;
}

/* First in, first out: pages get time to fill with free cells. */
void pages_drain_returned(struct mutator *mutator) {
  if (!atomic_get(&mutator->returned)) return;
  struct page *page = __atomic_exchange_n(&mutator->returned, NULL, __ATOMIC_SEQ_CST);
  while (page) {
    struct page *next = page->next;
    __atomic_store_n(&page->owner, mutator, __ATOMIC_RELEASE); /* the pool's were bare orphans' */
    pages_enqueue(mutator, page);
    page = next;
  }
}

/* --- giving back --------------------------------------------------------------------------------
 */

/* Gives whole free kernel pages of a nearly empty heap page back. Free cells hold no links, so
   it is enough to claim their bits for the moment: no other thread can then take them. Returns how
   many are given back. */
static size_t purge_inside(struct page *page) {
  uint64_t mine[PAGE_WORDS] = {0};
  uint64_t *allocated = page_allocated(page);
  for (unsigned w = 0; w < page->words; w++) {
    uint64_t free = ~atomic_get(&allocated[w]);
    if (free) free &= ~__atomic_fetch_or(&allocated[w], free, __ATOMIC_SEQ_CST);
    mine[w] = free;
  }
  size_t size = page->size, kernel_pages = HEAP_PAGE * page->run / KERNEL_PAGE;
  size_t begin = 0, length = 0, holes = 0;
  for (size_t k = 0; k <= kernel_pages; k++) {
    bool empty = k < kernel_pages;
    for (size_t c = k * KERNEL_PAGE / size;
         empty && c < page->cells && c * size < (k + 1) * KERNEL_PAGE; c++)
      empty = mine[c / 64] >> (c % 64) & 1;
    if (empty) {
      if (!length) begin = k;
      length++;
    } else if (length) {
      port_purge((void *)(page_address(page) + begin * KERNEL_PAGE), length * KERNEL_PAGE);
      holes += length;
      length = 0;
    }
  }
  for (unsigned w = 0; w < page->words; w++)
    if (mine[w]) __atomic_fetch_and(&allocated[w], ~mine[w], __ATOMIC_SEQ_CST);
  return holes;
}

/* Whether holes are to be given back in a page that is not current: when it has been used since
   that was last done, or half of what was then in use is free now. */
static bool has_new_holes(const struct page *page, unsigned free) {
  unsigned in_use = page->cells - free;
  return !page->purged_at || in_use * 2 < page->purged_at;
}

static void purge_holes(struct page *page, unsigned free) {
  if (!has_new_holes(page, free)) return;
  page->purged_at = page->cells - free + 1;
  page_heap_note_holes(page, purge_inside(page));
}

static bool is_sparse(const struct page *page, unsigned free) {
  return free * 4 >= page->cells * 3u;
}

bool pages_trim_find(struct mutator *mutator, struct page_walk *walk) {
  struct page_queue *queue = &mutator->queue[walk->class];
  struct page **first = walk->queued ? &queue->head : &mutator->sparse[walk->class];
  struct page **link = walk->last ? &walk->last->next : first, *page = *link;
  walk->found = NULL;
  if (!page) {
    bool more = !walk->queued;
    walk->queued = true;
    walk->last = NULL;
    return more;
  }
  mutator->looked++;
  page_sweep_if_due(page);
  unsigned free = page_free_cells(page);
  bool sparse = is_sparse(page, free);
  bool holes =
      sparse && !walk->holes_stay && !atomic_get(&mutator_keeps_holes) && has_new_holes(page, free);
  if (free == page->cells || holes) walk->found = page;
  if (!walk->found && !(walk->queued && sparse)) {
    walk->last = page;
    return true;
  }
  *link = page->next;
  page->next = NULL;
  if (walk->queued && queue->tail == page) queue->tail = walk->last;
  if (!walk->found) push_sparse(mutator, page);
  return true;
}

struct page *pages_trim_found(struct page_walk *walk) {
  struct page *page = walk->found;
  unsigned free = page_free_cells(page);
  if (free != page->cells) {
    purge_holes(page, free);
    return page;
  }
  page_heap_release_span(page);
  return NULL;
}

void pages_trim_keep(struct mutator *mutator, struct page_walk *walk, struct page *page) {
  if (walk->queued || !walk->last) {
    push_sparse(mutator, page);
    if (!walk->queued) walk->last = page;
  } else {
    page->next = walk->last->next;
    walk->last = walk->last->next = page;
  }
}

static void trim(struct mutator *mutator, bool holes_stay) {
  pages_begin();
  atomic_set(&mutator->trim_due, 0);
  mutator->spans_taken = mutator->looked = 0;
  pages_drain_returned(mutator);
  for (uint64_t set = mutator->used; set;) {
    struct page_walk walk = {.class = next_class(&set), .holes_stay = holes_stay};
    if (!mutator->sparse[walk.class] && !mutator->queue[walk.class].head) continue;
    while (pages_trim_find(mutator, &walk)) {
      struct page *page = walk.found ? pages_trim_found(&walk) : NULL;
      if (page) pages_trim_keep(mutator, &walk, page);
    }
  }
  large_release(mutator);
  mutator->unfilled = page_heap_unfilled();
  pages_end();
}

void mutator_trim(struct mutator *mutator) { trim(mutator, false); }

/* Where what is given back is taken again at once, since blocks come and go in turns, free parts of
   pages stay until someone asks for them. */
void pages_trim_at_work(struct mutator *mutator) {
  trim(mutator, !atomic_get(&mutator->trim_due) && !holes_pay());
}

/* The free cells of a page, swept, if they can make up a kernel page; else 0. */
static unsigned free_for_holes(struct page *page) {
  page_sweep_if_due(page);
  unsigned free = page_free_cells(page);
  return free * page->size >= KERNEL_PAGE ? free : 0;
}

void mutator_purge_holes(struct mutator *mutator) {
  pages_begin();
  for (uint64_t set = mutator->used; set;) {
    unsigned class = next_class(&set);
    if (size_classes[class].size < HOLES_LEAST) continue;
    struct page *page = mutator->current[class];
    if (page && free_for_holes(page)) purge_inside(page); /* not counted: it goes on being filled */
    for (page = mutator->queue[class].head; page; page = page->next) {
      unsigned free = free_for_holes(page);
      if (free) purge_holes(page, free);
    }
  }
  pages_end();
}

void pages_trim_if_due(struct mutator *mutator) {
  size_t now = page_heap_unfilled(), then = mutator->unfilled;
  if (now < then) mutator->unfilled = now;
  bool grown = now > then &&
               now - then >= size_max(atomic_get(&page_heap_counts.used) / TRIM_PART, TRIM_LEAST);
  if (grown) atomic_set(&mutator_pages_emptied, true);
  if (grown || atomic_get(&mutator->trim_due)) pages_trim_at_work(mutator);
}
