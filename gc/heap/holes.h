/* holes.h: free parts of spans in use that were given back to the kernel, and whether that pays: a
   program that fills them again at once pays a page fault for each kernel page, for nothing.

   Changed under the page heap's lock. */
#ifndef RECLAIM_HOLES_H
#define RECLAIM_HOLES_H

#include "heap/heap.h"

/* So many kernel pages of a span are given back, earlier ones included. */
HIDDEN void holes_note(struct page *page, size_t holes);
/* All of the span counts as resident from now on. */
HIDDEN void holes_fill(struct page *page);
/* Were more than a few, in the last second or so, and most of them not wanted again at all or not
   soon? Any thread, without the lock. */
HIDDEN bool holes_pay(void);
/* A period of the page heap's decay is over: what was before it counts half. */
HIDDEN void holes_decay(void);

#endif
