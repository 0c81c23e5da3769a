/* signal_stack.c: sigaltstack, for three reasons.

   The kernel often has the only pointer to an alternate stack. A stopped thread's signal frame
   shows that pointer; a parked thread has none, and is judged by its record. The record starts with
   what the kernel says when the thread is attached, and is put right by each handler, whose return
   sets the stack that its frame shows (gate.c).

   The stop signal runs on a thread's alternate stack, and the kernel kills a process whose frame
   does not fit. Frames have grown with the vector registers (3 KiB with AVX-512, 11 KiB with AMX
   in use) while programs keep to the 2048 bytes of the old MINSIGSTKSZ: while a thread has such a
   stack no cycle stops anybody. Sizes up to the largest frame of this machine are remembered, and
   judged anew by each cycle (world.c), since a process may ask for AMX at any time.

   Threads may share such a stack (varnish's workers do) as long as no two of them take a signal at
   once. Two stops do come at once: then none is taken on such stacks any more. Only stacks that are
   given here count: what Go sets by calls of its own is known late, and kept too long, and its
   small stacks need theirs.

   A program may free such a stack, or unmap it, while the kernel still has it. No signal of its own
   may ever come, but a stop does. So a block stays nobody else's until a mark finds that no thread
   has it any more; of one that its own thread unmaps, or still has as it ends, the kernel is told;
   and where another thread unmaps one, no stop is taken on such stacks any more, either.

   A stack is made small only while no cycle runs, so that none has judged too early. */
#include <errno.h>
#include <signal.h>
#include <sys/auxv.h>

#include "api/next.h"
#include "api/process.h"
#include "api/signals.h"
#include "mutator/thread.h"
#include "ports/port.h"

/* AT_MINSIGSTKSZ, which the headers of older distributions lack. */
enum { LARGEST_FRAME = 51 };
enum { OLD_KERNEL = 16 * 1024, HANDLER = 2 * 1024 };

/* Is it surely large enough? Otherwise the cycles decide. */
static bool is_large(const stack_t *stack) {
  size_t frame = getauxval(LARGEST_FRAME);
  return stack->ss_size >= (frame ? frame : OLD_KERNEL) + HANDLER;
}

EXPORT int sigaltstack(const stack_t *restrict stack, stack_t *restrict old) {
  if (!stack || process_is_vfork_child()) return NEXT(sigaltstack)(stack, old);
  size_t size = stack->ss_flags & SS_DISABLE || is_large(stack) ? 0 : stack->ss_size;
  bool announced = size && process_announce();
  uintptr_t given = stack->ss_flags & SS_DISABLE ? 0 : (uintptr_t)stack->ss_sp;
  struct thread *thread = given ? thread_attach() : self.thread;
  uintptr_t before = thread ? thread->given_stack : 0;
  if (thread && given) thread_give_signal_stack(thread, given);
  int result = NEXT(sigaltstack)(stack, old), error = errno;
  if (result == 0) thread_set_signal_stack(size);
  if (result == 0 && thread) thread_set_alternate_stack(thread, port_alternate_stack());
  uintptr_t now = result == 0 ? given : before;
  if (thread && thread->given_stack != now) thread_give_signal_stack(thread, now);
  if (announced) process_retract();
  errno = error;
  return result;
}

void signal_stack_give_up(void) {
  const stack_t none = {.ss_flags = SS_DISABLE};
  int error = errno;
  /* Not while it runs there, nor in a handler, whose return brings it back: nothing changes. */
  if (NEXT(sigaltstack)(&none, NULL) == 0) {
    thread_set_signal_stack(0);
    thread_give_signal_stack(self.thread, 0);
    thread_set_alternate_stack(self.thread, 0);
  }
  errno = error;
}
