/* refusal.h: what a program does after which it cannot be collected any more. */
#ifndef RECLAIM_REFUSAL_H
#define RECLAIM_REFUSAL_H

#include "base/base.h"

/* A task is about to be made that shares the heap and cannot be stopped. Returns when no cycle runs
   and none will. */
HIDDEN COLD void refusal_shared_heap(void);
/* A system call filter is about to be installed; the same. */
HIDDEN COLD void refusal_filter(void);
/* It was not, after all. Keeps errno. */
HIDDEN COLD void refusal_filter_failed(void);

#endif
