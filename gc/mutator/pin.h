/* pin.h: makes an object a root until the program frees it: for addresses that leave the process's
   memory (a pipe, a queued signal) and for libraries that hide their pointers (pin=).

   The mark lies in the object's state byte, so free(), which takes the byte away as a whole, ends
   it, and the free() of a pinned object is a slow one. Nothing is kept elsewhere and nothing has
   to be given back. Async-signal-safe, without a lock or a system call; any thread. */
#ifndef RECLAIM_PIN_H
#define RECLAIM_PIN_H

#include "heap/heap.h"

/* Does this word lie in the heap? All that a caller needs to know before it takes more trouble. */
static inline bool pin_concerns(uintptr_t word) { return heap_holds(word); }

/* Pins the live object that the word points to or into. False: there is none. What it points to
   has to be reachable in another way until the call returns. */
HIDDEN bool pin_object(uintptr_t word);
/* Pins every object that is live, but for what other threads allocate meanwhile. */
HIDDEN void pin_all(void);
/* Ends the pin of an object whose free() frees nothing (free=ignore). */
HIDDEN void pin_end(const struct cell *cell);

#endif
