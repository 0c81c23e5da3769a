/* mutator.c: see mutator.h. The protocol between owner and flusher, and the figures behind the
   buffer sizes, are those of the project's allocation-path prototype.

   A handler of the program may leave any of this by longjmp, a thread by an asynchronous
   cancellation. What changes lists of pages runs with signals blocked. What changes a buffer is
   ordered so that at every instruction the worst is a cell, or a buffer of them, that nobody has:
   never a cell in two places. */
#include "mutator/mutator.h"

#include <string.h>

#include "base/option.h"
#include "base/remedy.h"
#include "heap/page_heap.h"
#include "heap/random.h"
#include "mutator/orphans.h"
#include "mutator/pages.h"

enum {
  FIRST_LIMIT = 16,   /* a buffer starts this small and doubles at each refill or flush */
  TRIM_EVERY = 16,    /* spans taken, at least, between two looks for empty pages, ... */
  TRIM_LOOKS = 8,     /* ... and one for so many pages that the last of them looked at */
  FOREIGN_LIMIT = 32, /* cells of other threads' pages that a thread keeps that only frees */
  COLOUR = 1216,      /* spreads the first cells of pages over the cache's sets */
  COLOUR_MASK = 0x3fff,
};

THREAD_LOCAL struct self self = {.there = true};
struct mutator_fast mutator_fast;

void mutator_init(void) {
  for (size_t i = 0; i < SMALL_LIMIT / GRANULE; i++)
    mutator_fast.buffer[i] = (uint32_t)(size_class_table[i] * sizeof(struct buffer));
  /* The buffer of the class without cells: the slow path tells no bytes from a few. */
  if (options.zero_size == ZERO_SIZE_FAULT) mutator_fast.buffer[0] = 0;
}

static struct page *fresh_page(struct mutator *mutator, unsigned class) {
  if (++mutator->spans_taken >= TRIM_EVERY && mutator->spans_taken >= mutator->looked / TRIM_LOOKS)
    pages_trim_at_work(mutator);
  struct page *page = orphans_take_page(mutator, class);
  if (page) {
    page->scan = page->skip = 0;
    return page;
  }
  page = page_heap_span(class);
  if (!page) return NULL;
  uint32_t colour = (uint32_t)(page_index(page) * COLOUR & COLOUR_MASK) / (uint32_t)page->size;
  page->fresh = 1;
  page->scan = (uint8_t)(colour / 64);
  page->skip = (uint8_t)(colour % 64);
  __atomic_store_n(&page->owner, mutator, __ATOMIC_RELEASE);
  return page;
}

/* The sweep leaves this to us where a page was nothing but garbage: what is wiped just before it is
   used goes through the cache once. Cells that are freed meanwhile are not garbage. */
static void wipe_free_cells(struct page *page) {
  page->unwiped = 0;
  uint64_t *allocated = page_allocated(page);
  size_t size = page->size;
  for (unsigned w = 0; w < page->words; w++) {
    uintptr_t cells = page_address(page) + (uintptr_t)w * 64 * size;
    uint64_t free = ~atomic_get(&allocated[w]);
    if (free == ~0ull) memset((void *)cells, 0, 64 * size);
    else
      for (; free; free &= free - 1)
        memset((void *)(cells + (uintptr_t)__builtin_ctzll(free) * size), 0, size);
  }
}

/* The page from which cells are taken from now on; NULL: none. */
static struct page *begin_page(struct mutator *mutator, unsigned class, struct page *page) {
  if (page) {
    page_sweep_if_due(page);
    page_heap_fill_holes(page);
    if (page->unwiped) wipe_free_cells(page);
  }
  return mutator->current[class] = page;
}

/* A page with fewer free cells is not worth looking through. */
static unsigned enough_cells(const struct page *page) { return page->cells / 8 + 1; }

/* The current page is scanned to its end: start over when an eighth of it is free again, else set
   it aside as full and take the next. */
static struct page *next_page(struct mutator *mutator, unsigned class) {
  struct page *page = mutator->current[class];
  if (page) {
    page->fresh = 0;
    page_sweep_if_due(page);
    unsigned enough = enough_cells(page);
    if (page_free_cells(page) >= enough) {
      page->scan = page->skip = 0;
      return page;
    }
    mutator->current[class] = NULL;
    __atomic_store_n(&page->full, 1, __ATOMIC_SEQ_CST);
    if (page_free_cells(page) >= enough && __atomic_exchange_n(&page->full, 0, __ATOMIC_SEQ_CST)) {
      if (LIKELY(atomic_get(&page->owner) == mutator && page->class == class)) {
        page->scan = page->skip = 0;
        return mutator->current[class] = page;
      }
      /* The sweep had emptied and released it, and it is full once more, another's. */
      __atomic_store_n(&page->full, 1, __ATOMIC_SEQ_CST);
      mutator_page_freed(page);
    }
  }
  if (UNLIKELY(atomic_get(&mutator->trim_due))) mutator_trim(mutator);
  pages_drain_returned(mutator);
  page = pages_dequeue(mutator, class);
  if (page) page->scan = page->skip = 0;
  else page = fresh_page(mutator, class);
  return begin_page(mutator, class, page);
}

