/* marker.h: what the parts of marking share (mark.c, mark_scan.c, mark_words.c, mark_large.c,
   mark_live.c, mark_order.c, mark_pair.c), and how objects are searched. */
#ifndef RECLAIM_MARKER_H
#define RECLAIM_MARKER_H

#include <string.h>

#include "base/remedy.h"
#include "collect/mark.h"
#include "collect/workers.h"
#include "heap/heap.h"
#include "ports/port.h"

enum {
  LINE = 64,          /* of the cache */
  BATCH = 16,         /* words that are seen to in one go, at least */
  WORDS = 64,         /* and at most */
  OBJECTS_AHEAD = 16, /* objects being fetched */
  RING = 32,          /* more than that, and a power of two */
  RECENT = 64,        /* heap pages whose lines and addresses are likely to be at hand */
  NOTED = 8,          /* of so many objects from the stack one is asked whether its page is */
};

/* An object on its way: granule number << 8 | class. One word, so that what was just pushed can be
   popped without waiting for two stores to meet in one load. Also a piece or slice of a large
   object, which begins at this granule: an array of pointers must not put all of them on the stack
   at once, and markers share it. Or all the live objects of a span. */
typedef uint64_t object;
enum {
  CLASS_PIECE = CLASS_NONE,
  CLASS_SLICE = CLASS_COUNT,
  CLASS_SPAN,
  CLASSES /* that a mark stack knows */
};
struct candidate {
  uint64_t *word, bit; /* of the bitmap of marks, or of what was found */
  object object;
};
/* Two lines may be searched before the batch is looked at, and one word more is written. */
_Static_assert(BATCH + 2 * LINE / 4 <= WORDS, "every fourth byte may end a word");

/* Where a marker is that goes by pages, see mark_order.c. */
struct order {
  bool on;                        /* there may be flagged pages */
  uint8_t class;                  /* of the cells of `page` */
  unsigned granules, word, words; /* of a cell; of the page's bitmap, the next one */
  size_t page;                    /* that is being visited */
  uint64_t bits, first;           /* cells to be scanned; the granule of that of bit 0 */
  struct heap_found found;        /* where what this marker finds is noted */
  bool shared;                    /* by other markers, too */
  bool stacking;                  /* flags no more pages: what it finds goes on the stack */
  uint64_t taken, most;           /* objects in this round, and in the best so far */
  uint64_t all_taken, all_visits; /* since a round was twice as good as those before */
  uint64_t visits, rounds;        /* of pages; through the flags */
  uint64_t taken_before;          /* in earlier rounds */
  uint64_t noted;                 /* objects; some by others, too */
};

/* One of those who mark: the collecting thread is the first, helpers are the others. */
struct marker {
  object *stack; /* in use from bottom to depth; what is given away goes from the bottom */
  size_t bottom, depth, committed, limit;
  uintptr_t words[WORDS];             /* that may point into the heap ... */
  size_t waiting;                     /* ... so many */
  struct candidate candidates[WORDS]; /* whose mark words are being fetched ... */
  size_t asked;                       /* ... so many */
  object objects[RING];               /* that are being fetched */
  uint32_t object_head, object_tail;
  uint64_t reached[CLASS_COUNT]; /* live objects of each class */
  /* Where what is found of a class is noted: heap.marked, or one of the tables of what was found.
   */
  uint64_t (*marks[CLASSES])[PAGE_WORDS];
  ptrdiff_t other;           /* of a pair: so many words from a word of those is the other's */
  struct mark_counts counts; /* but for objects, and for bytes in cells */
  bool failed;
  struct order order;
  uint32_t recent[RECENT]; /* heap pages of objects found of late */
  uint64_t far;            /* so many were found in another one */
  struct port_maps large;  /* its own working memory: root scans are under way meanwhile */
};
extern HIDDEN struct marker markers[WORKERS_MOST];

/* Where the states of a class are, and how its cells are scanned: of what has no cells, or where a
   word may mean more than it says, that is all zero but perhaps `far`. */
