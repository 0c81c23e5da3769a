/* stop_signal.c: the signal that stops threads: number 33 (glibc's SIGSETXID).

   glibc strips 32 and 33 from every mask a program sets and refuses handlers for them, so no
   program can block, take or wait for it. The number belongs to glibc, which uses it for setuid
   in threads: our handler knows its own by SI_QUEUE and a cookie and passes the rest on. glibc
   overwrites the handler at the first pthread_create or setxid; port_stop_install puts it back
   and is called before every stop. SA_ONSTACK: programs with tiny stacks install an alternate
   one; not any more once a program is seen to have such stacks as hold but one signal. Everything
   is blocked while a thread is stopped. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/remedy.h"
#include "base/text.h"
#include "ports/port.h"
#include "ports/x86_64/system_call.h"

#define STOP_SIGNAL (WITHOUT(reserved_signal) ? SIGPWR : 33)
static const uint64_t cookie = (uint64_t)0x5243 << 48; /* stop values use the low 48 bits */

/* The kernel's own layout of struct sigaction on x86-64. */
struct kernel_action {
  void (*handler)(int, siginfo_t *, void *);
  unsigned long flags;
  void (*restorer)(void);
  uint64_t mask;
};
enum { RESTORER = 0x04000000 };

extern HIDDEN void port_signal_return(void);

static struct {
  port_stop_handler handler;
  struct kernel_action chained; /* what stood there before us */
  bool off_stack;
} state;

static void on_signal(int number, siginfo_t *info, void *context) {
  uint64_t value = (uint64_t)info->si_value.sival_ptr;
  if (info->si_code == SI_QUEUE && value >> 48 == cookie >> 48) {
    struct port_frame frame;
    port_frame_read(context, &frame);
    port_segment_bases(frame.bases);
    state.handler(value & ~(0xffffull << 48), &frame);
  } else if ((uintptr_t)state.chained.handler > 1 && !WITHOUT(setxid_chain)) {
    state.chained.handler(number, info, context);
  }
}

/* Again if threads are to stop elsewhere meanwhile: the last to install knows. */
static bool install(void) {
  for (;;) {
    bool off = __atomic_load_n(&state.off_stack, __ATOMIC_SEQ_CST);
    unsigned long on_stack = off || WITHOUT(on_stack) ? 0 : SA_ONSTACK;
    struct kernel_action ours = {on_signal, SA_SIGINFO | SA_RESTART | on_stack | RESTORER,
                                 port_signal_return, ~0ull};
    if (SYSTEM_CALL(SYS_rt_sigaction, STOP_SIGNAL, &ours, 0, 8) != 0) return false;
    if (off == __atomic_load_n(&state.off_stack, __ATOMIC_SEQ_CST)) return true;
  }
}

bool port_stop_install(port_stop_handler handler) {
  struct kernel_action current;
  if (SYSTEM_CALL(SYS_rt_sigaction, STOP_SIGNAL, 0, &current, 8) != 0) return false;
  if (current.handler == on_signal) return true;
  state.handler = handler;
  state.chained = current;
  return install();
}

/* Done by everybody who asks, before the kernel is told of a stack that is shared: it may not wait
   for another who asked first. */
void port_stop_off_stack(void) {
  struct kernel_action current;
  __atomic_store_n(&state.off_stack, true, __ATOMIC_SEQ_CST);
  if (atomic_get(&port_sealed)) return; /* nobody is stopped any more */
  if (SYSTEM_CALL(SYS_rt_sigaction, STOP_SIGNAL, 0, &current, 8) != 0) return;
  if (current.handler == on_signal && current.flags & SA_ONSTACK) install();
}

int port_stop_thread(int process, int thread, uint64_t value) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = STOP_SIGNAL;
  info.si_code = SI_QUEUE;
  info.si_pid = process;
  info.si_value.sival_ptr = (void *)(cookie | value);
  return (int)SYSTEM_CALL(SYS_rt_tgsigqueueinfo, process, thread, STOP_SIGNAL, &info);
}

bool port_handler_beside(uintptr_t gate) {
  for (int number = 1; number <= 64; number++) {
    struct kernel_action action;
    if (number == SIGKILL || number == SIGSTOP || number == 32 || number == STOP_SIGNAL) continue;
    if (SYSTEM_CALL(SYS_rt_sigaction, number, 0, &action, 8) != 0) return true;
    uintptr_t handler = (uintptr_t)action.handler;
    if (handler > (uintptr_t)SIG_IGN && handler != gate) return true;
  }
  return false;
}

bool port_stop_pending(int thread) {
  char path[64], status[4096];
  struct text text = text_in(path, sizeof path - 1);
  text_add(&text, "/proc/self/task/");
  text_add_number(&text, (uint64_t)thread);
  text_add(&text, "/status");
  *text.end = 0;
  long length = port_read_file(path, status, sizeof status - 1);
  if (length <= 0) return false;
  status[length] = 0;
  const char *at = strstr(status, "\nSigPnd:\t");
  if (!at) return false;
  at += sizeof "\nSigPnd:\t" - 1;
  return text_read_hex(&at, status + length) >> (STOP_SIGNAL - 1) & 1;
}

#define BIT(number) (1ull << ((number)-1))

/* Faults raised while blocked would kill the process, so they stay open, like the stop signal. */
static const uint64_t unblockable =
    BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGSYS);

/* Stands for a mask that was not changed: SIGKILL is in no real one. */
static const uint64_t unchanged = BIT(SIGKILL);

uint64_t port_signals_block(void) {
  uint64_t all = ~(unblockable | BIT(STOP_SIGNAL)), old = 0;
  if (UNLIKELY(atomic_get(&port_sealed))) return unchanged;
  SYSTEM_CALL(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, 8);
  return old;
}

uint64_t port_signals_block_all(void) {
  uint64_t all = ~unblockable, old = 0;
  SYSTEM_CALL(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, 8);
  return old;
}

uint64_t port_signals_block_faults(void) {
  uint64_t all = ~0ull, old = 0;
  SYSTEM_CALL(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, 8);
  return old;
}

void port_signals_restore(uint64_t mask) {
  if (UNLIKELY(mask == unchanged)) return;
  SYSTEM_CALL(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
}

uintptr_t port_alternate_stack(void) {
  stack_t stack;
  memset(&stack, 0, sizeof stack);
  SYSTEM_CALL(SYS_sigaltstack, 0, &stack);
  return (uintptr_t)stack.ss_sp;
}
