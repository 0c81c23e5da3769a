/* mutator.c: see mutator.h. The protocol between owner and flusher, and the figures behind the
   buffer sizes, are those of the project's allocation-path prototype.

   A handler of the program may leave any of this by longjmp, a thread by an asynchronous
   cancellation. What changes lists of pages runs with signals blocked. What changes a buffer is
   ordered so that at every instruction the worst is a cell, or a buffer of them, that nobody has:
   never a cell in two places. */
#include "mutator/mutator.h"

#include <string.h>

#include "base/lock.h"
#include "base/remedy.h"
#include "heap/page_heap.h"
#include "ports/port.h"

enum {
  FIRST_LIMIT = 16,  /* a buffer starts this small and doubles at each refill or flush */
  TRIM_EVERY = 16,   /* spans taken between two looks for empty pages */
  TRIM_PART = 8,     /* look too when this part of the heap's pages, ... */
  TRIM_LEAST = 16,   /* ... and this many at least, have become free cells since */
  TRIM_ORPHANS = 64, /* trimmed after a cycle, at most */
  PURGE_CLASSES = 4, /* buffers of so many classes are worth a system call */
  COLOUR = 1216,     /* spreads the first cells of pages over the cache's sets */
  COLOUR_MASK = 0x3fff,
};

THREAD_LOCAL struct self self = {.there = true};
struct mutator_fast mutator_fast;
void (*mutator_sweep_page)(struct page *page);
bool mutator_pages_emptied;

static struct {
  struct lock lock; /* the two lists */
  struct mutator *all;
  struct mutator *orphans;
  struct mutator *heir; /* the collector's, of what was idle threads' */
} state;

void mutator_init(void) {
  for (size_t i = 0; i < SMALL_LIMIT / GRANULE; i++)
    mutator_fast.buffer[i] = (uint32_t)(size_class_table[i] * sizeof(struct buffer));
}

/* The lowest of a set of classes, and the rest of the set. */
static inline unsigned next_class(uint64_t *set) {
  unsigned class = (unsigned)__builtin_ctzll(*set);
  *set &= *set - 1;
  return class;
}

static void start_small(struct mutator *mutator) {
  for (uint64_t set = mutator->used; set;) mutator->buffers[next_class(&set)].limit = 0;
}

/* Under the lock. */
static struct mutator *take_orphan(void) {
  struct mutator *mutator = state.orphans;
  if (!mutator) return NULL;
  state.orphans = mutator->next_orphan;
  mutator->next_orphan = NULL;
  start_small(mutator);
  return mutator;
}

static struct mutator *new_mutator(void) {
  struct mutator *mutator = heap_metadata(sizeof *mutator);
  if (!mutator) return NULL;
  lock_acquire(&state.lock);
  mutator->next = state.all;
  atomic_set_release(&state.all, mutator);
  lock_release(&state.lock);
  return mutator;
}

struct mutator *mutator_adopt(void) {
  lock_acquire(&state.lock);
  struct mutator *mutator = take_orphan();
  lock_release(&state.lock);
  return mutator ? mutator : new_mutator();
}

