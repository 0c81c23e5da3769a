/* stop_signal.c: the stop signal's handler, what it passes on, and the masks. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/syscall.h>

enum { STOP_SIGNAL = 33 };

static volatile uint64_t last_value;
static volatile int calls;
static struct port_frame last_frame;
static void note(uint64_t value, const struct port_frame *frame) {
  last_value = value;
  last_frame = *frame;
  calls++;
}

TestSuite(stop_signal, .timeout = 30);

static int stop_self(uint64_t value) {
  return port_stop_thread(port_process_id(), port_thread_id(), value);
}

Test(stop_signal, reaches_the_thread_with_its_value) {
  cr_assert(port_stop_install(note));
  cr_expect_eq(stop_self(0x123456789abc), 0);
  cr_expect_eq(calls, 1);
  cr_expect_eq(last_value, 0x123456789abc);
  cr_expect(last_frame.frame_begin < last_frame.frame_end);
  cr_expect(last_frame.frame_end <= last_frame.stack_pointer);
  cr_expect(port_stop_install(note), "again");
  cr_expect_eq(stop_self(0), 0);
  cr_expect_eq(calls, 2);
  cr_expect_eq(last_value, 0);
}

Test(stop_signal, a_thread_that_is_gone) {
  cr_assert(port_stop_install(note));
  cr_expect_eq(port_stop_thread(port_process_id(), 1, 5), -3);
}

Test(stop_signal, libc_lets_nobody_block_it) {
  cr_assert(port_stop_install(note));
  sigset_t all;
  sigfillset(&all);
  cr_assert_eq(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
  cr_expect_eq(stop_self(7), 0);
  cr_expect_eq(calls, 1);
}

struct kernel_action {
  void (*handler)(int, siginfo_t *, void *);
  unsigned long flags;
  void (*restorer)(void);
  uint64_t mask;
};

static unsigned long flags_in_force(void) {
  struct kernel_action action;
  cr_assert_eq(syscall(SYS_rt_sigaction, STOP_SIGNAL, NULL, &action, 8), 0);
  return action.flags;
}

Test(stop_signal, off_the_alternate_stack_it_stays) {
  cr_assert(port_stop_install(note));
  cr_expect(flags_in_force() & SA_ONSTACK);
  for (int i = 0; i < 2; i++) {
    port_stop_off_stack();
    cr_expect(!(flags_in_force() & SA_ONSTACK));
    cr_assert(port_stop_install(note));
    cr_expect_eq(stop_self(7), 0);
  }
  cr_expect_eq(calls, 2);
  struct kernel_action libcs = {0}; /* which takes the number back */
  cr_assert_eq(syscall(SYS_rt_sigaction, STOP_SIGNAL, &libcs, NULL, 8), 0);
  cr_assert(port_stop_install(note));
  cr_expect(!(flags_in_force() & SA_ONSTACK));
}

static volatile int passed_on;
static void old_handler(int number, siginfo_t *info, void *context) {
  (void)context;
  cr_expect_eq(number, STOP_SIGNAL);
  if (info->si_code == SI_TKILL || info->si_code == SI_QUEUE) passed_on++;
}
static void send_foreign(int code, void *value) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = STOP_SIGNAL;
  info.si_code = code;
  info.si_value.sival_ptr = value;
  syscall(SYS_rt_tgsigqueueinfo, getpid(), port_thread_id(), STOP_SIGNAL, &info);
}

Test(stop_signal, foreign_signals_go_to_who_was_there_before) {
  struct kernel_action action;
  cr_assert(port_stop_install(note)); /* shows what a restorer looks like */
  syscall(SYS_rt_sigaction, STOP_SIGNAL, NULL, &action, 8);
  action.handler = old_handler;
  syscall(SYS_rt_sigaction, STOP_SIGNAL, &action, NULL, 8);
  cr_assert(port_stop_install(note));
  send_foreign(SI_TKILL, NULL);
  cr_expect_eq(passed_on, 1);
  send_foreign(SI_QUEUE, (void *)0x1234);
  cr_expect_eq(passed_on, 2, "no cookie");
  cr_expect_eq(calls, 0);
  stop_self(1);
  cr_expect_eq(calls, 1);
  cr_expect_eq(passed_on, 2);
}

Test(stop_signal, without_a_former_handler_foreign_signals_are_nothing) {
  cr_assert(port_stop_install(note));
  send_foreign(SI_TKILL, NULL);
  cr_expect_eq(calls, 0);
}

static uint64_t blocked(void) {
  uint64_t mask = 0;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
  return mask;
}

Test(stop_signal, masks) {
  uint64_t before = blocked(), first = port_signals_block();
  cr_expect_eq(first, before);
  uint64_t stop = 1ull << (STOP_SIGNAL - 1), fault = 1ull << (SIGSEGV - 1);
  cr_expect(!(blocked() & stop) && !(blocked() & fault) && blocked() & 1ull << (SIGTERM - 1));
  uint64_t second = port_signals_block_all();
  cr_expect(blocked() & stop);
  cr_expect(!(blocked() & fault), "a fault kills rather than hangs");
  port_signals_restore(second);
  cr_expect(!(blocked() & stop));
  port_signals_restore(first);
  cr_expect_eq(blocked(), before);
}

Test(stop_signal, waits_while_blocked) {
  cr_assert(port_stop_install(note));
  uint64_t mask = port_signals_block_all();
  stop_self(9);
  cr_expect_eq(calls, 0);
  port_signals_restore(mask);
  cr_expect_eq(calls, 1);
}