static bool is_used_and_free(const struct page *page) {
  return !page->fresh && page_free_cells(page) >= enough_cells(page);
}

/* The current page has cells that were never handed out. Those of another that were serve first:
   memory is behind them, and in the cache perhaps. */
static struct page *used_page_first(struct mutator *mutator, unsigned class, struct page *current) {
  struct page *page = mutator->queue[class].head;
  if (page ? !is_used_and_free(page) : !atomic_get(&mutator->returned)) return current;
  pages_begin();
  pages_drain_returned(mutator);
  page = mutator->queue[class].head;
  if (page && is_used_and_free(page)) {
    pages_dequeue(mutator, class);
    pages_enqueue(mutator, current);
    page->scan = page->skip = 0;
    current = begin_page(mutator, class, page);
  }
  pages_end();
  return current;
}

static void raise_limit(struct mutator *mutator, unsigned class) {
  struct buffer *buffer = &mutator->buffers[class];
  uint32_t slots = size_classes[class].slots, limit = buffer->limit * 2;
  if (!limit) {
    mutator->used |= 1ull << class;
    const struct size_class *c = &size_classes[class];
    buffer->states = (uintptr_t)c->states - (heap.base >> c->state_shift);
    buffer->state_shift = c->state_shift;
    buffer->state_rest = (1u << c->state_shift) - 1;
    COMPILER_BARRIER();
    limit = FIRST_LIMIT;
  }
  buffer->limit = limit < slots ? limit : slots;
}

/* So many cells of a page, each from anywhere in it, filled into `cells` from above. Less: there
   are no more, and the page is done with. Only its owner sets bits, others clear them meanwhile. */
static COLD uint32_t take_randomly(struct page *page, void **cells, uint32_t want) {
  uint64_t *allocated = page_allocated(page);
  for (uint32_t got = 0; got < want; got++) {
    unsigned word = random_below(page->words), left = page->words;
    uint64_t free = 0;
    for (; !free && left; left--) {
      if (++word >= page->words) word = 0;
      free = ~atomic_get(&allocated[word]);
    }
    if (!free) {
      page->scan = page->words;
      return got;
    }
    for (unsigned skip = random_below(count_ones(free)); skip; skip--) free &= free - 1;
    unsigned cell = (unsigned)__builtin_ctzll(free);
    __atomic_fetch_or(&allocated[word], 1ull << cell, __ATOMIC_SEQ_CST);
    cells[want - got - 1] = (void *)(page_address(page) + (word * 64 + cell) * page->size);
  }
  return want;
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
  if (page && page->fresh) page = used_page_first(mutator, class, page);
  while (got < want) {
    if (!page || page->scan >= page->words) {
      if (got && !mutator->queue[class].head && !atomic_get(&mutator->returned)) break;
      pages_begin();
      page = next_page(mutator, class);
      pages_end();
      if (!page) break;
    }
    if (UNLIKELY(options.random)) {
      got += take_randomly(page, cells, want - got);
      continue;
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

static bool is_of(const struct mutator *mutator, const void *cell) {
  struct cell place;
  return cell_of((uintptr_t)cell, &place) && atomic_get(&place.page->owner) == mutator;
}

void mutator_put(struct mutator *mutator, unsigned class, void *cell) {
  struct buffer *buffer = &mutator->buffers[class];
  if (!buffer->limit && !is_of(mutator, cell)) {
    raise_limit(mutator, class);
    mutator_flush(&cell, 1);
    return;
  }
  if (buffer->count >= buffer->limit) {
    if (buffer->limit < size_classes[class].slots &&
        (buffer->limit < FOREIGN_LIMIT || is_of(mutator, buffer->slot[1]))) {
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
      pages_trim_if_due(mutator);
    }
  }
  uint32_t count = buffer->count;
  buffer->slot[count] = buffer->hot;
  COMPILER_BARRIER();
  buffer->hot = cell;
  COMPILER_BARRIER();
  buffer->count = count + 1;
}
