/* cycle.h: one collection from stop to sweep, and who may run one when.

   cycle_run may be called wherever malloc may be called: on any stack, in signal handlers, by any
   thread that holds no lock of ours. It runs on a stack of its own with all signals blocked. */
#ifndef RECLAIM_CYCLE_H
#define RECLAIM_CYCLE_H

#include "base/base.h"

enum cycle_reason {
  CYCLE_GROWTH,   /* the heap grew */
  CYCLE_REQUEST,  /* reclaim_collect */
  CYCLE_MEMORY,   /* malloc would return NULL */
  CYCLE_EVERY,    /* collect-every */
  CYCLE_INTERVAL, /* collect-every-ms */
  CYCLE_IDLE      /* nothing was done for a while */
};

/* Reserves all working memory. False: collections will not run. */
HIDDEN bool cycle_init(void);
/* Runs a cycle; with `wait`, after one that is already under way, else not then. True: a whole
   cycle was completed by this call. */
HIDDEN bool cycle_run(enum cycle_reason reason, bool wait);
/* To be asked while pace.looked is false and a cycle seems due: is it? */
HIDDEN bool cycle_look(void);
/* Waits until no cycle runs: for a thread that allocates faster than the collector sweeps. */
HIDDEN void cycle_wait(void);
HIDDEN void cycle_disable(void); /* nests */
HIDDEN void cycle_enable(void);

/* fork and exec announce themselves: waits for a running cycle and holds off others until
   cycle_retract. Not in a vfork child. */
HIDDEN void cycle_announce(void);
HIDDEN void cycle_retract(void);
/* In the fork child, instead of cycle_retract; announced: the fork was. */
HIDDEN void cycle_fork_child(bool announced);

#endif