void mutator_page_freed(struct page *page) {
  if (!__atomic_load_n(&page->full, __ATOMIC_SEQ_CST)) return;
  if (!__atomic_exchange_n(&page->full, 0, __ATOMIC_SEQ_CST)) return;
  struct mutator *owner = __atomic_load_n(&page->owner, __ATOMIC_ACQUIRE);
  if (!owner) return; /* a page that changed hands under a stale look; its new owner lists it */
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

/* --- the owner's pages --------------------------------------------------------------------------
 */

static void enqueue(struct mutator *mutator, struct page *page) {
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
static struct page *dequeue(struct mutator *mutator, unsigned class) {
  struct page_queue *queue = &mutator->queue[class];
  struct page *page = queue->head;
  if (!page) return pop_sparse(mutator, class);
  queue->head = page->next;
  if (!queue->head) queue->tail = NULL;
  page->next = NULL;
  return page;
}

/* First in, first out: pages get time to fill with free cells. */
static void drain_returned(struct mutator *mutator) {
  if (!atomic_get(&mutator->returned)) return;
  struct page *page = __atomic_exchange_n(&mutator->returned, NULL, __ATOMIC_SEQ_CST);
  while (page) {
    struct page *next = page->next;
    enqueue(mutator, page);
    page = next;
  }
}

static void sweep_if_due(struct page *page) {
  if (UNLIKELY(atomic_get(&page->unswept)) && mutator_sweep_page) mutator_sweep_page(page);
}

/* Gives whole free kernel pages of a nearly empty heap page back. Free cells hold no links, so
   it is enough to claim their bits for the moment: no other thread can then take them. */
static void purge_inside(struct page *page) {
  uint64_t mine[PAGE_WORDS] = {0};
  uint64_t *allocated = page_allocated(page);
  for (unsigned w = 0; w < page->words; w++) {
    uint64_t free = ~atomic_get(&allocated[w]);
    if (free) free &= ~__atomic_fetch_or(&allocated[w], free, __ATOMIC_SEQ_CST);
    mine[w] = free;
  }
  size_t size = page->size, kernel_pages = HEAP_PAGE * page->run / KERNEL_PAGE;
  size_t begin = 0, length = 0;
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
      length = 0;
    }
  }
  for (unsigned w = 0; w < page->words; w++)
    if (mine[w]) __atomic_fetch_and(&allocated[w], ~mine[w], __ATOMIC_SEQ_CST);
  page->purged = 1;
}

/* Signals blocked, so that no handler leaves the lists half changed. */
static void begin_lists(void) {
  if (!WITHOUT(whole_steps)) section_begin();
}
static void end_lists(void) {
  if (!WITHOUT(whole_steps)) section_end();
}

/* Heap pages' worth of free cells in pages that are taken. */
static size_t unfilled(void) {
  size_t used = atomic_get(&page_heap_counts.used), filled = page_heap_filled();
  return used > filled ? used - filled : 0;
}

static bool is_sparse(const struct page *page, unsigned free) {
  return free * 4 >= page->cells * 3u;
}

static void trim_sparse(struct mutator *mutator, unsigned class) {
  struct page **link = &mutator->sparse[class], *page;
  while ((page = *link)) {
    sweep_if_due(page);
    if (page_free_cells(page) == page->cells) {
      *link = page->next;
      page_heap_release_span(page);
    } else {
      link = &page->next;
    }
  }
}

static void trim_queue(struct mutator *mutator, unsigned class) {
  struct page_queue *queue = &mutator->queue[class];
  struct page **link = &queue->head, *last = NULL, *page;
  while ((page = *link)) {
    sweep_if_due(page);
    unsigned free = page_free_cells(page);
    if (!is_sparse(page, free)) {
      last = page;
      link = &page->next;
      continue;
    }
    *link = page->next;
    if (queue->tail == page) queue->tail = last;
    if (free == page->cells) {
      page_heap_release_span(page);
    } else {
      if (!page->purged) purge_inside(page);
      push_sparse(mutator, page);
    }
  }
}

void mutator_trim(struct mutator *mutator) {
  begin_lists();
  atomic_set(&mutator->trim_due, 0);
  drain_returned(mutator);
  for (uint64_t set = mutator->used; set;) {
    unsigned class = next_class(&set);
    trim_sparse(mutator, class);
    trim_queue(mutator, class);
  }
  mutator->unfilled = unfilled();
  end_lists();
}

void mutator_ask_to_trim(void) {
  for (struct mutator *m = atomic_get_acquire(&state.all); m; m = m->next)
    atomic_set(&m->trim_due, 1);
}

/* After a flush: a program that frees what it has, and takes no page, has its empty pages looked
   for as well. */
static void trim_if_due(struct mutator *mutator) {
  size_t now = unfilled(), then = mutator->unfilled;
  if (now < then) mutator->unfilled = now;
  bool grown = now > then &&
               now - then >= size_max(atomic_get(&page_heap_counts.used) / TRIM_PART, TRIM_LEAST);
  if (grown) atomic_set(&mutator_pages_emptied, true);
  if (grown || atomic_get(&mutator->trim_due)) mutator_trim(mutator);
}

