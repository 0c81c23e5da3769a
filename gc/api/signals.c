/* signals.c: every handler the program installs is entered through a gate of ours.

   The gate counts the run (self.handlers), so that an interrupted call can tell a signal of the
   program from a stop of ours (blocking.h), and lets the handler allocate (gate.h). The functions
   below keep the program from noticing: the kernel gets the program's flags and mask, with the
   gate in the handler's place; a query gets the program's handler.

   The kernel is the authority on what is installed, the table only says what stands behind the
   gate. So a reset by SA_RESETHAND, by exec or by a raw system call needs no tracking, and SIG_DFL
   and SIG_IGN never touch the table. That makes a vfork child harmless: it shares the table but
   not the kernel's dispositions; what it installs goes to the kernel ungated.

   The entry is written before the kernel learns of the gate: a signal that arrives in between
   runs the new handler under the old mask. Two threads that set different handlers for one signal
   at one moment may leave one's handler with the other's mask; programs cannot tell which of
   them should have won.

   Not gated: handlers installed by raw system calls (their runs are not counted), libc's own
   (profil), and sigvec of binaries from before glibc 2.21.

   Owner of the table: any thread and any handler; relaxed words, made visible by the system call
   that follows the write. Everything here is async-signal-safe once next_resolve_all() ran.

   siginterrupt and signal share a set that libc keeps hidden, so both live here. */
#include "api/signals.h"

#include "api/gate.h"
#include "api/next.h"
#include "api/process.h"
#include "base/remedy.h"
#include "collect/world.h"

#include <errno.h>

#define SIGNALS 64 /* highest signal number of the kernel */

_Static_assert(NSIG == SIGNALS + 1, "the table has one entry for each signal");

static struct {
  uint64_t entries[SIGNALS + 1];
  uint64_t interrupting; /* bit signo - 1: siginterrupt(signo, 1) holds for later signal() calls */
} signals;

uint64_t signals_entry(int signo) { return atomic_get(&signals.entries[signo]); }

static void gate(int signo, siginfo_t *info, void *ucontext) {
  uint64_t entry = signals_entry(signo);

  atomic_set(&self.handlers, self.handlers + 1);
  if (self.thread && (atomic_get(&self.thread->parking) & PARKING_PLACE) && !WITHOUT(gate_unparks))
    world_unpark(self.thread);
  if (UNLIKELY(entry == 0)) return;
  struct gate_state state = gate_enter(ucontext);
  /* Three arguments do a handler of one no harm. No cleanup attribute here: it would tie the
     library to the unwinder, and a longjmp would pass it by all the same. */
  ((void (*)(int, siginfo_t *, void *))entry_handler(entry))(signo, info, ucontext);
  gate_leave(state);
}

void signals_start(void) { world_set_gate((uintptr_t)gate); }

static inline bool is_gate(const struct sigaction *action) { return action->sa_sigaction == gate; }

/* SIG_DFL, SIG_IGN and what cannot be an address go to the kernel as they are. */
static bool needs_gate(const struct sigaction *action) {
  return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN &&
         ((uint64_t)(uintptr_t)action->sa_handler & ENTRY_SIGINFO) == 0;
}

/* Turns what the kernel reported into what the program had installed. */
static void unveil(struct sigaction *action, uint64_t entry) {
  /* After SA_RESETHAND the kernel shows SIG_DFL with the flags of the action that ran. */
  bool was_reset = action->sa_handler == SIG_DFL && (action->sa_flags & SA_RESETHAND) != 0;

  if (entry == 0 || !(is_gate(action) || was_reset)) return;
  if (is_gate(action)) action->sa_handler = (sighandler_t)entry_handler(entry);
  if (!entry_has_siginfo(entry)) action->sa_flags &= ~SA_SIGINFO;
}

