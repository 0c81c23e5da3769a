/* held.h: words of the program that only the kernel holds for it: what epoll_ctl, timer_create and
   mq_notify were given and will hand back. A table of words by what they were registered for; every
   word in it is a root, interior and tagged pointers included.

   The table errs to one side alone: an entry may stay too long (a descriptor that was closed, a
   copy made by dup), never go too early. Stale entries are bounded by the number of different
   keys, and what a new registration displaces is handed to the caller, who cannot know whether the
   kernel has let go of it.

   Open addressing with linear probing and backward-shift deletion (Knuth, TAOCP 3, 6.4, algorithm
   R), at most half full. Entries are written word last and moved by copy before clear, and a
   larger table is published when it is complete: at every instant, thus whenever the world stops
   and in a fork child, each word that was put in can be found by walking the table.

   One lock, never waited for: a handler may have interrupted its holder. Who does not get it is
   told so and pins the object instead (mutator/pin.h). Memory is the heap's own, never given back;
   all the outgrown tables together are smaller than the present one. */
#ifndef RECLAIM_HELD_H
#define RECLAIM_HELD_H

#include "base/base.h"

enum held_kind { HELD_EPOLL = 1, HELD_TIMER, HELD_QUEUE };

/* Enters a word under a key, or removes the entry (word 0). *displaced is the word that stood there
   if it was another, else 0. False: not entered, the lock was not to be had or there is no memory;
   *displaced is then 0 and the old entry stands. */
HIDDEN bool held_put(enum held_kind kind, uint64_t key, uintptr_t word, uintptr_t *displaced);
/* Removes an entry and returns its word; 0: there is none, or it had to stay. */
HIDDEN uintptr_t held_take(enum held_kind kind, uint64_t key);
/* Calls visit with every word. World stopped. */
HIDDEN void held_visit(void (*visit)(uintptr_t word));
HIDDEN size_t held_count(void);
/* Fork child: whoever held the lock is not there. */
HIDDEN void held_fork_child(void);

#endif
