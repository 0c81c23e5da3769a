/* pace.h: when a cycle begins.

   The heap's size is what its objects fill, in heap pages: the page heap counts large objects, and
   buffers count their cells as they are refilled and flushed; malloc and free count nothing. A
   cycle is due when the heap has grown since the last one by `growth` per cent of what was live, at
   least 32 MiB; or when its pages near `limit`. A program that frees what it allocates does not
   grow, so it hardly ever collects. Pages in use would not do for the first: what a cycle takes
   back are mostly cells in pages of which others live, so their number hardly falls, and garbage as
   large as all those holes would come on top of each step.

   Cycles that reclaim nothing double the step up to eight times; not beyond what is live, if that
   is more than 256 MiB: a program that builds up much and then makes garbage would hold as much of
   that as it may. Beyond the limit they still follow each other, but never sooner than a sixteenth
   of what is live has been allocated, and with the same doubling: a heap that cannot be kept below
   its limit is not collected without pause. What waits for the next cycle to confirm it makes that
   one due sooner, and an idle program's too. */
#ifndef RECLAIM_PACE_H
#define RECLAIM_PACE_H

#include "heap/page_heap.h"

extern HIDDEN struct pace {
  size_t due_pages;       /* heap pages filled at which a cycle is due; SIZE_MAX: never */
  size_t overdue_pages;   /* at which threads wait for the running cycle instead of growing on */
  size_t attention_pages; /* at which idle work is worth a look */
  size_t limit_pages;     /* heap pages in use at which a cycle is due because of `limit` */
  uint64_t last;          /* when the last cycle ended, nanoseconds */
  uint64_t took;          /* how long it took ... */
  size_t took_pages;      /* ... with so many filled */
  unsigned fruitless;     /* cycles in a row that reclaimed next to nothing */
} pace;

HIDDEN void pace_init(void);
/* A cycle ended: sets the next one's time. `left`: heap pages filled when the world was stopped,
   less what died; what was allocated since, beside the sweep, is growth already. Sizes in bytes;
   suspect is what it did not reach, but left for the next one to confirm. */
HIDDEN void pace_done(size_t left, size_t live, size_t reclaimed, size_t suspect, uint64_t now);
/* A cycle was given up: try again when the heap has grown a little more. */
HIDDEN void pace_skipped(uint64_t now);

static inline bool pace_cycle_due(void) {
  return UNLIKELY(page_heap_filled() >= atomic_get(&pace.due_pages)) ||
         UNLIKELY(page_heap_used() >= atomic_get(&pace.limit_pages));
}
static inline bool pace_overdue(void) {
  return page_heap_filled() >= atomic_get(&pace.overdue_pages);
}
/* Something was allocated since the last cycle: there may be work without a cycle being due. */
static inline bool pace_attention_due(void) {
  return page_heap_filled() >= atomic_get(&pace.attention_pages);
}
/* The heap grew since the last cycle and that is `idle` seconds ago; or much was freed in pages
   that other threads hold, and a cycle now would take less than a fiftieth of the time since. */
HIDDEN bool pace_idle_due(uint64_t now);

#endif
