/* heap.h: the heap's geometry and its out-of-line metadata.

   One PROT_NONE reservation holds everything that Reclaim owns: first the heap, then the state
   bytes, the bitmaps, the page table and the collector's working memory, so that "is it ours"
   is one compare and the root scan has one range to leave out. It becomes readable and writable
   by chunks as the heap grows; the tables grow with it.

   heap page   64 KiB. A span of one or four holds cells of one size class; a large object is a
               run of its own. Page 0 is never used, so that the base address is no pointer to
               an object.
   state byte  of an object, by its address; zero where none begins (but for STATE_RECLAIMED,
               which is none). There are tables with one for every 16, 32, 64 and 256 bytes. Each
               class uses one that has a byte wherever its cells begin; what lies between such
               steps is no object's address.
               malloc sets it as its last step, free checks and clears it as its first.
   allocated   one bit per cell: the cell is an object or waits in an allocation buffer.
   marked      one bit per cell: while a cycle marks, reached; between the flip at the end of the
               pause and the sweep of the page, dead; zero otherwise.

   Who writes what: state bytes by the thread that owns the object; `allocated` by atomic
   operations from any thread; `marked` by the collector only (atomically when several write it);
   descriptors by the page heap's lock holder, except the fields marked otherwise. */
#ifndef RECLAIM_HEAP_H
#define RECLAIM_HEAP_H

#include "base/base.h"
#include "heap/size_class.h"

#define HEAP_PAGE_SHIFT 16
#define HEAP_PAGE ((size_t)1 << HEAP_PAGE_SHIFT)
#define PAGE_GRANULES (HEAP_PAGE / GRANULE)
#define PAGE_WORDS (PAGE_GRANULES / 64)

enum state {
  STATE_NONE = 0,
  STATE_LIVE = 1,
  STATE_PINNED = 2,       /* with LIVE: a root, never reclaimed (see pin=) */
  STATE_DROPPED = 4,      /* with LIVE: its free() was dropped by the leak injector */
  STATE_CONDEMNED = 8,    /* with LIVE: found unreachable under check=condemn */
  STATE_QUARANTINED = 16, /* freed under free=quarantine */
  STATE_LEAF = 16,        /* with LIVE: holds no pointers, see reclaim_malloc_leaf */
  STATE_DEAD = 32,        /* instead of LIVE: waits for its sweep. No fast path takes it, so what a
                             program frees after all is not handed out and then swept */
  STATE_SUSPECT = 32,     /* with LIVE: one of up to seven marks in a row that did not reach it. No
                             fast path takes it either; free and malloc end the count of a cell */
  STATE_SUSPECT_MASK = 7 * STATE_SUSPECT,
  STATE_RECLAIMED = 64 /* alone: as NONE, and tells whoever frees it after all that the collector
                          took it back. May lie inside the cells that its span is used for later */
};

/* Is there no object? Its cell is free, waits, or is being made. */
static inline bool state_is_none(uint8_t state) {
  return state == STATE_NONE || state == STATE_RECLAIMED;
}

static inline bool state_is_dead(uint8_t state) {
  return (state & (STATE_LIVE | STATE_DEAD)) == STATE_DEAD;
}
static inline bool state_is_leaf(uint8_t state) {
  return (state & (STATE_LIVE | STATE_LEAF)) == (STATE_LIVE | STATE_LEAF);
}
static inline unsigned state_suspected(uint8_t state) { /* a live object's */
  return (state & STATE_SUSPECT_MASK) / STATE_SUSPECT;
}

/* What of a large object's run is inaccessible (guard.h). */
enum barred {
  BARRED_BEHIND = 1, /* the kernel page behind it */
  BARRED_WHOLE = 2,  /* all of the object: it was freed, and waits under free=quarantine */
};

/* What a page may hold besides; others may hold none of it. */
enum page_hint {
  HINT_PINNED = 1,    /* pinned objects */
  HINT_STACK = 2,     /* what is, or was, a thread's signal stack */
  HINT_PROTECTED = 4, /* a large object whose pages the program has protected */
  HINT_MAPPED = 8, /* objects of whose pages the program has unmapped or replaced some, or has kept
                      them from children */
  HINT_OWN = HINT_PROTECTED | HINT_MAPPED,
};

struct mutator;

