/* batches.c: blocks allocated in batches and freed in the order they came, in the opposite order,
   and in strides.

   The shape of sh6bench and sh8bench (MicroQuill, for SmartHeap): many equal blocks of a size, then
   fewer of a larger one; whole batches wait and are freed first in first out, last in first out, or
   every seventh first. Sizes of 8 to 1000 bytes. Nothing is shared. */
#include "micro.h"

enum { SIZES = 40, BATCHES = 3, BLOCKS = 60000, ROUNDS = 36 };

struct batch {
  unsigned count;
  void *block[BLOCKS];
  uint16_t size[BLOCKS];
};

static void fill(struct batch *batch, uint64_t *state, unsigned most) {
  batch->count = 0;
  for (unsigned i = 0; i < SIZES; i++) {
    size_t size = 8 + random_skewed(state, 0, 992);
    unsigned count = (unsigned)(100000 / (size + 60)) + 1;
    for (; count > 0 && batch->count < most; count--, batch->count++) {
      void *block = get(size);
      stamp(block, size, *state + batch->count);
      batch->block[batch->count] = block;
      batch->size[batch->count] = (uint16_t)size;
    }
  }
}

static uint64_t release(struct batch *batch, unsigned i) {
  uint64_t value = check_stamp(batch->block[i], batch->size[i]);
  free(batch->block[i]);
  return value;
}

static uint64_t empty(struct batch *batch, unsigned order) {
  enum { STRIDE = 7 };
  uint64_t sum = 0;
  unsigned count = batch->count;
  if (order == 0)
    for (unsigned i = 0; i < count; i++) sum += release(batch, i);
  else if (order == 1)
    for (unsigned i = count; i-- > 0;) sum += release(batch, i);
  else
    for (unsigned first = 0; first < STRIDE; first++)
      for (unsigned i = first; i < count; i += STRIDE) sum += release(batch, i);
  batch->count = 0;
  return sum;
}

static uint64_t work(unsigned index, void *argument) {
  const unsigned *settings = argument;
  struct batch *batches = calloc(BATCHES, sizeof *batches);
  if (batches == NULL) give_up("calloc");
  uint64_t state = index + 1, sum = 0;
  uint64_t rounds = share_of(ROUNDS * 3, settings[1], settings[0]);
  for (uint64_t i = 0; i < rounds; i++) {
    sum += empty(&batches[i % BATCHES], i / BATCHES % 3);
    fill(&batches[i % BATCHES], &state, BLOCKS / settings[0]);
  }
  for (unsigned i = 0; i < BATCHES; i++) sum += empty(&batches[i], i);
  free(batches);
  return sum;
}

uint64_t run_batches(unsigned threads, unsigned percent) {
  unsigned settings[] = {threads, percent};
  return run_in_threads(threads, work, settings);
}