/* A page of a dead thread that nobody adopted, for the class we need. */
static struct page *take_from_orphans(struct mutator *mutator, unsigned class) {
  struct page *page = NULL;
  lock_acquire(&state.lock);
  for (struct mutator *orphan = state.orphans; orphan && !page; orphan = orphan->next_orphan) {
    drain_returned(orphan);
    page = dequeue(orphan, class);
    if (!page && (page = orphan->current[class])) orphan->current[class] = NULL;
  }
  if (page) {
    page->next = NULL;
    __atomic_store_n(&page->owner, mutator, __ATOMIC_RELEASE);
  }
  lock_release(&state.lock);
  return page;
}

static struct page *fresh_page(struct mutator *mutator, unsigned class) {
  if (++mutator->spans_taken % TRIM_EVERY == 0) mutator_trim(mutator);
  struct page *page = take_from_orphans(mutator, class);
  if (page) {
    page->scan = page->skip = 0;
    return page;
  }
  page = page_heap_span(class);
  if (!page) return NULL;
  uint32_t colour = (uint32_t)(page_index(page) * COLOUR & COLOUR_MASK) / (uint32_t)page->size;
  page->scan = (uint16_t)(colour / 64);
  page->skip = (uint16_t)(colour % 64);
  __atomic_store_n(&page->owner, mutator, __ATOMIC_RELEASE);
  return page;
}

/* The current page is scanned to its end: start over when an eighth of it is free again, else set
   it aside as full and take the next. */
static struct page *next_page(struct mutator *mutator, unsigned class) {
  struct page *page = mutator->current[class];
  if (page) {
    sweep_if_due(page);
    unsigned enough = page->cells / 8 + 1;
    if (page_free_cells(page) >= enough) {
      page->scan = page->skip = 0;
      return page;
    }
    mutator->current[class] = NULL;
    __atomic_store_n(&page->full, 1, __ATOMIC_SEQ_CST);
    if (page_free_cells(page) >= enough && __atomic_exchange_n(&page->full, 0, __ATOMIC_SEQ_CST)) {
      page->scan = page->skip = 0;
      return mutator->current[class] = page;
    }
  }
  if (UNLIKELY(atomic_get(&mutator->trim_due))) mutator_trim(mutator);
  drain_returned(mutator);
  page = dequeue(mutator, class);
  if (page) {
    page->scan = page->skip = 0;
    sweep_if_due(page);
  } else {
    page = fresh_page(mutator, class);
    if (page) sweep_if_due(page);
  }
  if (page) page->purged = 0;
  return mutator->current[class] = page;
}

static void raise_limit(struct mutator *mutator, unsigned class) {
  struct buffer *buffer = &mutator->buffers[class];
  uint32_t slots = size_classes[class].slots, limit = buffer->limit * 2;
  if (!limit) {
    mutator->used |= 1ull << class;
    COMPILER_BARRIER();
    limit = FIRST_LIMIT;
  }
  buffer->limit = limit < slots ? limit : slots;
}

