/* base.c: the arithmetic of base.h and the checks that stay in release builds. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/wait.h>

TestSuite(base, .timeout = 30);

Test(base, rounding) {
  cr_expect_eq(round_up(0, 16), 0);
  cr_expect_eq(round_up(1, 16), 16);
  cr_expect_eq(round_up(16, 16), 16);
  cr_expect_eq(round_up(17, 16), 32);
  cr_expect_eq(round_up(10, 3), 12);
  cr_expect_eq(round_down(0, 16), 0);
  cr_expect_eq(round_down(15, 16), 0);
  cr_expect_eq(round_down(33, 16), 32);
  cr_expect_eq(size_min(1, 2), 1);
  cr_expect_eq(size_max(1, 2), 2);
}

Test(base, a_check_that_holds_is_silent) { CHECK(1 + 1 == 2); }

Test(base, a_check_that_fails_aborts, .signal = SIGABRT) {
  close(2);
  CHECK(1 + 1 == 3);
}

/* Only --enable-checks compiles them in, and then they act as the others. */
Test(base, an_assertion_fails_only_with_checks) {
  pid_t child = fork();
  if (child == 0) {
    close(2);
    ASSERT(1 + 1 == 3);
    _exit(0);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
#ifdef RECLAIM_CHECKS
  cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#else
  cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}
