/* signals.h: the table of the program's signal handlers. One word a signal, so that a handler
   and the way it was asked for change together, without a lock, in any context:

     bit  63     the program set SA_SIGINFO
     bits 62..0  the handler; user space ends below 2^57 on every 64-bit CPU we run on

   0 means that no handler ever went through the gate. */
#ifndef RECLAIM_SIGNALS_H
#define RECLAIM_SIGNALS_H

#include "base/base.h"

#include <signal.h>

#define ENTRY_SIGINFO ((uint64_t)1 << 63)

_Static_assert(sizeof(void (*)(int)) == sizeof(uint64_t), "a handler and a flag share a word");

static inline uint64_t entry_make(uintptr_t handler, bool siginfo) {
  return (uint64_t)handler | (siginfo ? ENTRY_SIGINFO : 0);
}
static inline uintptr_t entry_handler(uint64_t entry) {
  return (uintptr_t)(entry & ~ENTRY_SIGINFO);
}
static inline bool entry_has_siginfo(uint64_t entry) { return (entry & ENTRY_SIGINFO) != 0; }

/* Tells the collector which function stands before all handlers. Once, at start. */
HIDDEN void signals_start(void);
/* The handler that the gate calls for this signal, as a table word. */
HIDDEN uint64_t signals_entry(int signo);
/* The calling thread, which has a record, has no alternate stack from here on (signal_stack.c). */
HIDDEN void signal_stack_give_up(void);

#endif
