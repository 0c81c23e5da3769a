/* threads.h: threads' beginnings and ends. */
#ifndef RECLAIM_THREADS_H
#define RECLAIM_THREADS_H

#include "base/base.h"

/* Makes the key whose destructor sees threads end. Once, from the constructor. */
HIDDEN void threads_start(void);
/* Called by a thread of ours before it is enrolled: it is none of the program's. */
HIDDEN void threads_disown(void);
/* The last thread of the program has ended, or is in its last destructors. */
HIDDEN bool threads_over(void);
/* The calling thread is the only one. */
HIDDEN void threads_fork_child(void);

#endif
