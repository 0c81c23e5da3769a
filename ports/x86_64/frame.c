/* frame.c: what an x86-64 signal frame says of the interrupted thread. The kernel lays the
   ucontext below the extended register state (XSAVE area, up to 11 KiB with AMX in use), whose
   true size stands in the software bytes of the FXSAVE image (Linux, arch/x86/include/uapi/
   asm/sigcontext.h). */
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "ports/port.h"

enum { FXSAVE_SIZE = 512, SOFTWARE_BYTES = 464, MAGIC_EXTENDED = 0x46505853 };

void port_frame_read(void *context, struct port_frame *frame) {
  ucontext_t *u = context;
  uintptr_t end = (uintptr_t)(u + 1);
  const char *vector_state = (const char *)u->uc_mcontext.fpregs;
  if (vector_state) {
    uint32_t magic, size;
    memcpy(&magic, vector_state + SOFTWARE_BYTES, sizeof magic);
    memcpy(&size, vector_state + SOFTWARE_BYTES + 4, sizeof size);
    end = (uintptr_t)vector_state + (magic == MAGIC_EXTENDED ? size : FXSAVE_SIZE);
  }
  frame->stack_pointer = (uintptr_t)u->uc_mcontext.gregs[REG_RSP];
  frame->program_counter = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
  frame->frame_begin = (uintptr_t)u;
  frame->frame_end = end;
  frame->alternate_stack = (uintptr_t)u->uc_stack.ss_sp;
  frame->alternate_size = u->uc_stack.ss_size;
}
