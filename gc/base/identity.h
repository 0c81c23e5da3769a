/* identity.h: is this process the one that owns the heap? A page that the kernel wipes in fork
   children holds our process id: equal, it is us; zero, we are a fork child that nobody announced
   (_Fork, raw clone); different, we are a vfork child that runs in its parent's memory and must
   change nothing that outlives it. Behind a system call filter of the program's own (port_sealed)
   the last case is not told from the first. */
#ifndef RECLAIM_IDENTITY_H
#define RECLAIM_IDENTITY_H

#include "base/base.h"

enum identity { IDENTITY_SELF, IDENTITY_FORKED, IDENTITY_BORROWED };

HIDDEN void identity_init(void);
/* One system call; async-signal-safe. */
HIDDEN enum identity identity_check(void);
/* Declares the calling process the owner (start, fork child). */
HIDDEN void identity_take(void);

#endif
