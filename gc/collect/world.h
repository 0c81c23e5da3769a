/* world.h: stops every other thread of the process and lets them go again.

   Threads are found in /proc/self/task, so that raw clones are found too. The kernel ends such a
   listing early, without a word, when the thread it stands at is just exiting; so the registry is
   asked as well, and a thread that registers while the world is stopped waits (world_admit): every
   thread that allocates is stopped, held, or known to be gone. Each is sent the stop
   signal with the cycle's epoch and a slot number; its handler publishes the frame in the slot and
   waits on the epoch. Slot states are changed by compare-and-swap and carry the epoch, so that a
   signal that arrives after its cycle was given up finds nothing to do. Threads that will
   never run program code again (exiting, kernel workers) are left out; one that does not answer
   in time means that the cycle is given up (rule 1). Nobody waits for threads to resume. */
#ifndef RECLAIM_WORLD_H
#define RECLAIM_WORLD_H

#include "mutator/parking.h"
#include "ports/port.h"

struct stopped_thread {
  int id;
  uint64_t state;              /* epoch << 2 | one of the states in world.c */
  const struct thread *record; /* its own in the registry; NULL: not known to be there */
  struct port_frame frame;
  uintptr_t handler_stack; /* the stack pointer inside the handler */
};

enum world_result {
  WORLD_STOPPED,
  WORLD_TASKS,      /* /proc/self/task cannot be listed */
  WORLD_TIMEOUT,    /* a thread did not answer */
  WORLD_SIGNAL,     /* the stop signal cannot be installed or sent */
  WORLD_COUNT,      /* more threads than we have room for */
  WORLD_SMALL_STACK /* a thread's signal stack has no room for the stop's frame */
};

HIDDEN bool world_init(void);
/* World is stopped on WORLD_STOPPED only; otherwise it has been let go again. The caller has
   blocked all signals and holds the cycle lock. */
HIDDEN enum world_result world_stop(void);
HIDDEN void world_resume(void);
/* After a stop that was complete: gives up what threads held that it found gone. A thread that runs
   with another's record has shown itself by then, and nothing is given up any more. */
HIDDEN void world_bury(void);
/* The threads that were stopped; valid until the next stop. */
HIDDEN const struct stopped_thread *world_threads(size_t *count);
/* A thread that has just registered: waits while the world is stopped, since the collector may not
   have seen it. Not while holding a lock of ours. */
HIDDEN void world_admit(void);
/* Ends a thread's parking, waiting for the end of a stop that holds it. By the thread itself, in
   its handlers too, or by one that has forbidden it to park. Keeps errno. */
HIDDEN COLD void world_unpark(struct thread *thread);
/* World running, cycle lock held, right after a stop: calls `visit` with each thread that is parked
   and, at a look from outside, `wanted`; it stays parked meanwhile. Visits must be short, and take
   no lock that a thread may hold in a blocking call. */
HIDDEN void world_visit_parked(bool (*wanted)(const struct thread *thread),
                               void (*visit)(struct thread *thread));
/* Called once threads are made beside the first: from now on blocking calls park. */
HIDDEN void world_allow_parking(void);
extern HIDDEN bool world_parking; /* read by every blocking call */
/* The function that stands before all handlers of the program: one that does not pass it could run
   in a parked thread, so parking ends when such a handler shows up. */
HIDDEN void world_set_gate(uintptr_t gate);
/* Installs the stop signal's handler again where libc took the number back. */
HIDDEN bool world_install(void);

#endif
