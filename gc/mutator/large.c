/* large.c: see large.h. */
#include "mutator/large.h"

#include "base/option.h"
#include "heap/page_heap.h"

enum {
  LONGEST = 4, /* heap pages of one object: above that the work with its contents is what counts */
  MOST = 12,   /* heap pages of all that a mutator keeps */
};

static size_t pages_for(size_t bytes) { return (bytes + HEAP_PAGE - 1) / HEAP_PAGE; }

bool large_keep(struct mutator *mutator, struct page *page) {
  if (options.guard) return false; /* its guard goes, and another size's comes */
  if (UNLIKELY(atomic_get(&page->hints) & HINT_OWN)) return false;
  if (page->run > LONGEST || page->run != pages_for(page->size)) return false; /* or it may grow */
  size_t pages = page->run;
  struct page **free = NULL;
  for (unsigned i = 0; i < LARGE_KEPT; i++) {
    if (mutator->large[i]) pages += mutator->large[i]->run;
    else if (!free) free = &mutator->large[i];
  }
  if (!free || pages > MOST) return false;
  page_heap_forget_sweep(page);
  COMPILER_BARRIER();
  *free = page;
  return true;
}

struct page *large_take(struct mutator *mutator, size_t bytes) {
  size_t pages = pages_for(bytes);
  if (pages > LONGEST) return NULL;
  for (unsigned i = 0; i < LARGE_KEPT; i++) {
    struct page *page = mutator->large[i];
    if (!page || page->run != pages) continue;
    mutator->large[i] = NULL;
    COMPILER_BARRIER();
    size_t size = round_up(bytes, KERNEL_PAGE);
    page_heap_note_large(size, page->size);
    page->size = size;
    return page;
  }
  return NULL;
}

void large_release(struct mutator *mutator) {
  for (unsigned i = 0; i < LARGE_KEPT; i++) {
    struct page *page = mutator->large[i];
    mutator->large[i] = NULL;
    COMPILER_BARRIER();
    if (page) page_heap_release_large(page);
  }
}

bool large_is_kept(const struct mutator *mutator) {
  for (unsigned i = 0; i < LARGE_KEPT; i++)
    if (atomic_get(&mutator->large[i])) return true;
  return false;
}
