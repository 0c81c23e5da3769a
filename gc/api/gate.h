/* gate.h: what happens around every signal handler of the program.

   A handler may call malloc although it interrupted malloc. gate_enter() sees from the
   interrupted context whether that is so and gives the handler allocation buffers of its own;
   gate_leave() puts back what gate_enter() found. Both are async-signal-safe and keep errno.

   A handler that leaves by siglongjmp, by an exception or by pthread_exit never comes back to
   gate_leave(); whoever defines these functions must heal that by itself. */
#ifndef RECLAIM_GATE_H
#define RECLAIM_GATE_H

#include "base/base.h"

struct mutator;

struct gate_state {
  struct mutator *mutator;
  uint32_t level;
  uintptr_t alternate_stack, given_stack; /* what the return from the handler sets again */
};

HIDDEN struct gate_state gate_enter(void *ucontext);
HIDDEN void gate_leave(struct gate_state state);

#endif
