/* system_call.h: what was seen to pass through syscall(). */
#ifndef RECLAIM_SYSTEM_CALL_API_H
#define RECLAIM_SYSTEM_CALL_API_H

#include "base/base.h"

/* Called when the program installs a signal handler by rt_sigaction itself: it runs without our
   gate. From then on the answer is true. */
HIDDEN void system_call_raw_handler(void);
HIDDEN bool system_call_has_raw_handlers(void);
/* The same for an alternate stack set by sigaltstack itself. */
HIDDEN void system_call_raw_stack(void);
HIDDEN bool system_call_has_raw_stacks(void);

#endif