struct shape {
  uint8_t *states;      /* of the class, see size_class.h */
  uint8_t object_shift; /* from what is on the mark stack to a number there */
  uint8_t far;          /* the second line to fetch */
  bool small; /* two lines of words at most: the first, or all there is, by four looks: at 0, ... */
  uint8_t second, third, last; /* ... and at these, some of which may be the same */
  uint8_t rest;                /* where the last line of a cell of more than one begins; else 0 */
  uint32_t last_hit;           /* in the first line; none is higher */
  uint32_t steps; /* fours that may end a word, see at_steps; of the last line in the upper half */
} __attribute__((aligned(32)));

/* From here on words into the heap count: page 0 holds nothing. One byte less than where page 1
   begins: `first` lies in memory that is scanned, and would keep the first object there with all it
   points to. */
#define FIRST_OFFSET (HEAP_PAGE - 1)

/* What a marking is about; helpers only read it, but for `overflow`. */
struct marking {
  struct shape shapes[CLASSES];
  uintptr_t first, span;     /* the heap in use: addresses from first, span bytes */
  struct port_halves halves; /* the same as a filter */
  unsigned stride;           /* of the plain loop; 0: a word may mean more than it says */
  unsigned parts;            /* of the reserved mark stack: so many markers may have one */
  unsigned ready, helpers;   /* helpers: that may be started; that are at work */
  object *stack;
  size_t part; /* objects in each part of the stack */
  size_t test_limit;
  bool wish_pages;
  struct mark_words words;
  bool demangle; /* for good, once the program has switched stacks by longjmp */
  uintptr_t guard;
  bool overflow;
  bool by_pages; /* the tables of what was found are in use, see mark_order.c */
  bool pair;     /* two mark, each in a bitmap of its own, see mark_pair.c */
  bool flagging; /* those that are found flag their pages, else they go on the stack */
  struct heap_found found[FOUND_TABLES];
  unsigned tables; /* so many of those */
  size_t top;      /* heap pages that have them; 0: they are not in use */
  bool stale;      /* they hold what a marking left, and the mark stack has its memory */
  bool live;       /* all that are live were marked before, see mark_live */
  bool leaves;     /* and there are some among them */
  const struct port_protected *protected; /* parts of the heap that the program may not write */
  size_t protected_count;
  bool careful; /* or parts of blocks may have been unmapped: no object is read just so */
};
extern HIDDEN struct marking marking;

/* Makes the mark stack longer. False: no room. */
HIDDEN bool marker_grow_stack(struct marker *w);
/* A marked object that did not fit on the mark stack: its page is looked through again. */
HIDDEN void marker_overflow(struct marker *w, object object);
/* Which loop scans from here on, see scan_slowly. */
HIDDEN void marker_choose_scan(const struct mark_words *words);
/* Considers the words in [begin, end), at steps of the stride. */
HIDDEN void marker_scan(struct marker *w, uintptr_t begin, uintptr_t end);
/* Is any of that closed to the program? */
HIDDEN bool marker_is_closed(uintptr_t begin, uintptr_t end);
/* The same for part of an object, or all of it, where not all may be readable or there. */
HIDDEN void marker_scan_part(struct marker *w, uintptr_t address, size_t size);
/* A large object: its parts go onto the mark stack. */
HIDDEN void marker_scan_large(struct marker *w, object object);
/* One of those. */
HIDDEN void marker_scan_portion(struct marker *w, object object);
/* The live objects of a span. */
HIDDEN void marker_scan_span(struct marker *w, object object);
/* Whatever the mark stack may hold, at once. */
HIDDEN void marker_scan_object(struct marker *w, object object);

