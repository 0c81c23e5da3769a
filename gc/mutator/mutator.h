/* mutator.h: one thread's allocation buffers and the heap pages it owns.

   A buffer is a stack of ready cells of one class, the newest in the header so that
   free(malloc(n)) does not wait on its own store. It is refilled by scanning the bitmap of a page
   the mutator owns and flushed, oldest half first, when full; any thread may flush cells of
   any page, by atomic operations on the bitmap alone.

   Cells that wait in a buffer are allocated, and their state byte is zero: the collector neither
   scans nor sweeps them, so a thread may be stopped between any two instructions here.

   The owner may be abandoned at any instruction but under a lock: by a handler that jumps away, or
   by cancellation. Changes are made in an order that then loses cells or pages, and never lists one
   twice; whoever takes the mutator over clears `busy`.

   A page is at every moment in exactly one place: current, queued or set aside with its owner, on
   its owner's `returned` stack (the pool's, where the owner is bare), full (flag set, in no list),
   or in the hands of the collector, who trims the pool (no owner). Whoever swaps full from 1 to 0
   owns that page's link: a flusher pushes it on that stack, the sweeper may release it. */
#ifndef RECLAIM_MUTATOR_H
#define RECLAIM_MUTATOR_H

#include "heap/heap.h"
#include "mutator/self.h"

/* What precedes the slots is half a line of the cache, and lies in one: the size of all is an odd
   multiple of that, so that not all buffers begin in the same few sets. */
struct buffer {
  uint32_t count; /* cells, the one in `hot` included */
  uint32_t limit; /* 0 before the first use, and for the class that has no cells: the fast paths
                     then fall through */
  void *hot;
  /* Of the class, before the first use: */
  uintptr_t states;             /* where the state of address 0 would be, see size_class.h */
  uint32_t state_shift;         /* that of address a is at a >> state_shift from there ... */
  uint32_t state_rest;          /* ... if none of these bits is set in a */
  void *slot[BUFFER_SLOTS + 1]; /* slot[1..count-1] in use; slot[0] is no cell */
};

_Static_assert(offsetof(struct buffer, slot) == 32 && sizeof(struct buffer) % 64 == 32,
               "in a line");

enum { LARGE_KEPT = 8 };

struct page_queue {
  struct page *head, *tail;
};

struct mutator {
  struct buffer buffers[CLASS_COUNT];
  struct page *current[CLASS_SMALL_END];
  struct page_queue queue[CLASS_SMALL_END];
  struct page *sparse[CLASS_SMALL_END]; /* nearly empty ones, the newest first */
  uint64_t used; /* the classes ever used: what belongs to others was never touched */
  struct page *large[LARGE_KEPT]; /* large objects that wait (large.h); NULL: none */
  struct page *returned; /* Treiber stack: pushed by any thread, taken whole by the owner */
  struct mutator *next;  /* in the list of all */
  struct mutator *next_orphan;
  uint32_t busy;        /* in a slow path: a handler must not use this mutator */
  uint32_t warm;        /* an orphan that kept its current pages (orphans.c) */
  uint32_t bare;        /* an orphan whose pages are the pool's, but for full ones */
  uint32_t spans_taken; /* since the last look for empty pages ... */
  uint32_t looked;      /* ... which looked at so many */
  uint32_t trim_due;    /* set by any thread: look for empty pages at the next change of page */
  size_t unfilled;      /* heap pages' worth of free cells, the fewest since the last such look */
};

/* What the fast paths know before the thread does: one address for both. */
struct mutator_fast {
  /* All-zero: each fast path falls into its slow path by the same compare. */
  struct mutator dummy __attribute__((aligned(64)));
  uint32_t
      buffer[SMALL_LIMIT / GRANULE]; /* request >> 4 -> bytes from the dummy to its class's
                                        buffer in it; zero at first, and so is the count there */
};
extern HIDDEN struct mutator_fast mutator_fast;

HIDDEN void mutator_init(void);
/* Takes a cell of a class, refilling the buffer when it is empty; the state byte is not set.
   NULL: out of memory. The caller owns the mutator and has set `busy`. */
HIDDEN void *mutator_take(struct mutator *mutator, unsigned class);
/* Puts back a cell whose state byte has been cleared. The first of a class that an owner gives up
   returns to its page if that is another's: mostly the thread was given it to begin with, and if it
   used it again it would go on writing to a line of the cache in which others have their own
   (Berger, McKinley, Blumofe, Wilson 2000, "Hoard": passive false sharing). A thread that frees
   what others made, and makes none of the class, keeps few cells: it has no use for them. */
HIDDEN void mutator_put(struct mutator *mutator, unsigned class, void *cell);

#endif
