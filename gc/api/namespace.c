/* namespace.c: calls that the kernel grants to a process of one thread only.

   A program that has none but its main thread, any more, must not be refused because of ours: the
   collector thread ends first and is made again when it is needed. */
#include <sched.h>

#include "api/background.h"
#include "api/next.h"

EXPORT int unshare(int flags) {
  background_end();
  return NEXT(unshare)(flags);
}

EXPORT int setns(int descriptor, int type) {
  background_end();
  return NEXT(setns)(descriptor, type);
}
