/* page_heap.h: hands out runs of heap pages and takes them back.

   When dirty free pages exceed an eighth of what is in use (at least 2 MiB), the longest runs are
   given back to the kernel, and the rest after a while without use (page_heap_decay). What is given
   back and soon wanted again lets as much more stay dirty from then on, as long as no more memory
   is resident than ever was; decay halves that, too. As more is taken into use, runs that do not
   serve make room in that measure, but not for blocks of 4 MiB and more. No free page stays dirty
   above page_heap_limit.

   All state belongs to one lock, taken with signals blocked. */
#ifndef RECLAIM_PAGE_HEAP_H
#define RECLAIM_PAGE_HEAP_H

#include "heap/heap.h"

/* What the page heap counts, in heap pages; read without the lock as estimates. */
struct page_heap_counts {
  size_t used;       /* in spans and large objects */
  size_t dirty_free; /* free, but still backed by memory as far as we know */
  size_t large;      /* kernel pages, not heap pages: of large objects, of emptied ones a part */
  size_t emptied;    /* of used: in objects whose memory was given back (page_heap_empty_large) */
  size_t peak;       /* the most ever used */
  size_t holes;      /* kernel pages, not heap pages: given back inside of spans in use */
  size_t cell_bytes; /* taken out of spans less put back, those waiting in buffers included:
                        counted by whoever takes and puts back, a buffer's worth at a time */
};
extern HIDDEN struct page_heap_counts page_heap_counts;
/* So many pages may memory stand behind before all that is free goes back; SIZE_MAX: any number. A
   goal that what is in use may exceed. */
extern HIDDEN size_t page_heap_limit;
/* Pages' worth of memory behind what is in use or free: an estimate. */
HIDDEN size_t page_heap_backed(void);

/* Of emptied objects this part counts as filled: they hold no memory, yet addresses and tables. */
enum { EMPTIED_SHARE = 16 };
static inline size_t page_heap_ghosts(void) {
  size_t emptied = atomic_get(&page_heap_counts.emptied);
  return emptied - emptied / EMPTIED_SHARE;
}
/* Heap pages in use, emptied objects taken off. */
static inline size_t page_heap_used(void) {
  size_t used = atomic_get(&page_heap_counts.used);
  return used - size_min(page_heap_ghosts(), used); /* read one after the other */
}
/* Heap pages' worth of memory in objects and in buffers. What is used above that are free cells in
   pages of which others are taken: a program fills them without taking another page. */
static inline size_t page_heap_filled(void) {
  size_t large = atomic_get(&page_heap_counts.large) * KERNEL_PAGE;
  return (atomic_get(&page_heap_counts.cell_bytes) + large) / HEAP_PAGE;
}

/* Bytes of a large object that count as filled: from now on, and so far. A page at least, or a
   program that makes and frees them would never seem to grow. */
static inline void page_heap_note_large(size_t now, size_t before) {
  size_t more = round_up(now, KERNEL_PAGE) - round_up(before, KERNEL_PAGE);
  atomic_add(&page_heap_counts.large, (ptrdiff_t)more / (ptrdiff_t)KERNEL_PAGE);
}

/* Heap pages' worth of free cells in pages that are taken. */
static inline size_t page_heap_unfilled(void) {
  size_t used = page_heap_used(), filled = page_heap_filled();
  return used > filled ? used - filled : 0;
}

/* Has HINT_MAPPED ever been set? False for most programs, for good. */
extern HIDDEN bool page_heap_mapped_over;

/* A span for cells of a class: descriptor and tables set up, no owner, its allocated bits all
   clear for valid cells. NULL: out of memory or address space. */
HIDDEN struct page *page_heap_span(unsigned class);
HIDDEN void page_heap_release_span(struct page *page);
/* From here on free() takes its slow way for all of this page in use, until it is used anew. */
HIDDEN void page_heap_free_slowly(const struct page *page);
/* So many kernel pages of a span that is not current were given back, earlier ones included. By
   its owner. */
HIDDEN void page_heap_note_holes(struct page *page, size_t holes);
/* The span is to be filled again: from now on all of it counts as resident. By its owner. */
HIDDEN void page_heap_fill_holes(struct page *page);

/* A large object of at least `bytes` in a run of its own, `alignment` in bytes (a power of two).
   Its size is counted in kernel pages, so that little more is scanned than was asked for. Its
   state byte is not set yet. *zero says that its memory is known to be zero. */
HIDDEN struct page *page_heap_large(size_t bytes, size_t alignment, bool *zero);
/* The same for an object that has grown and may well do so again, with room behind it, which is
   not counted as used: its run is longer than its size tells, and its cell takes all of it. */
HIDDEN struct page *page_heap_large_growing(size_t bytes);
/* Takes back the room that such objects have not grown into. How many pages that were. */
HIDDEN size_t page_heap_take_spare(void);
HIDDEN void page_heap_release_large(struct page *page);
/* Gives the memory of an object to the kernel, not that of the room behind it: it reads as zeros
   from now on. Nothing where the kernel does not take it. */
HIDDEN void page_heap_empty_large(struct page *page);
/* After that: it is inaccessible until it is opened or released (guard.h). False: it could not be
   opened, and is of no use to anybody. */
HIDDEN void page_heap_close_large(struct page *page);
HIDDEN bool page_heap_open_large(struct page *page);
/* A large object of which the program has closed a part, and which it has freed, without effect:
   open again, it can be collected. */
HIDDEN void page_heap_reopen_large(struct page *page);
/* A large object that is not live any more and stays with its owner: it was found dead, perhaps,
   yet freed by the program, which had hidden its pointer. */
HIDDEN void page_heap_forget_sweep(struct page *page);
/* Grows or shrinks a large object where it stands. False: no room behind it. */
HIDDEN bool page_heap_resize_large(struct page *page, size_t bytes);

/* A collection frees pages that the program is going to fill before the next one: free pages up to
   so many in use stay dirty, too, as long as no more is resident than ever was. */
HIDDEN void page_heap_expect(size_t pages);

/* Gives free pages back to the kernel: all of them (0), or down to `keep` dirty pages. Returns
   the bytes given back. */
HIDDEN size_t page_heap_purge(size_t keep);
/* Purges what was free and dirty for a whole period (0.4 s); cheap, call it often. */
HIDDEN void page_heap_decay(uint64_t now);

/* heap_shrink under the page heap's lock. */
HIDDEN void page_heap_shrink(size_t budget);

/* For fork: nobody may be inside while the process is copied. */
HIDDEN void page_heap_lock(void);
HIDDEN void page_heap_unlock(void);

#endif