void *mutator_take(struct mutator *mutator, unsigned class) {
  struct buffer *buffer = &mutator->buffers[class];
  void *cell = buffer->hot;
  if (buffer->count) {
    uint32_t count = buffer->count - 1;
    buffer->count = count;
    COMPILER_BARRIER();
    buffer->hot = buffer->slot[count];
    return cell;
  }
  if (buffer->limit < size_classes[class].slots) raise_limit(mutator, class);
  uint32_t want = (buffer->limit + 1) / 2, got = 0;
  void **cells = buffer->slot + 1; /* filled from above, so that cells leave in address order */
  struct page *page = mutator->current[class];
  while (got < want) {
    if (!page || page->scan >= page->words) {
      if (got && !mutator->queue[class].head && !atomic_get(&mutator->returned)) break;
      begin_lists();
      page = next_page(mutator, class);
      end_lists();
      if (!page) break;
    }
    unsigned word = page->scan;
    uint64_t *allocated = &page_allocated(page)[word];
    uint64_t free = ~atomic_get(allocated);
    if (page->skip) {
      free &= ~0ull << page->skip;
      page->skip = 0;
    }
    if (!free) {
      page->scan++;
      continue;
    }
    uintptr_t base = page_address(page) + (uintptr_t)word * 64 * page->size;
    uint64_t left = free;
    void **at = cells + (want - got), **end = at;
    do {
      *--at = (void *)(base + (uintptr_t)__builtin_ctzll(left) * page->size);
      left &= left - 1;
    } while (left && at > cells);
    __atomic_fetch_or(allocated, free ^ left, __ATOMIC_SEQ_CST);
    got += (uint32_t)(end - at);
    if (!left) page->scan++;
  }
  if (!got) return NULL;
  atomic_add(&page_heap_counts.cell_bytes, got * size_classes[class].size);
  if (got < want) memmove(cells, cells + (want - got), got * sizeof *cells);
  cell = buffer->slot[got];
  buffer->hot = buffer->slot[got - 1]; /* means nothing while it looks empty */
  COMPILER_BARRIER();
  buffer->count = got - 1;
  return cell;
}

