/* orphans.h: mutators that change hands: the list of all of them, those whose threads have ended,
   what the collector takes out of the hands of threads that wait, and what becomes of all in the
   child of a fork.

   One lock, taken with signals blocked, guards the lists and the pool, a mutator of nobody with the
   pages that threads left. An orphan without pages of its own is bare: what comes back of those
   that were full goes to the pool. One that was adopted belongs to who did. */
#ifndef RECLAIM_ORPHANS_H
#define RECLAIM_ORPHANS_H

#include "mutator/mutator.h"

/* A mutator to own: an orphan with its pages, or a new one. NULL: out of memory. */
HIDDEN struct mutator *mutator_adopt(void);
/* Empties its buffers, releases its empty pages and leaves the rest to adopt until the next cycle;
   to the pool, where very many are orphans. A few keep the few pages they were filling, empty or
   not. */
HIDDEN void mutator_orphan(struct mutator *mutator);

/* A page of a class that a thread left. NULL: there is none. */
HIDDEN struct page *orphans_take_page(struct mutator *mutator, unsigned class);
/* Has every owner trim (mutator_trim), at its next change of page or flush. Any thread. */
HIDDEN void mutator_ask_to_trim(void);
/* The owner is parked and held, so that it is not at work with it: the collector empties its
   buffers, releases the large objects it keeps, and moves at most that many of its pages that are
   not full to the pool; returns how many. */
HIDDEN size_t mutator_harvest(struct mutator *mutator, size_t most);
/* Is there anything to take? A guess, from any thread, while the owner may be at work. */
HIDDEN bool mutator_has_harvest(const struct mutator *mutator);
/* After that: moves what orphans have there, too, and releases those that are empty; the others
   stay within all threads' reach meanwhile. By the one who collects. */
HIDDEN void mutator_bequeath(void);
/* What waits in the buffers of all. */
HIDDEN size_t mutator_buffered_bytes(void);

/* For fork: locks the list of orphans; the child forgets all buffers but those of
   its one thread (`kept`, NULL entries allowed). */
HIDDEN void mutator_fork_lock(void);
HIDDEN void mutator_fork_unlock(void);
HIDDEN void mutator_fork_child(struct mutator *const *kept, size_t count);

#endif
