/* large.h: a few large objects that a thread has freed and keeps ready for its next request.

   Programs make and free the same few over and over: the windows and tables of a compressor, the
   buffer of a read. Each way through the page heap takes a lock, and so blocks signals: four system
   calls for a pair that takes some hundred instructions otherwise (git repack: 37,000 pairs, a
   sixth of its time).

   What waits here is like a cell that waits in a buffer: allocated, its state byte zero, neither
   scanned nor swept. The objects go back to the page heap whenever the owner trims (pages.h), with
   its end, and when it waits in a blocking call during a collection.

   By the owner, `busy` set; a handler then works with another mutator. Whoever abandons the owner
   at any point here leaves an object that nobody has, never one in two places. */
#ifndef RECLAIM_LARGE_H
#define RECLAIM_LARGE_H

#include "mutator/mutator.h"

/* Keeps an object whose state byte has been cleared. False: it is to be released. */
HIDDEN bool large_keep(struct mutator *mutator, struct page *page);
/* One in a run of just so many heap pages as `bytes` needs, its size set; its contents are old, its
   state byte is not set. NULL: there is none. */
HIDDEN struct page *large_take(struct mutator *mutator, size_t bytes);
/* Releases all. Also by the collector, while the owner is held. */
HIDDEN void large_release(struct mutator *mutator);
/* Is any kept? From any thread, as a guess. */
HIDDEN bool large_is_kept(const struct mutator *mutator);

#endif