static inline object object_at(const struct page *page, uintptr_t address) {
  return (address - heap.base) >> GRANULE_SHIFT << 8 | page->class;
}
static inline unsigned object_class(object object) { return object & 0xff; }
static inline uintptr_t object_address(object object) {
  return heap.base + (object >> 8 << GRANULE_SHIFT);
}
/* Of what is no portion of an object; of those, for prefetching alone, nonsense. */
static inline uint8_t *object_state(object object) {
  const struct shape *shape = &marking.shapes[object_class(object)];
  return (uint8_t *)((uintptr_t)shape->states + (object >> shape->object_shift));
}
static inline struct page *object_page(object object) {
  return &heap.pages[page_first(page_of_granule(object >> 8))];
}

/* Is it one that may wait for its page? Those of up to 128 bytes, whose spans are one page. */
enum { ORDERED_CLASSES = 8 };
static inline bool is_ordered(object object) { return object_class(object) <= ORDERED_CLASSES; }

/* Finds cells to take in a flagged page. False: there is no such page. */
HIDDEN bool marker_next_taken(struct marker *w);
/* For the heap's first pages. False: no memory, or nothing to be gained. */
HIDDEN bool marker_order_begin(size_t top);
/* One marker's part of it. */
HIDDEN void marker_order_join(struct marker *w);
/* Has the memory for that ready, most likely. */
HIDDEN void marker_order_prepare(void);
/* Gives it back. */
HIDDEN void marker_order_end(void);

/* The tables for both: so many of them for the heap's first pages. False: no memory. */
HIDDEN bool marker_commit_found(unsigned tables, size_t top);
HIDDEN void marker_populate_found(size_t top);

/* Has the memory ready, most likely, that two need who mark as a pair. */
HIDDEN void marker_pair_prepare(void);
/* For the heap's first pages. False: no memory, or none is ready. */
HIDDEN bool marker_pair_begin(size_t top);
/* One marker's part of it. */
HIDDEN void marker_pair_join(struct marker *w);
/* Both are idle: brings together what they have marked of a page's, or of all. */
HIDDEN void marker_pair_merge(const struct page *page);
HIDDEN void marker_pair_merge_all(void);

/* An object to be scanned from a flagged page. */
static inline bool take(struct marker *w, object *found) {
  struct order *o = &w->order;
  if (!o->bits && !marker_next_taken(w)) return false;
  uint64_t granule = o->first + (unsigned)__builtin_ctzll(o->bits) * (uint64_t)o->granules;
  o->bits &= o->bits - 1;
  *found = granule << 8 | o->class;
  return true;
}

/* False: no room. */
static inline bool push(struct marker *w, object object) {
  if (UNLIKELY(w->depth == w->committed) && !marker_grow_stack(w)) return false;
  w->stack[w->depth++] = object;
  return true;
}

/* Of an ordered object: is memory taken up in an order that suits it? Each page has one place among
   the recent ones. */
static inline void note_page(struct marker *w, size_t page) {
  uint32_t *recent = &w->recent[page % RECENT];
  w->far += *recent != (uint32_t)page;
  *recent = (uint32_t)page;
}

/* False: it is marked, by this marker or another. */
static inline bool mark(struct marker *w, uint64_t *word, uint64_t bit) {
  uint64_t before = atomic_get(word) | atomic_get(word + w->other);
  if (before & bit) return false;
  if (marking.helpers && !marking.pair)
    return !(__atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST) & bit);
  atomic_set(word, *word | bit);
  return true;
}

/* Second half of a word's way, by now its mark word is in the cache: marks, and puts on the stack.
 */
static inline void settle(struct marker *w, struct candidate c) {
  if (mark(w, c.word, c.bit) && UNLIKELY(!push(w, c.object))) marker_overflow(w, c.object);
}
/* The same for so many candidates where it goes by pages: ordered objects wait for theirs. */
HIDDEN void marker_settle_by_pages(struct marker *w, size_t count);

/* Where a word points to. Apart, so that who asks only for the mark pays for no more. */
struct place {
  object object;
  uint32_t index; /* of its cell in ... */
  size_t page;    /* ... the span or run that begins there */
};

