/* random.h: numbers that nobody outside can foresee, for random=on: which heap pages are taken and
   in which order their cells are handed out. A secret drawn from the kernel once for each process,
   and a counter. Any thread, signal handlers too. */
#ifndef RECLAIM_RANDOM_H
#define RECLAIM_RANDOM_H

#include "base/base.h"

/* Draws the secret; before the first block. */
HIDDEN void random_start(void);
/* From 0 to bound - 1, which is less than 2^32. */
HIDDEN uint32_t random_below(size_t bound);

#endif
