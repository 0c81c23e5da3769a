/* refusal.c: what forbids collecting (collect/permit.h): a process that shares the heap (clone.c,
   system_call.c) and a filter of the program's, which is installed here.

   A filter (seccomp) may kill for any call that malloc does not make in other libraries either. So
   before it is installed the log is written, and afterwards no cycle begins. seccomp_load and its
   like end in prctl or syscall.

   prctl is variadic; it is defined as what it is on every ABI we know, a function of five words. */
#include "api/refusal.h"

#include "api/next.h"
#include "base/remedy.h"
#include "collect/cycle.h"
#include "collect/permit.h"
#include "ports/port.h"

#include <errno.h>

void refusal_shared_heap(void) {
  int error = errno;
  if (WITHOUT(shared_heap)) return;
  permit_forbid("a process made by clone(CLONE_VM) shares the heap and cannot be stopped");
  cycle_wait();
  errno = error;
}

void refusal_filter(void) {
  int error = errno;
  permit_forbid("seccomp: the program installs a filter of its own");
  cycle_wait();
  permit_seal();
  errno = error;
}

void refusal_filter_failed(void) {
  int error = errno;
  permit_unseal();
  errno = error;
}

EXPORT int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
EXPORT int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  bool filter = UNLIKELY(port_is_filter_request(option)) && !WITHOUT(own_filter);

  if (filter) refusal_filter();
  int result = NEXT(prctl)(option, a, b, c, d);
  if (filter && result < 0) refusal_filter_failed();
  return result;
}
