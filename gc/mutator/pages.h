/* pages.h: a mutator's pages: how cells get back into them, how they are listed, and how the empty
   ones are given up. Which list a page may be in stands in mutator.h.

   By the owner where nothing else is said; the lists with signals blocked (pages_begin). */
#ifndef RECLAIM_PAGES_H
#define RECLAIM_PAGES_H

#include "base/lock.h"
#include "base/remedy.h"
#include "mutator/mutator.h"

/* Returns cells (state bytes clear) to their pages' bitmaps; any thread, no lock. */
HIDDEN void mutator_flush(void **cells, size_t count);
/* A walk over a mutator's pages of one class: those set aside, then the queue. Pages may be taken
   from the front of either meanwhile; if `last` is, it is NULL from then on. */
struct page_walk {
  unsigned class;
  bool queued;        /* has come to the queue */
  bool holes_stay;    /* only empty pages are looked for */
  struct page *last;  /* what was walked over last, NULL: all that is gone */
  struct page *found; /* a page that there is something to be given back of, in no list */
};

/* Looks at the next page of the walk; lists it aside where it belongs there, or makes it `found`.
   False: there is none. */
HIDDEN bool pages_trim_find(struct mutator *mutator, struct page_walk *walk);
/* Releases what was found, or gives back its free parts; NULL, or the page, to be kept. */
HIDDEN struct page *pages_trim_found(struct page_walk *walk);
/* Lists it again. */
HIDDEN void pages_trim_keep(struct mutator *mutator, struct page_walk *walk, struct page *page);
/* Releases the mutator's empty pages and gives back free parts of nearly empty ones. */
HIDDEN void mutator_trim(struct mutator *mutator);
/* The same in between, by an owner who goes on. */
HIDDEN void pages_trim_at_work(struct mutator *mutator);
/* After mutator_trim: gives back the kernel pages that lie wholly in free cells of all its other
   pages, for a program that is about to do nothing for a while. */
HIDDEN void mutator_purge_holes(struct mutator *mutator);
/* Empties all buffers of the mutator. */
HIDDEN void mutator_flush_buffers(struct mutator *mutator);
/* Called once bits of a page were freed: lists the page with its owner if it was full. */
HIDDEN void mutator_page_freed(struct page *page);
/* Much was freed in pages that stay in use, perhaps other threads'. Reset by whoever sees to it. */
extern HIDDEN bool mutator_pages_emptied;
/* The cells that a collection freed will be used before the next one: trimming leaves the memory
   behind them where it is. */
extern HIDDEN bool mutator_keeps_holes;

/* Takes the pages of mutators that are bare, see orphans.c. */
extern HIDDEN struct mutator *mutator_pool;

/* How a refill prepares a page that waits for its sweep; set by collect/ at start. */
extern HIDDEN void (*mutator_sweep_page)(struct page *page);

/* In one order with the flag `full` (next_page), and after all that the freeing threads have done:
   the caller may release a page that it finds empty. */
static inline unsigned page_free_cells(const struct page *page) {
  unsigned used = 0;
  const uint64_t *allocated = page_allocated(page);
  for (unsigned w = 0; w < page->words; w++)
    used += count_ones(__atomic_load_n(&allocated[w], __ATOMIC_SEQ_CST));
  return page->cells - (used - (page->words * 64u - page->cells));
}

/* Blocks signals, so that no handler leaves the lists half changed. */
static inline void pages_begin(void) {
  if (!WITHOUT(whole_steps)) section_begin();
}
static inline void pages_end(void) {
  if (!WITHOUT(whole_steps)) section_end();
}

/* The lowest of a set of classes, which is taken out of it. */
static inline unsigned next_class(uint64_t *set) {
  unsigned class = (unsigned)__builtin_ctzll(*set);
  *set &= *set - 1;
  return class;
}

static inline void page_sweep_if_due(struct page *page) {
  if (UNLIKELY(atomic_get(&page->unswept)) && mutator_sweep_page) mutator_sweep_page(page);
}

HIDDEN void pages_enqueue(struct mutator *mutator, struct page *page);
/* The page of a class that is to be used next, NULL: none is listed. */
HIDDEN struct page *pages_dequeue(struct mutator *mutator, unsigned class);
/* Lists what other threads have returned. */
HIDDEN void pages_drain_returned(struct mutator *mutator);
/* After a flush: a program that frees what it has, and takes no page, has its empty pages looked
   for as well. */
HIDDEN void pages_trim_if_due(struct mutator *mutator);

#endif
