/* jump.c: switches to another stack by makecontext and back by siglongjmp when it is loaded, as a
   coroutine library would, so that the collector demangles from then on. */
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf back;
static char stack[65536];

static void leave(void) { siglongjmp(back, 1); }

__attribute__((constructor)) static void start(void) {
  static ucontext_t context;
  if (getcontext(&context) != 0) return;
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = sizeof stack;
  makecontext(&context, leave, 0);
  if (sigsetjmp(back, 0) == 0) setcontext(&context);
}
