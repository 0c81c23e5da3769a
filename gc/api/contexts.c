/* contexts.c: coroutines whose stacks lie in a frame of their thread's own stack.

   While one runs, the stack pointer is above the frames of those that wait for it, and these are
   alive although they are below (roots.c leaves out what is below the stack pointer elsewhere). So
   a switch to such a stack is noted. Alternate signal stacks that lie there are noted by the gate.
   Not seen: switches by code of the program's own onto local arrays. */
#include <ucontext.h>

#include "api/next.h"
#include "mutator/thread.h"

EXPORT int swapcontext(ucontext_t *restrict from, const ucontext_t *restrict to) {
  thread_note_stack((uintptr_t)to->uc_stack.ss_sp);
  return NEXT(swapcontext)(from, to);
}

EXPORT int setcontext(const ucontext_t *to) {
  thread_note_stack((uintptr_t)to->uc_stack.ss_sp);
  return NEXT(setcontext)(to);
}
