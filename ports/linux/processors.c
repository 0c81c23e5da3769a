/* processors.c: how many processors this process may keep busy. */
#include <linux/sched.h>
#include <string.h>

#include "base/text.h"
#include "ports/port.h"
#include "ports/x86_64/system_call.h"

static unsigned allowed_by_affinity(void) {
  uint64_t mask[128]; /* 8192 processors, the most that Linux knows */
  long size = SYSTEM_CALL(SYS_sched_getaffinity, 0, sizeof mask, mask);
  unsigned count = 0;
  for (long i = 0; i < size / 8; i++) count += (unsigned)__builtin_popcountll(mask[i]);
  return count ? count : 1;
}

/* cpu.max of one cgroup: "max 100000", or microseconds in a period of so many. */
static unsigned quota_of(const char *path) {
  char content[64];
  long length = port_read_file(path, content, sizeof content);
  if (length <= 0 || content[0] == 'm') return UINT32_MAX;
  const char *at = content, *end = content + length;
  uint64_t quota = text_read_number(&at, end);
  if (at < end) at++;
  uint64_t period = text_read_number(&at, end);
  if (!quota || !period) return UINT32_MAX;
  return (unsigned)size_min((quota + period - 1) / period, UINT32_MAX);
}

/* The least of this process's cgroup (version 2) and those above it. */
static unsigned allowed_by_groups(void) {
  static const char root[] = "/sys/fs/cgroup", file[] = "/cpu.max";
  char groups[1024], path[1024 + sizeof root + sizeof file];
  long length = port_read_file("/proc/self/cgroup", groups, sizeof groups - 1);
  if (length <= 0) return UINT32_MAX;
  groups[length] = 0;
  const char *own = strncmp(groups, "0::", 3) == 0 ? groups : strstr(groups, "\n0::");
  if (!own) return UINT32_MAX;
  own = strchr(own, '/');
  if (!own) return UINT32_MAX;
  struct text text = text_in(path, sizeof path - sizeof file);
  text_add(&text, root);
  char *least = text.end;
  text_add_bytes(&text, own, strcspn(own, "\n"));
  unsigned allowed = UINT32_MAX;
  for (char *end = text.end; end > least; end--) { /* this directory, and each one above */
    if (end < text.end && *end != '/') continue;
    memcpy(end, file, sizeof file);
    unsigned quota = quota_of(path);
    if (quota < allowed) allowed = quota;
  }
  return allowed;
}

/* Helpers of a thread with a real-time policy would wait for it, or it for them. */
static bool is_real_time(void) {
  long policy = SYSTEM_CALL(SYS_sched_getscheduler, 0);
  if (policy > 0) policy &= ~SCHED_RESET_ON_FORK;
  return policy == SCHED_FIFO || policy == SCHED_RR || policy == SCHED_DEADLINE;
}

unsigned port_processors(void) {
  if (is_real_time()) return 1;
  unsigned affinity = allowed_by_affinity(), groups = allowed_by_groups();
  return affinity < groups ? affinity : groups;
}
