/* processors.c: what affinity allows, and no more than a cgroup does. */
#include "tests/unit/unit.h"

#include <sched.h>

TestSuite(processors, .timeout = 30);

static unsigned by_affinity(void) {
  cpu_set_t set;
  cr_assert_eq(sched_getaffinity(0, sizeof set, &set), 0);
  return (unsigned)CPU_COUNT(&set);
}

Test(processors, at_least_one_and_no_more_than_affinity_allows) {
  unsigned count = port_processors(&port_groups_of_system);
  cr_expect_geq(count, 1);
  cr_expect_leq(count, by_affinity());
}

Test(processors, a_thread_that_is_bound_to_one_has_one) {
  cpu_set_t set;
  cr_assert_eq(sched_getaffinity(0, sizeof set, &set), 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &set)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_expect_eq(port_processors(&port_groups_of_system), 1);
  }
}
