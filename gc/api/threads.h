/* threads.h: threads' beginnings and ends. */
#ifndef RECLAIM_THREADS_H
#define RECLAIM_THREADS_H

#include "base/base.h"

/* Makes the key whose destructor sees threads end. Once, from the constructor. */
HIDDEN void threads_start(void);

#endif
