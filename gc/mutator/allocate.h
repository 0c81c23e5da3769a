/* allocate.h: objects made and given up by the calling thread, apart from the inlined fast paths.

   None of these collects, reports or sets errno: the caller in api/ decides. They may be called
   from any thread at any time, in signal handlers that passed the gate too. */
#ifndef RECLAIM_ALLOCATE_H
#define RECLAIM_ALLOCATE_H

#include "mutator/canary.h"
#include "mutator/thread.h"

/* An object of at least size + 1 bytes, live. *zero (if given) tells that it is known to hold
   zeros. NULL: out of memory or address space. */
HIDDEN void *allocate(size_t size, bool *zero);
/* The same for an object that takes over from one that was outgrown: a large one gets room to go on
   growing in place. */
HIDDEN void *allocate_growing(size_t size);
/* Aligned to a power of two of any size. */
HIDDEN void *allocate_aligned(size_t alignment, size_t size, bool *zero);

enum release_result {
  RELEASED,
  RELEASE_FOREIGN,   /* not an address of ours */
  RELEASE_NOT_LIVE,  /* begins no live object: freed before, interior, misaligned, never made */
  RELEASE_CONDEMNED, /* the collector had found it unreachable; released now */
};
/* Frees an object at once whatever its state, clearing its state byte first. */
HIDDEN enum release_result release(void *pointer);

/* Grows or shrinks a large object in place. */
HIDDEN bool resize_in_place(const struct cell *cell, size_t size);
/* The calling thread gives up its empty pages, and if asked for all that it can spare: the cells it
   has ready, too, and the holes in its other pages. Nothing, while a handler interrupts it at work
   with them. */
HIDDEN void allocate_trim(bool all);
/* What fits into a block: the cell less its slack byte. */
static inline size_t cell_room(const struct cell *cell) { return cell->page->size - 1; }
/* What malloc_usable_size says: the same, or under canary=on what was asked for. */
static inline size_t cell_usable(const struct cell *cell) {
  return UNLIKELY(heap.pads != NULL) ? canary_request(cell->address, cell->page->size)
                                     : cell_room(cell);
}

/* The object that begins at pointer, live in some way; its state. 0: none. */
static inline uint8_t object_find(const void *pointer, struct cell *cell) {
  uintptr_t address = (uintptr_t)pointer;
  if (!cell_of(address, cell) || cell->address != address) return STATE_NONE;
  return atomic_get(cell->state);
}

/* --- the fast paths, inlined into malloc and free ------------------------------------------------
 */

/* Why a stop may fall between any two instructions: the collector reads neither buffers nor `self`,
   only state bytes, and a state byte is one store. Before malloc's the cell waits: a pointer to it
   may set its mark bit, but nothing scans or sweeps it, and the flip clears the bit. After it the
   object is live, and the pointer to it is in the stopped thread's registers. free is the same
   backwards. No tool sees this (there is one thread, and its own stop); what is shared between
   threads, the bitmaps and the pages' flags, is atomic and under ThreadSanitizer (tests/tsan).

   The order of the stores matters to whoever abandons us, by a jump out of a handler or by
   cancellation: at every point the worst is a cell in no buffer, never one in two places. `hot`
   means nothing while the count is zero: an abandoned step may have left a cell there. */
static inline __attribute__((always_inline)) void *allocate_from(uint32_t offset) {
  struct buffer *buffer =
      (struct buffer *)((char *)&mutator_fast.dummy + self.displacement + offset);
  uint32_t count;
  if (UNLIKELY(__builtin_sub_overflow(buffer->count, 1, &count))) return NULL;
  void *cell = buffer->hot;
  if (cell == NULL) __builtin_unreachable();
  buffer->count = count;
  COMPILER_BARRIER();
  buffer->hot = buffer->slot[count];
  COMPILER_BARRIER();
  *(uint8_t *)(buffer->states + ((uintptr_t)cell >> buffer->state_shift)) = STATE_LIVE;
  return cell;
}

static inline void *allocate_fast(size_t size) {
  if (UNLIKELY(size >= SMALL_LIMIT)) return NULL;
  return allocate_from(mutator_fast.buffer[size >> GRANULE_SHIFT]);
}

/* The smallest class of cells of at least size + 1 bytes that are aligned so, CLASS_SMALL_END when
   there is none. Spans begin at multiples of 64 KiB, so a size divisible by the alignment will do.
 */
static inline unsigned class_aligned(size_t alignment, size_t size) {
  size_t least = size_max(size, alignment - 1);
  if (least >= SMALL_LIMIT) return CLASS_SMALL_END;
  unsigned class = size_class_of(least);
  while (size_classes[class].size & (alignment - 1))
    class ++; /* the last one is the limit itself */
  return class;
}

static inline void *allocate_aligned_fast(size_t alignment, size_t size) {
  unsigned class = class_aligned(alignment, size);
  return LIKELY(class < CLASS_SMALL_END) ? allocate_from(class * (uint32_t)sizeof(struct buffer))
                                         : NULL;
}

/* The size of the cell of the object that begins here; 0 where no cell does, and where more is to
   be known than that it is live: pinned, suspected or condemned objects take the long way. */
static inline size_t cell_size_fast(const void *pointer) {
  uintptr_t address = (uintptr_t)pointer, offset = address - heap.base;
  if (UNLIKELY(offset >= heap.size)) return 0;
  const struct size_class *c = &size_classes[heap.page_class[offset >> HEAP_PAGE_SHIFT]];
  if (UNLIKELY(!is_at_step(address, c->state_shift))) return 0;
  /* Of classes without cells the size is 0: the states of what is not committed cannot be read. */
  return c->size && LIKELY(*state_in_class(c, address) == STATE_LIVE) ? c->size : 0;
}

/* Is the object that begins here the right one for so many bytes, too? Writes nothing. */
static inline bool fits_fast(const void *pointer, size_t size) {
  size_t cell = cell_size_fast(pointer);
  return size < cell && size >= cell / 2;
}

static inline bool release_fast(void *pointer) {
  uintptr_t address = (uintptr_t)pointer, offset = address - heap.base;
  if (LIKELY(offset < heap.size)) {
    unsigned class = heap.page_class[offset >> HEAP_PAGE_SHIFT];
    struct buffer *buffer =
        (struct buffer *)((char *)&mutator_fast.dummy.buffers[class] + self.displacement);
    OPAQUE(buffer);
    uint64_t count = buffer->count; /* so, and `at` so, gcc 12 makes no copies of them */
    OPAQUE(count);
    if (LIKELY((uint32_t)count < buffer->limit) &&
        LIKELY(!((uint32_t)address & buffer->state_rest))) {
      uintptr_t at = address;
      OPAQUE(at);
      at >>= buffer->state_shift;
      at += buffer->states;
      uint8_t *state = (uint8_t *)at;
      if (UNLIKELY(*state != STATE_LIVE)) return false;
      *state = STATE_NONE;
      COMPILER_BARRIER();
      buffer->slot[count] = buffer->hot;
      COMPILER_BARRIER();
      buffer->hot = pointer;
      COMPILER_BARRIER();
      buffer->count = (uint32_t)count + 1;
      return true;
    }
  }
  return false;
}

#endif
