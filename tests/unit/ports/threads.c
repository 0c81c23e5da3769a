/* threads.c: tasks as /proc shows them. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

TestSuite(threads, .timeout = 30);

enum { COUNT = 12 };
static volatile int ids[COUNT];
static bool over;

static void *stay(void *argument) {
  ids[(uintptr_t)argument] = port_thread_id();
  while (!atomic_get(&over)) unit_sleep(1);
  return NULL;
}

Test(threads, are_listed_and_counted) {
  int before = port_count_threads();
  cr_assert(before >= 1);
  pthread_t threads[COUNT];
  for (uintptr_t i = 0; i < COUNT; i++) pthread_create(&threads[i], NULL, stay, (void *)i);
  for (int i = 0; i < COUNT; i++)
    while (!ids[i]) unit_sleep(1);
  int list[200];
  int count = port_list_threads(list, 200);
  cr_expect_eq(count, before + COUNT);
  cr_expect_eq(port_count_threads(), before + COUNT);
  for (int i = 0; i < COUNT; i++) {
    int found = 0;
    for (int k = 0; k < count; k++) found += list[k] == ids[i];
    cr_expect_eq(found, 1);
    cr_expect_eq(port_thread_state(ids[i]), PORT_THREAD_ALIVE);
  }
  cr_expect_eq(port_list_threads(list, count), count, "just enough room");
  cr_expect_eq(port_list_threads(list, count - 1), -ENOSPC);
  atomic_set(&over, true);
  for (int i = 0; i < COUNT; i++) pthread_join(threads[i], NULL);
  for (int wait = 0; port_count_threads() != before && wait < 1000; wait++) unit_sleep(1);
  cr_expect_eq(port_count_threads(), before);
  for (int i = 0; i < COUNT; i++) cr_expect_eq(port_thread_state(ids[i]), PORT_THREAD_GONE);
}

Test(threads, hundreds_need_more_than_one_read) {
  enum { MANY = 300 };
  static pthread_t threads[MANY];
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 65536);
  int before = port_count_threads(), made = 0;
  while (made < MANY && pthread_create(&threads[made], &attributes, stay, (void *)0) == 0) made++;
  int list[MANY + 100];
  cr_expect_eq(port_list_threads(list, MANY + 100), before + made);
  atomic_set(&over, true);
  for (int i = 0; i < made; i++) pthread_join(threads[i], NULL);
}

Test(threads, of_another_process_are_not_ours) {
  cr_expect_eq(port_thread_state(1), PORT_THREAD_GONE);
  cr_expect_eq(port_thread_state(port_thread_id()), PORT_THREAD_ALIVE);
}

static int leader;
static void *look_at_leader(void *unused) {
  (void)unused;
  unit_sleep(50);
  _exit(port_thread_state(leader) == PORT_THREAD_GONE ? 0 : 1);
}

Test(threads, a_leader_that_ended_is_gone) {
  pid_t child = fork();
  if (child == 0) {
    leader = port_thread_id();
    pthread_t thread;
    pthread_create(&thread, NULL, look_at_leader, NULL);
    syscall(SYS_exit, 0);
  }
  int status;
  waitpid(child, &status, 0);
  cr_expect_eq(status, 0);
}
Test(threads, the_alternate_stack) {
  cr_expect_eq(port_alternate_stack(), 0);
  static char stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternate, NULL);
  cr_expect_eq(port_alternate_stack(), (uintptr_t)stack);
}
