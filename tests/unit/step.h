/* step.h: something that happens between two given instructions, as if another thread had run
   there. By the processor's single step (x86_64). */
#ifndef RECLAIM_TESTS_STEP_H
#define RECLAIM_TESTS_STEP_H

#include <signal.h>
#include <ucontext.h>

#include "tests/unit/unit.h"

enum { TRAP_FLAG = 0x100 };

static bool (*step_is_due)(void);
static void (*step_action)(void);

static void step_trap(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)info;
  if (step_action && !step_is_due()) return;
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
  if (step_action) step_action();
  step_action = NULL;
}

static void step_set_flag(bool on) {
  uint64_t set = on ? TRAP_FLAG : 0;
  __asm__ volatile("lea -128(%%rsp), %%rsp\n" /* what lies below belongs to the function */
                   "pushfq\n"
                   "andq %0, (%%rsp)\n"
                   "orq %1, (%%rsp)\n"
                   "popfq\n"
                   "lea 128(%%rsp), %%rsp"
                   :
                   : "r"(~(uint64_t)TRAP_FLAG), "r"(set)
                   : "memory", "cc");
}

/* Calls work(), and action() before the first of its instructions at which is_due() says so. False:
   there was none. */
static bool step_through(void (*work)(void), bool (*is_due)(void), void (*action)(void)) {
  struct sigaction trap = {.sa_sigaction = step_trap, .sa_flags = SA_SIGINFO};
  cr_assert_eq(sigaction(SIGTRAP, &trap, NULL), 0);
  step_is_due = is_due;
  step_action = action;
  step_set_flag(true);
  work();
  step_set_flag(false);
  bool was_due = !step_action;
  step_action = NULL;
  return was_due;
}

#endif