/* Finds the cell that a word points into. False: into none. */
static inline __attribute__((always_inline)) bool locate(uintptr_t word, struct place *found) {
  uintptr_t offset = word - heap.base;
  if (LIKELY(offset - FIRST_OFFSET >= marking.span)) return false;
  uint32_t entry = heap.page_first[offset >> HEAP_PAGE_SHIFT];
  size_t first = page_entry_first(entry);
  unsigned class = page_entry_class(entry);
  const struct size_class *c = &size_classes[class];
  uint32_t index = cell_index((offset >> GRANULE_SHIFT) - first * PAGE_GRANULES, c->reciprocal);
  if (index >= c->cells) return false;
  object granule = first * PAGE_GRANULES + index * (uint64_t)c->granules;
  if (WITHOUT(interior) && offset != granule << GRANULE_SHIFT) return false;
  *found = (struct place){granule << 8 | class, index, first};
  return true;
}
static inline uint64_t *word_of_place(uint64_t (*bitmap)[PAGE_WORDS], struct place place) {
  return &bitmap[place.page][place.index / 64];
}
static inline uint64_t bit_of_place(struct place place) { return 1ull << place.index % 64; }

/* Sees to the words that wait, see mark_words.c; their objects follow with the next ones. */
HIDDEN void marker_consider(struct marker *w);
/* There are no next ones. True: they lead to one object, which is not put on the stack, since there
   is nothing to wait for. */
HIDDEN bool marker_consider_rest(struct marker *w, object *next);

static inline void consider(struct marker *w, uintptr_t word) {
  if (LIKELY(word - heap.base - FIRST_OFFSET >= marking.span)) return;
  w->words[w->waiting++] = word;
  if (w->waiting >= BATCH) marker_consider(w);
}

static inline uintptr_t load(uintptr_t address) {
  uintptr_t word;
  memcpy(&word, (const void *)address, sizeof word); /* may be misaligned at strides 4 and 1 */
  return word;
}

/* Of the hits among the sixteen fours of a line, which end a word that begins at a step? A word at
   a multiple of 8 has its upper half at an odd four. */
static inline uint32_t at_steps(uint32_t hits) {
  return marking.stride == 8 ? hits & 0xaaaa : hits;
}

static inline uintptr_t word_of_hit(uintptr_t at, uint32_t hits) {
  return load(at + 4 * (uintptr_t)__builtin_ctz(hits) - 4);
}

static inline void consider_hits(struct marker *w, uintptr_t at, uint32_t hits) {
  for (; hits; hits &= hits - 1) w->words[w->waiting++] = word_of_hit(at, hits);
  if (w->waiting >= BATCH) marker_consider(w);
}

/* The same where there are two hits at most, mostly. How many there are cannot be foreseen, so two
   words are written in any case; `last` is the highest hit that there may be. */
static inline __attribute__((always_inline)) void note_hits(struct marker *w, uintptr_t at,
                                                            uint32_t hits, uint32_t last) {
  size_t n = w->waiting;
  for (int i = 0; i < 2; i++) {
    w->words[n] = word_of_hit(at, hits | last);
    n += hits != 0;
    hits &= hits - 1;
  }
  for (; UNLIKELY(hits); hits &= hits - 1) w->words[n++] = word_of_hit(at, hits);
  w->waiting = n;
}

/* Considers the words of one cell of up to 128 bytes, as most are: four looks or eight whatever its
   size, in place of a loop whose end cannot be foreseen. */
static inline __attribute__((always_inline)) void scan_small(struct marker *w, uintptr_t at,
                                                             const struct shape *shape) {
  struct port_halves halves = marking.halves;
  uint32_t hits =
      port_halves_of_four((const char *)at, shape->second, shape->third, shape->last, halves);
  hits &= shape->steps;
  note_hits(w, at, hits, shape->last_hit);
  if (shape->rest) {
    hits = port_halves_of_64((const char *)at + shape->rest, halves) & shape->steps >> 16;
    note_hits(w, at + shape->rest, hits, 1u << (LINE / 4 - 1));
  }
  if (w->waiting >= BATCH) marker_consider(w);
}

#endif
