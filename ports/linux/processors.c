/* processors.c: how many processors this process may keep busy. */
#include <linux/sched.h>

#include "base/text.h"
#include "ports/linux/groups.h"
#include "ports/x86_64/system_call.h"

static unsigned allowed_by_affinity(void) {
  uint64_t mask[128]; /* 8192 processors, the most that Linux knows */
  long size = SYSTEM_CALL(SYS_sched_getaffinity, 0, sizeof mask, mask);
  unsigned count = 0;
  for (long i = 0; i < size / 8; i++) count += (unsigned)__builtin_popcountll(mask[i]);
  return count ? count : 1;
}

/* cpu.max of one cgroup: "max 100000", or microseconds in a period of so many. */
static void look(struct group *group, void *context) {
  unsigned *allowed = context;
  char content[64];
  long length = group_read(group, "/cpu.max", content, sizeof content);
  if (length <= 0 || content[0] == 'm') return;
  const char *at = content, *end = content + length;
  uint64_t quota = text_read_number(&at, end);
  if (at < end) at++;
  uint64_t period = text_read_number(&at, end);
  if (!quota || !period) return;
  *allowed = (unsigned)size_min((quota + period - 1) / period, *allowed);
}

/* The least of this process's cgroup and those above it. */
static unsigned allowed_by_groups(const struct port_groups *where) {
  unsigned allowed = UINT32_MAX;
  groups_visit(where, look, &allowed);
  return allowed;
}

/* Helpers of a thread with a real-time policy would wait for it, or it for them. */
static bool is_real_time(void) {
  long policy = SYSTEM_CALL(SYS_sched_getscheduler, 0);
  if (policy > 0) policy &= ~SCHED_RESET_ON_FORK;
  return policy == SCHED_FIFO || policy == SCHED_RR || policy == SCHED_DEADLINE;
}

unsigned port_processors(const struct port_groups *where) {
  if (is_real_time()) return 1;
  unsigned affinity = allowed_by_affinity(), groups = allowed_by_groups(where);
  return affinity < groups ? affinity : groups;
}
