/* permit.h: may this process be collected at all, and may it take back what was never freed?

   Forbidden for good: a task that shares the heap and cannot be stopped (CLONE_VM without
   CLONE_THREAD); a system call filter that the program installs (seccomp), or one it inherited
   under which a trial of the collector's system calls fails. Objects never freed stay when the
   kernel holds pointers that nobody can see (io_uring).

   Owner: any thread; each word is atomic and, but for permit_withdraw, goes one way. */
#ifndef RECLAIM_PERMIT_H
#define RECLAIM_PERMIT_H

#include "base/base.h"

/* From the return on no cycle begins; one that runs already is for the caller to wait for. The
   reason, a literal, is told in the log. */
HIDDEN void permit_forbid(const char *reason);
/* Takes one permit_forbid back: what it was said for did not happen. */
HIDDEN void permit_withdraw(void);
HIDDEN bool permit_forbidden(void);

/* From now on the library makes no system calls but those that any malloc makes. After
   permit_forbid, which says so in the log while that can still be opened, and before the filter
   comes into force. permit_unseal takes both back. */
HIDDEN void permit_seal(void);
HIDDEN void permit_unseal(void);

/* Asked before each cycle with the cycle lock held and signals blocked; room for a stack. The first
   time, under an inherited filter, the trial is made. */
HIDDEN bool permit_cycle(void *stack, size_t size);
/* May a thread make the calls that a cycle makes, to look at memory that may not be there? Under an
   inherited filter only once the trial was passed. */
HIDDEN bool permit_calls(void);
/* The same for marking with helpers, before the world is stopped: no reason not to collect. */
HIDDEN bool permit_helpers(void *stack, size_t size);

/* What was never freed is not taken back any more. Also while the world is stopped. */
HIDDEN void permit_keep_unfreed(const char *reason);
HIDDEN bool permit_takes_unfreed(void);
/* Tells the log what has not been told yet. World running, no lock held. */
HIDDEN void permit_report(void);

#endif
