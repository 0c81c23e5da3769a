/* gate.c: see gate.h. A handler interrupted the allocator when the program counter lies in the
   fast paths (they are compiled into a section of their own, so it costs them nothing to be
   recognised) or when the thread's mutator is marked busy by a slow path. It then gets the
   mutator of a level that nobody interrupted. A handler that longjmps away leaves the level
   raised: harmless, since every level is a whole mutator, and an abandoned operation loses at most
   one cell. */
#include "api/gate.h"

#include "base/remedy.h"
#include "mutator/thread.h"
#include "ports/port.h"

extern HIDDEN const char __start_reclaim_fast[], __stop_reclaim_fast[];

struct gate_state gate_enter(void *ucontext) {
  struct gate_state state = {self.real, self.level, 0, 0};
  if (!self.thread || WITHOUT(handler_levels)) return state;
  state.given_stack = self.thread->given_stack;
  struct port_frame frame;
  port_frame_read(ucontext, &frame);
  state.alternate_stack = frame.alternate_stack;
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  if (UNLIKELY(here > frame.stack_pointer)) thread_note_stack(here); /* an alternate stack */
  uintptr_t at = frame.program_counter;
  bool fast = at >= (uintptr_t)__start_reclaim_fast && at < (uintptr_t)__stop_reclaim_fast;
  if (fast || (self.real && self.real->busy)) thread_enter_level(frame.stack_pointer);
  return state;
}

void gate_leave(struct gate_state state) {
  if (self.thread) thread_set_alternate_stack(self.thread, state.alternate_stack);
  if (self.thread && UNLIKELY(self.thread->given_stack != state.given_stack))
    thread_give_signal_stack(self.thread, state.given_stack);
  if (self.thread && self.level != state.level) thread_leave_level(state.mutator, state.level);
}
