/* clone.c: clone, which makes tasks of any kind.

   A task made by clone(CLONE_VM) without CLONE_THREAD is a process of its own in our memory: it
   is in no list of ours and no signal of ours stops it, while it reads and writes the heap. With
   CLONE_VFORK it is a vfork child, whose parent waits; with CLONE_THREAD it is found in /proc.
   Without CLONE_VM it is a fork child (process.h).

   clone is variadic; it is defined as what it is on every ABI we know, a function of seven words.
   The last stays on the stack (PORT_SEVENTH_WORD): our call is a jump, but for a fork. */
#include "api/next.h"
#include "api/process.h"
#include "api/refusal.h"
#include "mutator/self.h"
#include "mutator/thread.h"
#include "ports/port.h"

#include <sched.h>

typedef int clone_function(int (*function)(void *), void *stack, int flags, void *argument,
                           void *parent_id, void *storage);

/* With what stays on the stack where our call is a jump. */
typedef int whole_function(int (*function)(void *), void *stack, int flags, void *argument,
                           void *parent_id, void *storage, long child_id);

struct copied {
  int (*function)(void *);
  void *argument;
  bool begun;
};

static int begin_copied(void *pointer) {
  struct copied copied = *(struct copied *)pointer;
  process_after_copy(copied.begun, true);
  thread_note_stack((uintptr_t)&copied); /* a local array of a function that goes on, perhaps */
  return copied.function(copied.argument);
}

static COLD int clone_copied(int (*function)(void *), void *stack, int flags, void *argument,
                             void *parent_id, void *storage, long child_id) {
  struct copied copied = {function, argument, process_before_copy()};
  int child = ((whole_function *)NEXT(clone))(begin_copied, stack, flags, &copied, parent_id,
                                              storage, child_id);
  process_after_copy(copied.begun, false);
  return child;
}

EXPORT clone_function clone_symbol __asm__("clone");
int clone_symbol(int (*function)(void *), void *stack, int flags, void *argument, void *parent_id,
                 void *storage) {
  if (UNLIKELY(port_clone_shares_memory((uint64_t)(unsigned)flags))) refusal_shared_heap();
  if (port_clone_lends_memory((uint64_t)(unsigned)flags)) self.lent = true;
  if (port_clone_copies_memory((uint64_t)(unsigned)flags) && function && stack)
    return clone_copied(function, stack, flags, argument, parent_id, storage,
                        PORT_SEVENTH_WORD(__builtin_frame_address(0)));
  return ((clone_function *)NEXT(clone))(function, stack, flags, argument, parent_id, storage);
}

extern EXPORT clone_function __clone __attribute__((alias("clone")));
