/* server.c: a server whose blocks are freed by other threads and whose threads are replaced.

   After Larson and Krishnan 1998 ("Memory Allocation for Long-Running Server Applications"): a
   worker holds a set of blocks of 10 to 500 bytes, replaces some at random, and ends; its successor
   takes the set over, so that most blocks are freed by a thread that did not allocate them. Each
   of the chains of workers has its own set and its own random numbers. */
#include "micro.h"

#include <pthread.h>

enum { BLOCKS = 5000, LEAST = 10, MOST = 500, LIVES = 60, TURNS = 180000 };

struct chain {
  pthread_t successor;
  uint64_t state, sum, turns;
  unsigned lives;
  size_t size[BLOCKS];
  void *block[BLOCKS];
};

static void replace(struct chain *chain, unsigned i) {
  if (chain->block[i] != NULL) {
    chain->sum += check_stamp(chain->block[i], chain->size[i]);
    free(chain->block[i]);
  }
  chain->size[i] = LEAST + random_below(&chain->state, MOST - LEAST);
  chain->block[i] = get(chain->size[i]);
  stamp(chain->block[i], chain->size[i], chain->state);
}

static void *live(void *argument) {
  struct chain *chain = argument;
  for (uint64_t i = 0; i < chain->turns; i++)
    replace(chain, (unsigned)random_below(&chain->state, BLOCKS));
  return NULL;
}

/* One worker after the other; the chain's keeper only waits. */
static uint64_t keep_chain(unsigned index, void *argument) {
  const unsigned *settings = argument;
  struct chain *chain = calloc(1, sizeof *chain);
  if (chain == NULL) give_up("calloc");
  chain->state = index + 1;
  chain->turns = share_of(TURNS, settings[1], settings[0]);
  for (unsigned i = 0; i < BLOCKS; i++) replace(chain, i);
  for (chain->lives = LIVES; chain->lives > 0; chain->lives--)
    if (pthread_create(&chain->successor, NULL, live, chain) != 0 ||
        pthread_join(chain->successor, NULL) != 0)
      give_up("pthread_create");
  for (unsigned i = 0; i < BLOCKS; i++) {
    chain->sum += check_stamp(chain->block[i], chain->size[i]);
    free(chain->block[i]);
  }
  uint64_t sum = chain->sum;
  free(chain);
  return sum;
}

uint64_t run_server(unsigned threads, unsigned percent) {
  unsigned settings[] = {threads, percent};
  return run_in_threads(threads, keep_chain, settings);
}
