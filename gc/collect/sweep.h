/* sweep.h: what happens to objects that were not reached.

   sweep_flip, at the end of the pause, turns the mark bits into dead bits: cells that are
   allocated, not marked, and whose state says that the collector may take them. Cells that become
   objects afterwards are therefore never swept. The dead cells of a page are freed when a thread
   takes the page to allocate from it, or by sweep_rest; whoever swaps the page's `unswept` flag to
   0 does it. A sweeper acts like any thread that frees another's cells.

   An object that was never freed dies when so many marks in a row did not reach it as the policy
   wants; until then its state byte counts them (the marker clears the count of what it reaches).
   It is not marked from: objects that hang on a suspect are not reached either, so they count with
   it, and their counts are never ahead: if the suspect was reached last in cycle n, so was what it
   pointed to then, and what it points to since was either reached in n or later, or made later.
   The exception is an object that was itself out of sight in cycle n and stored into the suspect
   afterwards: it dies by its own right, unseen in every one of the cycles. What is found dead in
   one cycle dies at once, so no dead object is pointed to by one that is still to be used, and
   there is no second mark in the pause. */
#ifndef RECLAIM_SWEEP_H
#define RECLAIM_SWEEP_H

#include "heap/heap.h"

struct sweep_counts {
  uint64_t kept_objects, kept_bytes; /* not reached, but not to be taken either */
  uint64_t dead_objects, dead_bytes;
  uint64_t suspect_bytes;      /* not reached, and left for the next cycle to confirm */
  uint64_t recovered;          /* of the dead: injected leaks */
  uint64_t condemned, revived; /* under check=condemn */
};

/* What the flip may take, by options. */
struct sweep_policy {
  bool live;        /* objects never freed (reclaim=on) */
  bool quarantined; /* objects that were freed and wait (free=quarantine) */
  bool condemn;     /* do not free: mark them condemned, see check_condemned in cycle.c */
  bool poison;      /* overwrite what is freed with 0xdb instead of zeros */
  unsigned confirm; /* marks in a row that must not reach a live object; 0 is as 1, at most 7 */
};

HIDDEN void sweep_init(void);
/* Fork child: no thread is left in the middle of a sweep. */
HIDDEN void sweep_fork_child(void);
/* World stopped, all marking done, no page unswept. */
HIDDEN struct sweep_counts sweep_flip(const struct sweep_policy *policy);
/* Clears all mark bits after a marking that was given up. World stopped. */
HIDDEN void sweep_cancel(void);
/* Sweeps one page if it still waits for it. Any thread. */
HIDDEN void sweep_page(struct page *page);
/* Sweeps every page that still waits and waits for those in the hands of others. */
HIDDEN void sweep_rest(void);
/* Called with each condemned object (condemn mode, world stopped). */
enum condemned { CONDEMNED_NOW, CONDEMNED_STILL, CONDEMNED_NO_MORE };
extern HIDDEN void (*sweep_condemned)(uintptr_t address, size_t size, enum condemned condemned);

#endif