EXPORT int sigaction(int signo, const struct sigaction *restrict action,
                     struct sigaction *restrict old) {
  if (signo < 1 || signo > SIGNALS) return NEXT(sigaction)(signo, action, old);

  uint64_t *entry = &signals.entries[signo];
  uint64_t before = atomic_get(entry);
  uint64_t after = before;
  struct sigaction gated;

  if (action != NULL && needs_gate(action) && !process_is_vfork_child()) {
    gated = *action;
    /* The gate's own address can reach the program by a raw query: it means what it stands for. */
    if (!is_gate(action)) {
      after = entry_make((uintptr_t)action->sa_handler, (action->sa_flags & SA_SIGINFO) != 0);
      before = __atomic_exchange_n(entry, after, __ATOMIC_RELAXED);
      gated.sa_sigaction = gate;
    }
    gated.sa_flags |= SA_SIGINFO;
    action = &gated;
  }
  int result = NEXT(sigaction)(signo, action, old);
  if (result == 0) {
    if (old != NULL) unveil(old, before);
  } else if (after != before) {
    /* Refused (SIGKILL, a system call filter): undo, unless somebody else wrote since. */
    __atomic_compare_exchange_n(entry, &after, before, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  }
  return result;
}

/* The older functions, as glibc defines them on top of sigaction. */

static sighandler_t set_handler(int signo, sighandler_t handler, int flags, bool mask_itself) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  struct sigaction old;

  if (handler == SIG_ERR || signo < 1 || signo > SIGNALS) {
    errno = EINVAL;
    return SIG_ERR;
  }
  sigemptyset(&action.sa_mask);
  if (mask_itself)
    (void)sigaddset(&action.sa_mask, signo); /* refuses 32 and 33, and so will sigaction */
  return sigaction(signo, &action, &old) < 0 ? SIG_ERR : old.sa_handler;
}

EXPORT sighandler_t signal(int signo, sighandler_t handler) {
  bool interrupts =
      signo >= 1 && signo <= SIGNALS && (atomic_get(&signals.interrupting) >> (signo - 1) & 1) != 0;

  return set_handler(signo, handler, interrupts ? 0 : SA_RESTART, true);
}

EXPORT sighandler_t sysv_signal(int signo, sighandler_t handler) {
  return set_handler(signo, handler, (int)SA_RESETHAND | SA_NODEFER | SA_INTERRUPT, false);
}

EXPORT int siginterrupt(int signo, int interrupt) {
  struct sigaction action;

  if (sigaction(signo, NULL, &action) < 0) return -1;
  uint64_t bit = (uint64_t)1 << (signo - 1);
  if (interrupt != 0) {
    __atomic_or_fetch(&signals.interrupting, bit, __ATOMIC_RELAXED);
    action.sa_flags &= ~SA_RESTART;
  } else {
    __atomic_and_fetch(&signals.interrupting, ~bit, __ATOMIC_RELAXED);
    action.sa_flags |= SA_RESTART;
  }
  return sigaction(signo, &action, NULL);
}

/* Unlike the others it lets SIG_ERR pass: so does libc's. */
EXPORT sighandler_t sigset(int signo, sighandler_t disposition) {
  struct sigaction action = {.sa_handler = disposition};
  struct sigaction old;
  sigset_t set;
  sigset_t blocked;

  sigemptyset(&action.sa_mask);
  sigemptyset(&set);
  if (sigaddset(&set, signo) < 0) return SIG_ERR;
  if (disposition == SIG_HOLD) {
    if (sigprocmask(SIG_BLOCK, &set, &blocked) < 0) return SIG_ERR;
    if (sigismember(&blocked, signo) == 1) return SIG_HOLD;
    return sigaction(signo, NULL, &old) < 0 ? SIG_ERR : old.sa_handler;
  }
  if (sigaction(signo, &action, &old) < 0 || sigprocmask(SIG_UNBLOCK, &set, &blocked) < 0)
    return SIG_ERR;
  return sigismember(&blocked, signo) == 1 ? SIG_HOLD : old.sa_handler;
}

ALIAS(__sigaction, sigaction);
ALIAS(bsd_signal, signal);
ALIAS(ssignal, signal);
ALIAS(__sysv_signal, sysv_signal);
