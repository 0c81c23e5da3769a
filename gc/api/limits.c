/* limits.c: a program that limits its own address space.

   Our reservation costs no memory, but RLIMIT_AS counts it: once such a limit is set, every mmap
   would fail. So the part that is not in use is given up first, but for a share of what the limit
   leaves. A limit that stood before the start was respected when the heap was reserved. */
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/next.h"
#include "api/process.h"
#include "base/remedy.h"
#include "heap/page_heap.h"
#include "ports/port.h"

static void prepare(int resource, const struct rlimit *limit) {
  if (WITHOUT(address_space_limit)) return;
  if (resource != RLIMIT_AS || !limit || limit->rlim_cur == RLIM_INFINITY) return;
  int error = errno;
  if (process_announce()) { /* no cycle meanwhile, and not for a vfork child */
    size_t mapped = port_address_space_mapped(), ours = heap_reserved();
    size_t others = mapped > ours ? mapped - ours : 0;
    size_t left = limit->rlim_cur > others ? limit->rlim_cur - others : 0;
    if (ours > left / 8 * 5) page_heap_shrink(left / 8 * 5);
    process_retract();
  }
  errno = error;
}

EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) {
  prepare((int)resource, limit);
  return NEXT(setrlimit)(resource, limit);
}

EXPORT int prlimit(pid_t process, enum __rlimit_resource resource, const struct rlimit *limit,
                   struct rlimit *old) {
  if (process == 0 || process == getpid()) prepare((int)resource, limit);
  return NEXT(prlimit)(process, resource, limit, old);
}

/* The same on 64-bit systems under other names of the types. */
_Static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "rlimit and rlimit64 are one");

EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit) {
  return setrlimit(resource, (const struct rlimit *)limit);
}

EXPORT int prlimit64(pid_t process, enum __rlimit_resource resource, const struct rlimit64 *limit,
                     struct rlimit64 *old) {
  return prlimit(process, resource, (const struct rlimit *)limit, (struct rlimit *)old);
}
