/* identities.c: setuid, setgid, setgroups and their kin in several threads while collections run.
   libc makes each of them in every thread, by a signal whose number the collector shares; a thread
   that misses one keeps the old identity, or its caller waits for ever. identities SECONDS */
#include "reclaimed.h"

#include <grp.h>
#include <sched.h>
#include <sys/syscall.h>

enum { CHANGERS = 2, WATCHERS = 3 };
static volatile bool ending;
static volatile long changes;
static gid_t expected;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Only one changes at a time, so that what each thread has is known in between. */
static void *change(void *number) {
  gid_t base = (gid_t)(1000 + 100 * (uintptr_t)number);
  while (!ending) {
    gid_t gid = base + (gid_t)(changes % 50), groups[3] = {gid, gid + 1, gid + 2};
    CHECK(pthread_mutex_lock(&lock) == 0);
    CHECK(setgroups(3, groups) == 0 && setegid(gid) == 0 && setresuid(-1, 0, gid) == 0);
    CHECK(setreuid(0, 0) == 0 && setresgid(0, gid, 0) == 0 && seteuid(0) == 0);
    expected = gid;
    changes++;
    CHECK(pthread_mutex_unlock(&lock) == 0);
    sched_yield();
  }
  return NULL;
}

/* By a raw call each thread sees its own identity: it has to follow. */
static void *watch(void *unused) {
  sigset_t all;
  sigfillset(&all);
  CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
  long last = -1;
  while (!ending) {
    CHECK(pthread_mutex_lock(&lock) == 0);
    if (changes != last && changes > 0) {
      gid_t groups[8];
      CHECK((gid_t)syscall(SYS_getegid) == expected);
      CHECK(syscall(SYS_getgroups, 8, groups) == 3 && groups[0] == expected);
    }
    last = changes;
    CHECK(pthread_mutex_unlock(&lock) == 0);
    sched_yield();
  }
  return unused;
}

int main(int count, char **arguments) {
  double seconds = count > 1 ? strtod(arguments[1], NULL) : 1;
  pthread_t threads[CHANGERS + WATCHERS], collecting;
  if (geteuid() != 0) not_possible("not root");
  for (int i = 0; i < CHANGERS + WATCHERS; i++)
    CHECK(pthread_create(&threads[i], NULL, i < CHANGERS ? change : watch, (void *)(uintptr_t)i) ==
          0);
  CHECK(pthread_create(&collecting, NULL, collect_until_end, NULL) == 0);
  double end = seconds_now() + seconds;
  while (seconds_now() < end || changes < 20) usleep(10000);
  ending = true;
  for (int i = 0; i < CHANGERS + WATCHERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  collections_end = true;
  CHECK(pthread_join(collecting, NULL) == 0);
  CHECK((gid_t)syscall(SYS_getegid) == expected);
  expect_garbage_back();
  puts("every thread followed");
  return 0;
}
