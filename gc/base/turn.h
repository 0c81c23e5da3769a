/* turn.h: a ticket lock (Mellor-Crummey and Scott, 1991, section 2.1): who came first is served
   first. It stands before what is held for milliseconds, by threads that may come again at once: a
   lock that can be overtaken would leave one of them, or a fork, waiting for seconds.

   All zero: free. A thread that waits for its turn must not end; a fork child clears its copy. Who
   uses it arranges the signal mask (section_begin in lock.h). Raw system calls only. */
#ifndef RECLAIM_TURN_H
#define RECLAIM_TURN_H

#include "base/base.h"

enum { TURN_PLACES = 16 };

struct turn {
  uint32_t next; /* ticket that is given out next */
  uint32_t serving;
  uint32_t places[TURN_PLACES]; /* futex words: ticket n waits on the one with index n % 16 */
};

HIDDEN void turn_take(struct turn *turn);
/* Not while anybody has it or waits for it. */
HIDDEN bool turn_take_if_free(struct turn *turn);
HIDDEN void turn_drop(struct turn *turn);

#endif
