/* mark_scan.c: looks for words that may be pointers; see marker.h. */
#include "collect/marker.h"

static void settle_shapes(void) {
  for (unsigned class = 0; class <= CLASS_COUNT; class ++) {
    struct shape *shape = &marking.shapes[class];
    const struct size_class *c = &size_classes[class];
    uint32_t size = c->size, line = size_min(size, LINE);
    *shape = (struct shape){.states = c->states,
                            .object_shift = c->state_shift + (8 - GRANULE_SHIFT),
                            .far = (uint8_t)size_min(size - 1, LINE)};
    if (!size || size > 2 * LINE || marking.stride < 4 || marking.careful) continue;
    shape->small = true;
    shape->last = (uint8_t)(line - 16);
    shape->second = (uint8_t)size_min(16, shape->last);
    shape->third = (uint8_t)size_min(32, shape->last);
    shape->steps = at_steps((1u << line / 4) - 2);
    shape->last_hit = 1u << (line / 4 - 1);
    if (size == line) continue;
    shape->rest = (uint8_t)(size - LINE);
    uint32_t new = 0xffff & ~0u << (2 * LINE - size) / 4; /* what the first line did not show */
    shape->steps |= at_steps(new) << 16;
  }
}

void marker_choose_scan(const struct mark_words *words) {
  marking.words = *words;
  marking.words.demangle |= atomic_get(&marking.demangle);
  if (!PORT_JUMP_HIDES_POINTERS || WITHOUT(demangle)) marking.words.demangle = false;
  bool plain = !marking.words.demangle && !words->slop && !words->strip_high_bits;
  marking.stride = plain ? words->stride : 0;
  marking.guard = port_jump_guard();
  settle_shapes();
}

/* --- words that mean more than they say ------------------------------------------------------- */

/* Every object that begins in (word, word + slop], and the one that word lies in. Cells begin at
   granules, so one look for each cell, or for each granule where there is none, misses nothing. */
static void consider_below(struct marker *w, uintptr_t word, uintptr_t slop) {
  if (word - (marking.first - slop) >= marking.span + slop) return;
  uintptr_t last = word + slop, at = word < marking.first ? marking.first : word;
  while (at <= last && at - marking.first < marking.span) {
    struct cell cell;
    uintptr_t next = round_down(at, GRANULE) + GRANULE;
    if (cell_of(at, &cell)) {
      consider(w, at);
      next = size_max(next, cell.address + cell.page->size); /* a large object's run is longer */
    }
    at = next;
  }
}

static inline __attribute__((always_inline)) void scan_as(struct marker *w, uintptr_t begin,
                                                          uintptr_t last, unsigned stride,
                                                          bool strip, uintptr_t slop,
                                                          bool mangled) {
  for (uintptr_t at = begin; at <= last; at += stride) {
    uintptr_t word = load(at);
    /* jmp_buf is an array of longs: what is mangled is aligned. */
    if (mangled && (stride == 8 || at % 8 == 0))
      consider(w, port_jump_demangle(word, marking.guard));
    if (strip) word &= ((uintptr_t)1 << PORT_ADDRESS_BITS) - 1;
    if (slop) consider_below(w, word, slop);
    else consider(w, word);
  }
}

/* All loops but the plain one of scan, which shall not pay for these. One for a program that
   switches stacks by longjmp, at each stride that this may meet by default; the rest go by options
   that are off by default and share one loop. */
static NOINLINE void scan_slowly(struct marker *w, uintptr_t begin, uintptr_t last) {
  const struct mark_words *o = &marking.words;
  bool mangled_only = o->demangle && !o->slop && !o->strip_high_bits;
  bool stripped_only = o->strip_high_bits && !o->slop && !o->demangle;
  if (marking.stride) scan_as(w, begin, last, 1, false, 0, false);
  else if (mangled_only && o->stride == 4) scan_as(w, begin, last, 4, false, 0, true);
  else if (mangled_only && o->stride == 8) scan_as(w, begin, last, 8, false, 0, true);
  else if (stripped_only && o->stride == 4) scan_as(w, begin, last, 4, true, 0, false);
  else scan_as(w, begin, last, o->stride, o->strip_high_bits, o->slop, o->demangle);
}

/* Where all live objects are marked before, nearly every word leads to what is: looked at here, it
   need not wait for a batch. */
static inline void consider_unmarked(struct marker *w, uintptr_t at, uint32_t hits) {
  for (; hits; hits &= hits - 1) {
    uintptr_t word = word_of_hit(at, hits);
    struct place place;
    if (locate(word, &place) &&
        UNLIKELY(!(atomic_get(word_of_place(heap.marked, place)) & bit_of_place(place))))
      consider(w, word);
  }
}

static inline void consider_those(struct marker *w, uintptr_t at, uint32_t hits, bool live) {
  if (live) consider_unmarked(w, at, hits);
  else consider_hits(w, at, hits);
}

/* [begin, end) at steps of 4 or 8. begin is a multiple of the step. */
static inline __attribute__((always_inline)) void scan_plain(struct marker *w, uintptr_t begin,
                                                             uintptr_t end, bool live) {
  struct port_halves halves = marking.halves;
  uint32_t mine = 0xfffe; /* the first four bytes end a word that begins below */
  uintptr_t at = begin;
  for (; at + LINE <= end; at += LINE) {
    uint32_t hits = at_steps(port_halves_of_64((const char *)at, halves) & mine);
    consider_those(w, at, hits, live);
    mine = 0xffff;
  }
  uint32_t hits = 0;
  uintptr_t rest = at;
  for (; at + 16 <= end; at += 16)
    hits |= port_halves_of_16((const char *)at, halves) << (at - rest) / 4;
  hits = at_steps(hits & mine);
  consider_those(w, rest, hits, live);
  if (LIKELY(at == end)) return;
  /* No cell ends so, but a range of the program's may. */
  for (at = size_max(at - 8 + marking.stride, begin); at + 8 <= end; at += marking.stride)
    consider(w, load(at));
}

void marker_scan(struct marker *w, uintptr_t begin, uintptr_t end) {
  if (LIKELY(marking.stride >= 4)) {
    if (marking.live) scan_plain(w, begin, end, true);
    else scan_plain(w, begin, end, false);
  } else if (end - begin >= sizeof(uintptr_t)) scan_slowly(w, begin, end - sizeof(uintptr_t));
}
