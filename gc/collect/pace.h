/* pace.h: when a cycle begins.

   The heap's size is taken in heap pages in use, which the page heap counts anyway: malloc and free
   count nothing. A cycle is due when the heap has grown since the last one by `growth` per cent
   of what was live, at least 32 MiB; or when it nears `limit`. A program that frees what it
   allocates does not grow, so it hardly ever collects. Cycles that reclaim nothing double the
   step up to eight times. */
#ifndef RECLAIM_PACE_H
#define RECLAIM_PACE_H

#include "heap/page_heap.h"

extern HIDDEN struct pace {
  size_t due_pages;       /* heap pages in use at which a cycle is due; SIZE_MAX: never */
  size_t overdue_pages;   /* at which threads wait for the running cycle instead of growing on */
  size_t attention_pages; /* pages at which idle work is worth a look */
  size_t base_pages;      /* in use after the last cycle */
  uint64_t last;          /* when the last cycle ended, nanoseconds */
  unsigned fruitless;     /* cycles in a row that reclaimed next to nothing */
} pace;

HIDDEN void pace_init(void);
/* A cycle ended: sets the next one's time. Sizes in bytes. */
HIDDEN void pace_done(size_t live, size_t reclaimed, uint64_t now);
/* A cycle was given up: try again when the heap has grown a little more. */
HIDDEN void pace_skipped(uint64_t now);

static inline bool pace_cycle_due(void) {
  return UNLIKELY(atomic_get(&page_heap_counts.used) >= atomic_get(&pace.due_pages));
}
static inline bool pace_overdue(void) {
  return atomic_get(&page_heap_counts.used) >= atomic_get(&pace.overdue_pages);
}
/* The heap grew since the last cycle and that is `idle` seconds ago. */
HIDDEN bool pace_idle_due(uint64_t now);

#endif
