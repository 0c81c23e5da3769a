/* library.h: where the launcher finds libreclaim.so. */
#ifndef RECLAIM_LIBRARY_H
#define RECLAIM_LIBRARY_H

#include "tool/program.h"

/* Returns the allocated absolute path of the library that belongs to this launcher, fit for
   LD_PRELOAD, or NULL with `fault` filled in. RECLAIM_LIBRARY in the environment decides if set. */
char *library_find(struct fault *fault);

#endif
