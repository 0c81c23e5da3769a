/* mark.h: marks what is reachable from words that look like pointers.

   A word counts when it lies anywhere in a cell of the heap: interior pointers are pointers. The
   loop has two stages of software prefetching (Cher, Hosking, Vitek, "Software prefetching for
   mark-sweep garbage collection", ASPLOS 2004, extended by a stage for the mark word): words wait
   for a batch of others while their mark words are fetched (mark_words.c), then their objects in
   a ring while these and their state bytes are fetched. No recursion; an object that does not fit
   on the mark stack sets a flag on its page, and such pages are scanned again until none is left.

   Where nothing is taken back but what the program freed, all that it did not free is marked
   beforehand and searched from one end of the heap to the other (mark_live.c): memory is read in
   order, and nearly every word leads to what is marked.

   A large heap whose small objects point all over it can be marked page by page (mark_order.c).
   Else two who mark have a bitmap each, so that no object costs a locked operation (mark_pair.c).

   Runs in the collecting thread while the world is stopped, and in its helpers: each has a stack
   and a ring of its own, and half of what waits on one's stack goes to those who have run out.
   Calls are the collecting thread's alone. */
#ifndef RECLAIM_MARK_H
#define RECLAIM_MARK_H

#include "heap/heap.h"

struct port_maps;

struct mark_counts {
  uint64_t objects, bytes; /* reached and live */
  uint64_t overflows;      /* objects that did not fit on the mark stack */
  unsigned markers;        /* threads that marked */
  bool by_pages;           /* small ones page by page, see mark_by_pages */
  uint64_t visits, rounds; /* of pages, then; through all of them */
  uint64_t small, taken;   /* such objects; of these, page by page */
  uint64_t noted; /* those that wait for their pages; of what two markers find each notes it */
  uint64_t far;   /* found in other pages than those before; from the stack, of a part of them */
};

/* Reserves the mark stack. False: out of memory. */
HIDDEN bool mark_init(void);
/* What may be a pointer, beyond the plain word. */
struct mark_words {
  unsigned stride;      /* bytes from one word to the next: 8, 4 or 1 */
  unsigned slop;        /* a word so many bytes below an object, or fewer, marks it too */
  bool strip_high_bits; /* bits that no address has are a tag */
  bool demangle;        /* libc's mangled form of registers is tried as well, see mark_demangle */
};
/* From the next marking on so many threads mark, if they can be had: the collecting one and helpers
   that it makes for the while (workers.h). Not while the world is stopped. */
HIDDEN void mark_prepare(unsigned count);
/* From the next marking on, small objects are scanned page by page (true), or as they are found.
   Pays in a large heap that is scattered, see mark_scattered. Not together with mark_live. Before
   the world is stopped: it takes the memory for that. */
HIDDEN void mark_by_pages(bool wish);
/* Would it pay, after a marking of which these are the counts? */
HIDDEN bool mark_scattered(const struct mark_counts *counts);
/* Begins a marking; `maps` filters the pages of large objects, and is open meanwhile. */
HIDDEN void mark_begin(const struct mark_words *words, struct port_maps *maps);
/* Marks every object that was not freed, whatever points to it; what they refer to is scanned by
   mark_drain. Before any word is. */
HIDDEN void mark_live(void);
/* From the next marking on, and for good: words are also tried as registers in a jmp_buf, which
   libc stores in a mangled form. Any thread, any context. */
HIDDEN void mark_demangle(void);
/* Marks what one word points to; what that leads to is scanned by mark_drain. */
HIDDEN void mark_word(uintptr_t word);
/* Marks what the words in [begin, end) point to, at steps of the stride. */
HIDDEN void mark_range(uintptr_t begin, uintptr_t end);
/* The same of instructions, where an address may stand anywhere. */
HIDDEN void mark_code(uintptr_t begin, uintptr_t end);
/* What a block that was freed still points to, where a word points to such a one. */
HIDDEN void mark_freed(uintptr_t word);
/* Scans until nothing reachable is unmarked. False: a large object could not be read. */
HIDDEN bool mark_drain(void);
/* Ends the marking and says what was reached. */
HIDDEN struct mark_counts mark_end(void);
/* Gives back the memory that a marking worked with, and that was made ready for one. The program
   may run; the next marking begins with it where this was not called. */
HIDDEN void mark_release(void);
/* For tests: how many objects the mark stack may hold (0: as many as fit). */
HIDDEN void mark_limit_stack(size_t objects);

#endif
