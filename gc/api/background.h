/* background.h: work without a call of the program: idle collection, decay, collect-every-ms. */
#ifndef RECLAIM_BACKGROUND_H
#define RECLAIM_BACKGROUND_H

#include "base/base.h"

HIDDEN void background_start(void);
/* forgotten: libc no longer counts the threads of the parent; after _Fork it does. */
HIDDEN void background_fork_child(bool forgotten);
/* Ends the collector thread, if it is all that makes this a process of several threads, and waits
   until the kernel has forgotten it. Keeps errno. */
HIDDEN void background_end(void);
/* Called by the program's last thread as it ends: ends the collector thread, so that libc sees that
   thread as the last of the process. In a child of _Fork libc also counts a collector thread that
   only the parent has: then this ends the process, as libc would have. Not ended: the last thread
   that is counted goes on, uncounted. */
HIDDEN void background_end_with_program(bool ended);
/* collect-every-ms in a fork child, which has no collector thread: called by malloc's slow path. */
HIDDEN void background_interval(void);
/* The heap grew enough that a look at the next blocking call is worth it. */
HIDDEN void background_attention(void);

#endif