void mutator_put(struct mutator *mutator, unsigned class, void *cell) {
  struct buffer *buffer = &mutator->buffers[class];
  if (buffer->count >= buffer->limit) {
    if (buffer->limit < size_classes[class].slots) {
      raise_limit(mutator, class);
    } else { /* flush the older half */
      uint32_t count = buffer->count, half = (count + 1) / 2;
      buffer->count = 0;
      COMPILER_BARRIER();
      buffer->slot[count] = buffer->hot; /* left now, all are lost, but none is here and free */
      mutator_flush(buffer->slot + 1, half);
      memmove(buffer->slot + 1, buffer->slot + 1 + half, (count - half) * sizeof *buffer->slot);
      buffer->hot = buffer->slot[count - half];
      COMPILER_BARRIER();
      buffer->count = count - half;
      trim_if_due(mutator);
    }
  }
  uint32_t count = buffer->count;
  buffer->slot[count] = buffer->hot;
  COMPILER_BARRIER();
  buffer->hot = cell;
  COMPILER_BARRIER();
  buffer->count = count + 1;
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

/* Leaves nothing in the buffers, and no page that is current. */
static void empty(struct mutator *mutator) {
  mutator_flush_buffers(mutator);
  for (uint64_t set = mutator->used; set;) {
    unsigned class = next_class(&set);
    struct page *page = mutator->current[class];
    mutator->current[class] = NULL;
    if (page) enqueue(mutator, page);
  }
  drain_returned(mutator);
}

static void move_page(struct page *page, struct mutator *to) {
  __atomic_store_n(&page->owner, to, __ATOMIC_RELEASE);
  to->used |= 1ull << page->class;
}

/* Hands at most that many pages on; those set aside stay so, and in their order. */
static size_t move_pages(struct mutator *from, struct mutator *to, size_t most) {
  size_t pages = 0;
  struct page *page;
  for (uint64_t set = from->used; set;) {
    unsigned class = next_class(&set);
    struct page *aside = from->sparse[class], *last = NULL;
    from->sparse[class] = NULL;
    for (page = aside; page; last = page, page = page->next, pages++) move_page(page, to);
    if (last) {
      last->next = to->sparse[class];
      to->sparse[class] = aside;
    }
    for (; pages < most && (page = dequeue(from, class)); pages++) {
      move_page(page, to);
      enqueue(to, page);
    }
  }
  return pages < most ? pages : most;
}

_Static_assert(offsetof(struct mutator, buffers) == 0, "mutators begin at kernel pages");

size_t mutator_harvest(struct mutator *from, size_t most) {
  if (from->busy || !state.heir) return 0;
  empty(from);
  start_small(from);
  size_t pages = move_pages(from, state.heir, most);
  if (count_ones(from->used) >= PURGE_CLASSES)
    port_purge(from,
               sizeof from->buffers / KERNEL_PAGE * KERNEL_PAGE); /* what lies whole in them */
  return pages;
}

static void add_orphan(struct mutator *mutator) {
  mutator->next_orphan = state.orphans;
  state.orphans = mutator;
}

/* Of all orphans one gets what the heir has; the empty pages of all go. */
void mutator_bequeath(void) {
  if (!state.heir) state.heir = new_mutator();
  if (!state.heir) return;
  mutator_trim(state.heir);
  struct mutator *trimmed = NULL, *orphan;
  begin_lists();
  for (unsigned i = 0; i < TRIM_ORPHANS && (state.heir->used || atomic_get(&state.orphans)); i++) {
    if (!(orphan = mutator_adopt())) break;
    move_pages(state.heir, orphan, SIZE_MAX);
    state.heir->used = 0;
    mutator_trim(orphan);
    orphan->next_orphan = trimmed;
    trimmed = orphan;
  }
  lock_acquire(&state.lock);
  while ((orphan = trimmed)) { /* the first of them is the first again */
    trimmed = orphan->next_orphan;
    add_orphan(orphan);
  }
  lock_release(&state.lock);
  end_lists();
}

void mutator_orphan(struct mutator *mutator) {
  begin_lists();
  empty(mutator);
  mutator_trim(mutator);
  mutator->busy = 0; /* it may have been abandoned in a slow path */
  lock_acquire(&state.lock);
  add_orphan(mutator);
  lock_release(&state.lock);
  end_lists();
}

size_t mutator_buffered_bytes(void) {
  size_t bytes = 0;
  for (struct mutator *m = atomic_get_acquire(&state.all); m; m = m->next)
    for (uint64_t set = atomic_get(&m->used); set;) {
      unsigned class = next_class(&set);
      bytes += (size_t)atomic_get(&m->buffers[class].count) * size_classes[class].size;
    }
  return bytes;
}

/* --- fork
 * ----------------------------------------------------------------------------------------- */

void mutator_fork_lock(void) { lock_acquire(&state.lock); }
void mutator_fork_unlock(void) { lock_release(&state.lock); }

/* Lists the pages of threads that do not exist in this child with one of their mutators. Only while
   no other thread can be here, and the forking one is in the middle of nothing: whoever frees a
   page's cell may just have taken it out of "full", to list it himself. */
static void rescue_lost_pages(struct mutator *const *kept, size_t count) {
  struct mutator *heir = state.orphans;
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++) {
    struct page *page = &heap.pages[i];
    if (!page->cells || page->class == CLASS_LARGE || heap.page_first[i] != i) continue;
    bool mine = false;
    for (size_t k = 0; k < count; k++) mine |= kept[k] && kept[k] == page->owner;
    if (mine) continue;
    page->full = 0;
    page->owner = heir;
    enqueue(heir, page);
  }
}

/* In the child only the forking thread exists. The others' buffers and queues may have been caught
   half-way through a change: the buffers are dropped, never treated as free (a cell may be both
   in a buffer and free in the bitmap), and the pages are listed anew. Under our lock. */
void mutator_fork_child(struct mutator *const *kept, size_t count) {
  bool lost = false, busy = false;
  for (size_t i = 0; i < count; i++) busy |= kept[i] && kept[i]->busy;
  state.orphans = NULL;
  for (struct mutator *m = state.all; m; m = m->next) {
    bool mine = m == state.heir; /* it is empty when no cycle runs */
    for (size_t i = 0; i < count; i++) mine |= kept[i] == m;
    if (mine) continue;
    for (uint64_t set = m->used; set;) {
      unsigned class = next_class(&set);
      m->buffers[class].count = 0;
      m->current[class] = NULL;
      m->queue[class] = (struct page_queue){NULL, NULL};
      m->sparse[class] = NULL;
    }
    m->returned = NULL;
    m->busy = 0;
    m->next_orphan = state.orphans;
    state.orphans = m;
    lost = true;
  }
  if (lost && !busy) rescue_lost_pages(kept, count);
}