struct page {
  /* What word -> cell needs; written before page_first points here, `cells` last. The marker goes
     by page_first and the class alone: a descriptor is a miss of the cache. */
  uint64_t size;       /* of a cell; of a large object its bytes, up to a kernel page's end */
  uint64_t reciprocal; /* 0 for a large object: every granule belongs to cell 0 */
  uint32_t cells;      /* 0: not in use, no word points into it */
  uint32_t run;        /* heap pages of this span, object or free run */
  uint8_t class;
  uint8_t words;   /* 64-bit words of its bitmaps in use */
  uint8_t free;    /* a free run (set at its first and last page) */
  uint8_t full;    /* 1: in no list of its owner; whoever swaps it to 0 may list it */
  uint8_t unswept; /* 1: dead bits wait; whoever swaps it to 0 sweeps */
  uint8_t hints;   /* an enum page_hint */
  uint8_t rescan;  /* marking: a marked object of it did not fit on the mark stack */
  uint8_t purged;  /* kernel pages of free cells that were given back since it was last used */
  union {
    uint32_t dirty; /* a free run: so many of its pages may hold something; 0: it is all zeros. A
                       large object: so many of its spare pages did when it was made */
    struct {        /* a span */
      uint16_t purged_at;   /* one more than the cells in use when its free kernel pages were last
                               given back; 0: not since it was last used */
      uint16_t purged_when; /* page_heap.c */
    };
  };
  uint8_t scan;    /* refill: next bitmap word; owner only */
  uint8_t skip;    /* refill: cells left out of the first word (colouring); owner only */
  uint8_t unwiped; /* of each heap page: objects were reclaimed in it that nobody has wiped. Whoever
                      fills it next does */
  union {
    uint8_t fresh;  /* a span: 1 until its owner has come to the end of it; owner only */
    uint8_t barred; /* a large object: an enum barred; page heap's lock */
  };
  struct mutator *owner;
  struct page *next; /* in the owner's queue or stack; in a list of free runs */
  struct page *previous;
};

struct heap {
  /* Read by every malloc and free: one cache line, constant after start. */
  uintptr_t base;
  size_t size;         /* bytes of the whole reservation of the heap */
  uint8_t *page_class; /* for free() alone; all zero where free() must take its slow path */
  uint32_t
      *page_first; /* heap page -> first page of its span or run, below its class; see page_entry */
  struct page *pages;
  uint64_t (*allocated)[PAGE_WORDS];
  uint64_t (*marked)[PAGE_WORDS];
  uint8_t *state[STATE_TABLES]; /* see size_class.h */
  uint8_t *pads; /* one byte a granule under canary=on, else NULL (mutator/canary.h) */

  bool free_slowly;       /* free= is not trust: set before the first page is handed out */
  unsigned free_quickly;  /* that policy, if nothing else is to be done at a free() */
  size_t page_limit;      /* heap pages in the reservation */
  size_t committed_pages; /* readable and writable; page heap's lock */
  size_t top;             /* pages handed out so far, from below; page heap's lock */
};
extern HIDDEN struct heap heap __attribute__((aligned(64)));

/* Reserves the heap, at most `largest` bytes of it, with extra(heap size) bytes of working memory
   on top of the usual (NULL: none), and commits its first chunk. Called once, before anything else.
   False: not even the smallest heap could be reserved. */
HIDDEN bool heap_init(size_t largest, size_t (*extra)(size_t heap_size));
/* Gives the reservation back, as long as nobody has been handed any of it. */
HIDDEN void heap_undo(void);
#define HEAP_LARGEST ((size_t)1 << 40)
/* Makes the heap's first `pages` pages usable, tables included. Page heap's lock. */
HIDDEN bool heap_commit(size_t pages);
/* Where the mark stack lies and how large it may grow; still inaccessible. */
HIDDEN void *heap_mark_stack(size_t *size);
/* For those who mark: a bit for each cell, as in `marked`, and a flag for each page. */
struct heap_found {
  uint64_t (*cells)[PAGE_WORDS];
  uint8_t *flags;
};
enum { FOUND_TABLES = 2 };
/* Makes one of those usable for the heap's first `pages` pages, all zero. False: no memory. */
HIDDEN bool heap_commit_found(unsigned table, size_t pages, struct heap_found *found);
/* Has memory stand behind it, where the kernel can do so at once (Linux 5.14). */
HIDDEN void heap_populate_found(const struct heap_found *found, size_t pages);
/* Makes it zero and gives its memory back. */
HIDDEN void heap_purge_found(const struct heap_found *found, size_t pages);

/* Gives up reserved address space that is not in use, down to about `budget` bytes in all: for a
   program that sets itself a limit (RLIMIT_AS). Page heap's lock, and no cycle meanwhile. */
HIDDEN void heap_shrink(size_t budget);
/* What we own, in order: one range, or several once heap_shrink has cut pieces out of it. Anything
   outside may be the program's. */
enum { HEAP_RANGES = 18 }; /* heap, fifteen tables, working memory, what is behind it */
struct heap_range {
  uintptr_t begin, end;
};
HIDDEN size_t heap_ranges(struct heap_range ranges[HEAP_RANGES]);
/* How many heap pages so many bytes of memory hold, when what they use of the tables counts. */
HIDDEN size_t heap_pages_within(size_t bytes);
/* Address space that is reserved, in bytes. */
HIDDEN size_t heap_reserved(void);

