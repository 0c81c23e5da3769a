/* pace.h: when a cycle begins.

   The heap's size is what its objects fill, in heap pages: the page heap counts large objects, and
   buffers count their cells as they are refilled and flushed; malloc and free count nothing. A
   cycle is due when the heap has grown since the last one by `growth` per cent of what was live, at
   least 32 MiB; or when it nears its limit, be it filled or with free cells among others. A program
   that frees what it allocates does not grow, so it hardly ever collects. Pages in use would not do
   for the first: what a cycle takes back are mostly cells in pages of which others live, so their
   number hardly falls, and garbage as large as all those holes would come on top of each step.

   Under free=quarantine a cycle takes back what was freed since the last one, and what the heap
   grows by beside that is live: a cycle that is due waits until as much was freed as the heap was
   to grow by. That is 3 MiB, or as much more, up to 16 MiB or `growth` per cent of what is live, as
   keeps cycles to a tenth of the time. It waits no longer than a cycle would without quarantine.

   Cycles that reclaim nothing double the step up to eight times; not beyond what is live, if that
   is more than 256 MiB: a program that builds up much and then makes garbage would hold as much of
   that as it may. What waits for the next cycle to confirm it makes that one due sooner, and an
   idle program's too.

   The limit is the lesser of `limit`, on the heap with its tables, and of what the memory limits of
   control groups leave to it. Of the room below it three quarters are used before a cycle. Beyond
   it they still follow each other, but never sooner than a sixteenth of what is live has been
   allocated, and with the same doubling: a heap that cannot be kept below its limit is not
   collected without pause.

   Groups are looked at when the heap first grows by 2 MiB and before each cycle, or once a second
   where no limit was found, so what is set or used up in between is seen then. An eighth of a
   group's limit is left to what is not ours; how much of that there is already shows in what the
   kernel counts. Looking opens files: never while the world is stopped, nor under a filter of
   system calls before a cycle was found possible. */
#ifndef RECLAIM_PACE_H
#define RECLAIM_PACE_H

#include "heap/page_heap.h"
#include "ports/port.h"

enum pace_limited { PACE_NO_LIMIT, PACE_OPTION, PACE_GROUP };

extern HIDDEN struct pace {
  size_t due_pages;       /* heap pages filled at which a cycle is due; SIZE_MAX: never */
  size_t overdue_pages;   /* at which threads wait for the running cycle instead of growing on */
  size_t attention_pages; /* at which idle work is worth a look */
  size_t limit_pages;     /* heap pages in use at which a cycle is due because of the limit */
  size_t most_pages;      /* the limit; SIZE_MAX: none */
  enum pace_limited limited_by;
  bool due_by_limit;  /* due_pages would be more without it */
  uint64_t last;      /* when the last cycle ended, nanoseconds */
  uint64_t took;      /* how long it took ... */
  size_t took_pages;  /* ... with so many filled */
  bool looked;        /* at the limits of groups, or there was a reason not to */
  unsigned fruitless; /* cycles in a row that reclaimed next to nothing */
} pace;

/* Where groups are looked for; tests put others here. */
extern HIDDEN const struct port_groups *pace_groups;

HIDDEN void pace_init(void);
/* Looks at the limits of groups, as often as is worthwhile. By the holder of the cycle lock, with
   the cycle's stack and before the world is stopped; in a program with threads another process
   opens the files, since the program may count on the number that its next descriptor gets. */
HIDDEN void pace_look(uint64_t now, void *stack, size_t size);
/* To be asked while pace.looked is false and a cycle seems due: is it, now that they are known? */
HIDDEN bool pace_look_first(uint64_t now, void *stack, size_t size);
/* Of a cycle that is due: is it because of the limit? */
HIDDEN bool pace_near_limit(void);
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
/* Of a cycle that is due: may it wait, since little that it could take back was freed? Then it is
   due later. Any thread. */
HIDDEN bool pace_put_off(void);
/* Heap pages' worth of what was freed for the next cycle to take back, of those that are filled. */
HIDDEN size_t pace_freed_pages(void);
/* A cycle begins: what is quarantined from now on is for the next. World stopped. */
HIDDEN void pace_begin(void);
static inline bool pace_overdue(void) {
  return page_heap_filled() >= atomic_get(&pace.overdue_pages);
}
/* Something was allocated since the last cycle: there may be work without a cycle being due. */
static inline bool pace_attention_due(void) {
  return page_heap_filled() >= atomic_get(&pace.attention_pages);
}
/* As long as there was no cycle the program is idle from here on, or from where it was said first.
 */
HIDDEN void pace_note_start(uint64_t now);
/* The heap grew since the last cycle and that is `idle` seconds ago; or much was freed in pages
   that other threads hold, and a cycle now would take less than a fiftieth of the time since. */
HIDDEN bool pace_idle_due(uint64_t now);

#endif
