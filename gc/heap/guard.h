/* guard.h: inaccessible kernel pages directly behind large objects (guard=on), so that what runs
   past the last kernel page of one faults at once instead of reaching another block; and large
   objects that are inaccessible as a whole, from their free() to their next use (freed=fault).
   Perens, "Electric Fence" (1987).

   A guard lies in the object's run: in the kernel pages that its size leaves of the last heap page,
   or in the spare pages behind. It is set when the object is made or has changed its size, and
   lifted before its run is cut, made longer or given back; the object's `barred` tells of it. Each
   costs up to two mappings, of which a process has some 65,000: GUARDS_MOST are shared by all, and
   an object that finds none left does without.

   A thread may be stopped anywhere in here: `barred` is set before a page is closed and cleared
   when it is open again, so that the collector takes no closed page of ours for one that the
   program has closed. Page heap's lock. */
#ifndef RECLAIM_GUARD_H
#define RECLAIM_GUARD_H

#include "base/option.h"
#include "heap/heap.h"

enum { GUARDS_MOST = 499 };

/* How many spare heap pages a large object of so many bytes needs to have a guard behind it. */
HIDDEN size_t guard_pages(size_t bytes);
/* Sets a large object's guard where it has room for one; nothing if it has one. */
HIDDEN void guard_set(struct page *page);
/* False: the kernel does not open it, and its memory cannot be used by anybody else. */
HIDDEN bool guard_lift(struct page *page);

/* An object whose memory was given back. Nothing where there are too many mappings. */
HIDDEN void guard_close(struct page *page);
/* False as above. Nothing where it is not closed. */
HIDDEN bool guard_open(struct page *page);

/* May there be any of these? */
static inline bool guard_wanted(void) { return options.guard || options.freed == FREED_FAULT; }
/* Is this byte of the heap in a page that we closed? *end: as far as the answer holds, at least.
   World stopped. */
HIDDEN bool guard_is_ours(uintptr_t address, uintptr_t *end);

#endif
