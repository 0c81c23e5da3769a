/* free_runs.h: the runs of heap pages that nobody uses, joined with their free neighbours and kept
   in lists by length: exact up to 63 pages, then four lists a doubling, and each of these twice:
   for runs most of which is still backed by memory, which are handed out first, and for the others.

   What was written stays dirty until it is purged. A run knows how many of its pages are dirty, not
   which. All belongs to the lock of the page heap. */
#ifndef RECLAIM_FREE_RUNS_H
#define RECLAIM_FREE_RUNS_H

#include "heap/heap.h"

/* Makes a run free: its `run` and `dirty` are set, its pages in no table. */
HIDDEN void free_runs_add(struct page *run);
/* A run of at least so many pages, still listed. NULL: there is none. */
HIDDEN struct page *free_runs_find(size_t pages);
HIDDEN void free_runs_remove(struct page *run);
/* Cuts a run that is in no list to its first `pages` pages; the rest becomes free. */
HIDDEN void free_runs_split(struct page *run, size_t pages);
/* Gives dirty free pages back to the kernel until at most `keep` are left, mostly dirty runs first
   and of these the longest; the bytes given back, 0 also when it refuses. Their states and bitmaps
   go along: nothing lives there. */
HIDDEN size_t free_runs_purge(size_t keep);

/* Of the dirty pages of a run those in a part of it. Where they lie is not known: an estimate, but
   only what is known to be zero has none. */
static inline uint32_t free_runs_dirty_part(const struct page *run, size_t part) {
  return (uint32_t)(((uint64_t)run->dirty * part + run->run - 1) / run->run);
}

#endif
