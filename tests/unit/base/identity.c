/* identity.c: who a process is, in children made by fork and by vfork. */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <sys/wait.h>

TestSuite(identity, .timeout = 30);

static int status_of(pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(identity, before_the_start_it_is_us) { cr_expect_eq(identity_check(), IDENTITY_SELF); }

Test(identity, the_process_that_took_it) {
  identity_init();
  cr_expect_eq(identity_check(), IDENTITY_SELF);
}

Test(identity, a_fork_child_knows_that_it_is_one) {
  identity_init();
  pid_t child = fork();
  if (child == 0) _exit(identity_check());
  cr_expect_eq(status_of(child), IDENTITY_FORKED);
  cr_expect_eq(identity_check(), IDENTITY_SELF, "the parent is not touched");
}

Test(identity, a_fork_child_takes_over) {
  identity_init();
  pid_t child = fork();
  if (child == 0) {
    identity_take();
    if (identity_check() != IDENTITY_SELF) _exit(1);
    pid_t grandchild = fork();
    if (grandchild == 0) _exit(identity_check());
    _exit(status_of(grandchild) == IDENTITY_FORKED ? 0 : 2);
  }
  cr_expect_eq(status_of(child), 0);
  cr_expect_eq(identity_check(), IDENTITY_SELF);
}

Test(identity, a_vfork_child_borrows) {
  identity_init();
  static volatile int seen = -1;
  pid_t child = vfork();
  if (child == 0) {
    seen = (int)identity_check();
    _exit(0);
  }
  status_of(child);
  cr_expect_eq(seen, IDENTITY_BORROWED);
  cr_expect_eq(identity_check(), IDENTITY_SELF);
}

static void *check(void *seen) {
  *(int *)seen = (int)identity_check();
  return NULL;
}

Test(identity, every_thread_is_us) {
  identity_init();
  int seen = -1;
  pthread_t thread;
  pthread_create(&thread, NULL, check, &seen);
  pthread_join(thread, NULL);
  cr_expect_eq(seen, IDENTITY_SELF);
}
