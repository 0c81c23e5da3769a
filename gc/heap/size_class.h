/* size_class.h: the sizes of cells: steps of 16 bytes up to 128, then four classes a doubling up
   to 32 KiB, and eight from 256 to 512 bytes. A request of n bytes takes the smallest class of at
   least n + 1, so that a pointer one past its end stays inside its own cell. For that one byte
   requests of 1, 2 and 4 KiB, which are frequent, would take a quarter more: they have classes of
   their own, 16 bytes above. Pure tables, written once before first use. */
#ifndef RECLAIM_SIZE_CLASS_H
#define RECLAIM_SIZE_CLASS_H

#include "base/base.h"

enum {
  GRANULE = 16,
  GRANULE_SHIFT = 4,
  CLASS_NONE = 0, /* class 0: a heap page that is not in use */
  CLASS_SMALL_END = 48,
  CLASS_LARGE = 48, /* a large object: a run of heap pages of its own */
  CLASS_COUNT = 49,
  STATE_TABLES = 4,    /* see size_class.state_shift */
  SMALL_LIMIT = 32768, /* requests below this are served from cells */
  BUFFER_SLOTS = 263,  /* the most cells that wait in one allocation buffer */
};

struct size_class {
  uint32_t size;       /* bytes of a cell */
  uint32_t granules;   /* the same in granules */
  uint64_t reciprocal; /* ceil(2^32 / granules) */
  uint8_t *states; /* the state byte of the heap's first address, in the table that holds those of
                      this class (heap.c) */
  uint16_t cells;  /* in a span of such cells; a large object is one, class 0 has none */
  uint16_t slots;  /* cells an allocation buffer may hold: 64 or 32 KiB of them, 2 to 263 */
  uint8_t span;    /* heap pages of a span */
  uint8_t state_table; /* 0 to STATE_TABLES - 1 */
  uint8_t state_shift; /* in that table there is a state byte for every 1 << state_shift bytes of
                          the heap; what a cell's size is no multiple of would mix up two cells */
};

extern HIDDEN struct size_class size_classes[CLASS_COUNT + 1]; /* one more: all zero */
/* (request >> 4) -> class; read it through size_class_of. */
extern HIDDEN uint8_t size_class_table[SMALL_LIMIT / GRANULE];

HIDDEN void size_class_init(void);

/* The tables of state bytes: one byte for so many bytes of the heap, as a power of two. A class has
   the sparsest at whose steps all its cells begin: a byte for each granule would be a sixteenth of
   the heap. Spans and large objects begin at multiples of 64 KiB. */
static const uint8_t state_shifts[STATE_TABLES] = {GRANULE_SHIFT, 5, 6, 8};

static inline unsigned size_class_of(size_t request) { /* request < SMALL_LIMIT */
  return size_class_table[request >> GRANULE_SHIFT];
}

/* Which cell of a span holds the granule at this distance from the span's beginning. Exact for
   every granule of a span (checked by the unit test over all of them). */
static inline uint32_t cell_index(uint64_t granule, uint64_t reciprocal) {
  return (uint32_t)((granule * reciprocal) >> 32);
}

#endif
