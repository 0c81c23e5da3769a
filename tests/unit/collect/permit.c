/* permit.c: what forbids cycles, and what keeps objects that were never freed. Filters themselves
   are tested by tests/programs/seccomp.c. */
#include "tests/unit/collect/collector.h"

#include <errno.h>
#include <signal.h>

#include "collect/permit.h"
#include "tests/unit/ports/filters.h"

TestSuite(permit, .init = unit_start_collector, .timeout = 60);

Test(permit, forbids_and_withdraws) {
  cr_assert(cycle_run(CYCLE_REQUEST, true));
  permit_forbid("first");
  permit_forbid("second");
  cr_assert(permit_forbidden() && !cycle_run(CYCLE_REQUEST, true));
  permit_withdraw();
  cr_assert(permit_forbidden() && !cycle_run(CYCLE_REQUEST, true), "one reason is left");
  permit_withdraw();
  cr_assert(!permit_forbidden() && cycle_run(CYCLE_REQUEST, true));
}

Test(permit, enabling_does_not_lift_it) {
  permit_forbid("first");
  for (int i = 0; i < 3; i++) cycle_enable();
  cr_assert(!cycle_run(CYCLE_REQUEST, true));
}

static __attribute__((noinline)) void leak(void) {
  for (int i = 0; i < 1000; i++) memset(allocate(100, NULL), 1, 100);
}

Test(permit, keeps_what_was_never_freed) {
  options.reclaim = true;
  permit_keep_unfreed("test");
  cr_assert(!permit_takes_unfreed());
  leak();
  unit_clean_stack();
  cr_assert(cycle_run(CYCLE_REQUEST, true));
  cr_assert_eq(report_totals.cells, 0);
}

Test(permit, sealed) {
  permit_forbid("filter");
  permit_seal();
  uint64_t mask = port_signals_block();
  sigset_t now;
  pthread_sigmask(SIG_BLOCK, NULL, &now);
  cr_assert(!sigismember(&now, SIGUSR1), "no system call was made");
  port_signals_restore(mask);
  void *object = allocate(100, NULL);
  cr_assert(object && release(object) == RELEASED);
  permit_unseal();
  mask = port_signals_block();
  pthread_sigmask(SIG_BLOCK, NULL, &now);
  cr_assert(sigismember(&now, SIGUSR1));
  port_signals_restore(mask);
  cr_assert(cycle_run(CYCLE_REQUEST, true));
}

Test(permit, helpers_are_for_processes_without_a_seal) {
  static char stack[64 * 1024];
  cr_assert(cycle_run(CYCLE_REQUEST, true));
  cr_expect(permit_helpers(stack, sizeof stack));
  permit_seal();
  cr_expect(!permit_helpers(stack, sizeof stack));
  atomic_set(&port_sealed, false);
}

Test(permit, looking_at_memory_is_for_processes_without_a_filter) {
  cr_expect(permit_calls());
  permit_forbid("test");
  cr_expect(!permit_calls());
  permit_withdraw();
  permit_seal();
  cr_expect(!permit_calls());
  atomic_set(&port_sealed, false);
  cr_expect(permit_calls());
}

Test(permit, under_an_inherited_filter_the_trial_comes_first) {
  if (!filter_call(SYS_acct, SECCOMP_RET_ERRNO | EPERM)) cr_skip_test("no filters");
  cr_expect(!permit_calls());
  cr_assert(cycle_run(CYCLE_REQUEST, true));
  cr_expect(permit_calls());
}
