/* self.h: what belongs to the calling thread and is reached through initial-exec TLS.
   Owner: the thread itself, its signal handlers included; a plain increment is enough because
   a handler that interrupts one restores what it found. The collector never reads it. */
#ifndef RECLAIM_SELF_H
#define RECLAIM_SELF_H

#include "base/base.h"

struct mutator;
struct thread;

struct self {
  ptrdiff_t
      displacement;      /* from the dummy to the mutator that the fast paths use. Zero is the empty
                            dummy, which sends them to the slow path: before set-up, after the end,
                            under check= options, and before the loader has set up this storage */
  struct mutator *real;  /* the thread's own, NULL before set-up and after its end */
  struct thread *thread; /* registry record, NULL until the thread is set up */
  uint32_t stops;        /* how often our stop signal ran in this thread */
  uint32_t handlers;     /* how often a handler of the program ran in this thread */
  size_t quarantined;    /* bytes since it last told of them, see quarantine.h */
  uint32_t level;        /* nesting of handlers that interrupted the allocator */
  bool ended;            /* the thread's last key destructor has run */
  bool there;            /* what is written here stays: the loader has filled this storage */
  bool lent;             /* since a vfork: this may be the child, in our memory */
};

extern HIDDEN THREAD_LOCAL struct self self;

#endif
