/* jumps.c: longjmp and its other names are interposed to learn whether the program switches stacks
   by them, as coroutine libraries do. libc's setjmp stores some registers mangled, on x86-64 rbp,
   which may hold any pointer; while a coroutine is suspended in that way, the jump buffer can be
   the only place where it stands. The marker then also tries words as such registers (mark.h),
   which costs time, so it begins with the first jump that leaves a stack, and never ends.

   Jumps within one stack hide nothing: what the caller of setjmp kept in rbp stands there still, or
   was saved plainly by whoever uses rbp now. A stack is left when the jump's target or the running
   code lies outside the thread's own stack, or when the target lies further down: frames that
   returned cannot be jumped to. One case is seen a jump late: a coroutine stack made of a local
   array, left upwards for the first time.

   Nothing may stand between caller and libc but a jump (the assembly names keep the compiler from
   knowing that these do not return): __longjmp_chk compares the target with its own frame. */
#include <setjmp.h>

#include "api/next.h"
#include "collect/mark.h"
#include "mutator/thread.h"
#include "ports/port.h"

typedef void jump_function(struct __jmp_buf_tag *buffer, int value);

extern void __longjmp_chk(struct __jmp_buf_tag *buffer, int value);

static bool demangling;

static bool on_own_stack(uintptr_t address) {
  const struct thread *thread = self.thread;
  return thread && address >= thread->stack_begin && address < thread->stack_end;
}

/* Also in signal handlers and vfork children: sets flags, no more. */
static inline void look(const struct __jmp_buf_tag *buffer) {
  if (!PORT_JUMP_HIDES_POINTERS || LIKELY(atomic_get(&demangling))) return;
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  uintptr_t there = port_jump_stack_pointer(buffer);
  if (LIKELY(there >= here && on_own_stack(here) && on_own_stack(there))) return;
  atomic_set(&demangling, true);
  mark_demangle();
}

#define JUMP(name)                                                                                 \
  EXPORT void face_##name(struct __jmp_buf_tag *buffer, int value) __asm__(#name);                 \
  void face_##name(struct __jmp_buf_tag *buffer, int value) {                                      \
    look(buffer);                                                                                  \
    ((jump_function *)NEXT(name))(buffer, value);                                                  \
  }

JUMP(longjmp)
JUMP(_longjmp)
JUMP(siglongjmp)
JUMP(__longjmp_chk)