/* Private working memory of at least this size, zero, never given back. NULL when exhausted or when
   no memory can be had just now, which costs nothing. Takes a lock of its own. */
HIDDEN void *heap_metadata(size_t size);
/* A large range of the reservation, still inaccessible: the caller commits what it needs. */
HIDDEN void *heap_metadata_reserve(size_t size);
/* For fork: nobody may be in these while the process is copied. After the page heap's lock. */
HIDDEN void heap_metadata_lock(void);
HIDDEN void heap_metadata_unlock(void);

static inline bool heap_holds(uintptr_t address) { return address - heap.base < heap.size; }
/* Is that a multiple of so many bytes, as a power of two? In a table of such steps nothing has a
   state byte that is not. */
static inline bool is_at_step(uintptr_t address, unsigned shift) {
  return !(address & ((1ul << shift) - 1));
}
static inline size_t page_of_granule(size_t granule) {
  return granule >> (HEAP_PAGE_SHIFT - GRANULE_SHIFT);
}
static inline size_t page_index(const struct page *page) { return (size_t)(page - heap.pages); }
static inline uintptr_t page_address(const struct page *page) {
  return heap.base + (page_index(page) << HEAP_PAGE_SHIFT);
}
static inline uint64_t *page_allocated(const struct page *page) {
  return heap.allocated[page_index(page)];
}
static inline uint64_t *page_marked(const struct page *page) {
  return heap.marked[page_index(page)];
}

/* An object's place: its page, its number in the page, its first byte; its state byte. */
struct cell {
  struct page *page;
  uint32_t index;
  uintptr_t address;
  uint8_t *state; /* may change, as any that is not the caller's */
};

/* An entry of page_first. A heap has fewer pages than its lower part can number (HEAP_LARGEST). */
enum { PAGE_ENTRY_BITS = 24 };
_Static_assert(HEAP_LARGEST / HEAP_PAGE <= (size_t)1 << PAGE_ENTRY_BITS, "a page has a number");
static inline uint32_t page_entry(size_t first, unsigned class) {
  return (uint32_t)first | (uint32_t) class << PAGE_ENTRY_BITS;
}
static inline size_t page_entry_first(uint32_t entry) {
  return entry & ((1u << PAGE_ENTRY_BITS) - 1);
}
static inline unsigned page_entry_class(uint32_t entry) { return entry >> PAGE_ENTRY_BITS; }
/* The first page of the span, large object or free run that this heap page belongs to. */
static inline size_t page_first(size_t number) { return page_entry_first(heap.page_first[number]); }
/* Does a span or a large object begin at this page? */
static inline bool page_begins(const struct page *page) {
  return page->cells && page_first(page_index(page)) == page_index(page);
}

/* The state byte of an object of this class. */
static inline uint8_t *state_in_class(const struct size_class *c, uintptr_t address) {
  return &c->states[(address - heap.base) >> c->state_shift];
}
/* The same of whatever class the cells are whose heap page this is, which must be committed. */
static inline uint8_t *state_at(uintptr_t address) {
  uint32_t entry = heap.page_first[(address - heap.base) >> HEAP_PAGE_SHIFT];
  return state_in_class(&size_classes[page_entry_class(entry)], address);
}
/* From one cell of a page to the next, in the table of their states. */
static inline size_t state_step(const struct page *page) {
  return page->size >> size_classes[page->class].state_shift;
}

/* Finds the cell an address lies in, whatever the cell's state. False: in no cell. A page that is
   not the caller's may be released meanwhile and become one of another class. Its class is looked
   up once, and before the rest: of a class that it had, it has no state byte that tells of an
   object any more; of one that it has, the rest is there. To look twice may be to find another
   object's, since a sparse table has no byte for every address. */
static inline bool cell_of(uintptr_t address, struct cell *cell) {
  uintptr_t offset = address - heap.base;
  if (offset >= heap.size) return false;
  size_t number = offset >> HEAP_PAGE_SHIFT;
  if (number >= atomic_get(&heap.committed_pages)) return false;
  uint32_t entry = atomic_get_acquire(&heap.page_first[number]);
  size_t first = page_entry_first(entry);
  struct page *page = &heap.pages[first];
  uint64_t granule = (offset >> GRANULE_SHIFT) - first * PAGE_GRANULES;
  uint32_t index = cell_index(granule, page->reciprocal);
  if (index >= page->cells) return false;
  uintptr_t begin = page_address(page) + index * page->size;
  const struct size_class *c = &size_classes[page_entry_class(entry)];
  *cell = (struct cell){page, index, begin, state_in_class(c, begin)};
  return true;
}

#endif
