/* zero_size.c: see zero_size.h. */
#include "mutator/zero_size.h"

#include "base/option.h"
#include "heap/heap.h"

enum { LOOKS = 64 /* for an address that is free, one after the other */ };

struct zero_size zero_size;

enum { PLAIN, ALIGNED, PARTS }; /* of all addresses: of so many each */
static struct {
  uint64_t *live;       /* a bit an address */
  uint64_t next[PARTS]; /* ever asked for */
} state;

void zero_size_start(void) {
  state.next[PLAIN] = state.next[ALIGNED] = 0;
  zero_size.size = 0;
  size_t size = PARTS * ZERO_SIZE_BLOCKS * GRANULE;
  state.live = heap_metadata(PARTS * ZERO_SIZE_BLOCKS / 8);
  void *begin = state.live ? heap_metadata_reserve(size) : NULL;
  if (begin) zero_size = (struct zero_size){(uintptr_t)begin, size};
}

/* Sets or clears a bit; was it the other way? */
static bool turn(size_t number, bool live) {
  uint64_t *word = &state.live[number / 64], bit = 1ull << (number % 64);
  uint64_t old = live ? __atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST)
                      : __atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST);
  return !(old & bit) == live;
}

void *zero_size_make(size_t alignment) {
  if (!zero_size.size || alignment > KERNEL_PAGE) return NULL;
  unsigned part = alignment > GRANULE ? ALIGNED : PLAIN;
  uint64_t step = size_max(alignment, GRANULE) / GRANULE; /* what lies between is left out */
  for (int i = 0; i < LOOKS; i++) {
    uint64_t number = round_up(atomic_add(&state.next[part], step), step);
    if (number >= ZERO_SIZE_BLOCKS && options.free_policy != FREE_TRUST) return NULL;
    number = part * ZERO_SIZE_BLOCKS + number % ZERO_SIZE_BLOCKS;
    if (turn(number, true)) return (void *)(zero_size.begin + number * GRANULE);
  }
  return NULL;
}

/* The block's number; false: none begins there. */
static bool number_of(const void *pointer, size_t *number) {
  size_t offset = (uintptr_t)pointer - zero_size.begin;
  *number = offset / GRANULE;
  return offset % GRANULE == 0;
}

bool zero_size_is_live(const void *pointer) {
  size_t number;
  return number_of(pointer, &number) && atomic_get(&state.live[number / 64]) >> (number % 64) & 1;
}

bool zero_size_release(const void *pointer) {
  size_t number;
  return number_of(pointer, &number) && turn(number, false);
}
