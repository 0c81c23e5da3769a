/* growth.c: strings and arrays that grow by realloc.

   The realloc share of t-test1 (Gloger 1997, for ptmalloc) taken for itself, in the two ways in
   which programs grow what they hold: strings to which a few bytes are added at a time, to the
   exact size; arrays that double. Several grow in turns, so that a block seldom has room behind
   it. */
#include "micro.h"

enum { STRINGS = 400, LONGEST = 3000, ARRAYS = 30, LARGEST = 1 << 20, APPENDS = 4000000 };

struct text {
  char *bytes;
  size_t length;
};

static void *resize(void *block, size_t size) {
  block = realloc(block, size);
  if (block == NULL) give_up("realloc");
  return block;
}

static uint64_t append(struct text *text, uint64_t *state) {
  uint64_t r = next_random(state), value = 0;
  size_t more = 4 + r % 29;
  if (text->length + more > LONGEST) {
    for (size_t i = 0; i < text->length; i += 61)
      value = value * 31 + (unsigned char)text->bytes[i];
    free(text->bytes);
    *text = (struct text){NULL, 0};
  }
  text->bytes = resize(text->bytes, text->length + more);
  memset(text->bytes + text->length, (int)(r >> 40), more);
  text->length += more;
  return value;
}

static uint64_t grow_strings(uint64_t appends) {
  struct text strings[STRINGS] = {{NULL, 0}};
  uint64_t state = 1, sum = 0;
  for (; appends > 0; appends--) sum += append(&strings[random_below(&state, STRINGS)], &state);
  for (int i = 0; i < STRINGS; i++) free(strings[i].bytes);
  return sum;
}

static uint64_t grow_arrays(uint64_t rounds) {
  uint64_t sum = 0;
  for (; rounds > 0; rounds--) {
    uint64_t *arrays[ARRAYS] = {NULL};
    size_t used = 0;
    for (size_t capacity = 4; capacity * sizeof **arrays <= LARGEST / ARRAYS * 4; capacity *= 2) {
      for (int i = 0; i < ARRAYS; i++) {
        arrays[i] = resize(arrays[i], capacity * sizeof **arrays);
        for (size_t k = used; k < capacity; k++) arrays[i][k] = rounds + k * (unsigned)i;
      }
      used = capacity;
    }
    for (int i = 0; i < ARRAYS; i++) {
      for (size_t k = 0; k < used; k += 97) sum = sum * 31 + arrays[i][k];
      free(arrays[i]);
    }
  }
  return sum;
}

uint64_t run_growth(unsigned threads, unsigned percent) {
  (void)threads;
  uint64_t sum = grow_strings(share_of(APPENDS, percent, 1));
  return sum + grow_arrays(share_of(APPENDS / 60000, percent, 1));
}
