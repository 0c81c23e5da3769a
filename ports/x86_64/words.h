/* words.h: looks for words that may point into an address range, many at a time.

   The upper half of a pointer to the heap is one of very few values, and hardly any data looks like
   it. So each four bytes are compared with those values: a hit is the upper half of a word that
   begins four bytes below. Words at steps of 4 and of 8 bytes so cost the same. By SSE2, which
   every x86-64 has; numbers in the comparison are signed there, so all are moved by half their
   range. */
#ifndef RECLAIM_WORDS_H
#define RECLAIM_WORDS_H

#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>

struct port_halves {
  __m128i add, below;
};

/* For words in [first, last], whose upper halves must not be all there are. */
static inline struct port_halves port_halves(uintptr_t first, uintptr_t last) {
  uint32_t low = (uint32_t)(first >> 32), span = (uint32_t)(last >> 32) - low;
  return (struct port_halves){_mm_set1_epi32((int32_t)(0x80000000u - low)),
                              _mm_set1_epi32((int32_t)(0x80000000u + span + 1))};
}

static inline __m128i port_halves_compare(const char *at, struct port_halves halves) {
  __m128i four = _mm_loadu_si128((const __m128i *)at);
  return _mm_cmplt_epi32(_mm_add_epi32(four, halves.add), halves.below);
}

/* Bit i: the four bytes at `at` + 4 i may be an upper half. 16 bytes are read. */
static inline uint32_t port_halves_of_16(const char *at, struct port_halves halves) {
  return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(port_halves_compare(at, halves)));
}

/* The same for four times 16 bytes, at these distances. */
static inline uint32_t port_halves_of_four(const char *at, size_t second, size_t third,
                                           size_t fourth, struct port_halves halves) {
  __m128i a = port_halves_compare(at, halves), b = port_halves_compare(at + second, halves);
  __m128i c = port_halves_compare(at + third, halves);
  __m128i d = port_halves_compare(at + fourth, halves);
  return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d)));
}

/* For 64 bytes. */
static inline uint32_t port_halves_of_64(const char *at, struct port_halves halves) {
  return port_halves_of_four(at, 16, 32, 48, halves);
}

#endif
