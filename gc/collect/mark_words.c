/* mark_words.c: the way of words from where they were found to the mark stack; see marker.h.

   In batches: for each word of one the cell is found that it points into, and the word of a bitmap
   in which that is noted is asked for; when the next batch comes it is there. Each step is a loop
   of its own, with as few branches as can be that depend on what is in the heap: one that is
   foreseen wrongly for each object costs a fifth of the time that an object takes. */
#include "collect/marker.h"

/* One who marks alone, or two as a pair. There is room for all of them on the stack. */
static inline __attribute__((always_inline)) void settle_plainly(struct marker *w, size_t count,
                                                                 ptrdiff_t other) {
  size_t depth = w->depth;
  for (size_t i = 0; i < count; i++) {
    struct candidate found = w->candidates[i];
    uint64_t mine = atomic_get(found.word), before = mine;
    if (other) before |= atomic_get(found.word + other);
    uint64_t new = found.bit & ~before;
    atomic_set(found.word, mine | new);
    w->stack[depth] = found.object;
    depth += new != 0;
  }
  w->depth = depth;
}

static inline bool has_room(struct marker *w, size_t count) {
  return w->committed - w->depth >= count ||
         (marker_grow_stack(w) && w->committed - w->depth >= count);
}

static inline void settle_all(struct marker *w) {
  size_t count = w->asked;
  if (UNLIKELY(marking.by_pages)) marker_settle_by_pages(w, count);
  else if (!marking.helpers && LIKELY(has_room(w, count))) settle_plainly(w, count, 0);
  else if (marking.pair && LIKELY(has_room(w, count))) settle_plainly(w, count, w->other);
  else
    for (size_t i = 0; i < count; i++) settle(w, w->candidates[i]);
}

static inline void locate_all(struct marker *w) {
  size_t asked = 0;
  for (size_t i = 0; i < w->waiting; i++) {
    struct place place;
    if (!locate(w->words[i], &place)) continue;
    uint64_t *word = word_of_place(w->marks[object_class(place.object)], place);
    __builtin_prefetch(word, 1);
    if (w->other) __builtin_prefetch(word + w->other);
    w->candidates[asked++] = (struct candidate){word, bit_of_place(place), place.object};
  }
  w->asked = asked;
  w->waiting = 0;
}

void marker_consider(struct marker *w) {
  settle_all(w);
  locate_all(w);
}

/* The one word of an object that led to no other, as in a list: not by way of three stores. */
static inline bool follow(struct marker *w, object *next) {
  struct place place;
  w->waiting = 0;
  if (!locate(w->words[0], &place)) return false;
  uint64_t *word = word_of_place(w->marks[object_class(place.object)], place);
  if (!mark(w, word, bit_of_place(place))) return false;
  *next = place.object;
  return true;
}

bool marker_consider_rest(struct marker *w, object *next) {
  if (w->waiting == 1 && !w->asked && !marking.by_pages) return follow(w, next);
  settle_all(w);
  locate_all(w);
  settle_all(w);
  w->asked = 0;
  if (w->depth - w->bottom != 1) return false;
  *next = w->stack[--w->depth];
  return true;
}
