/* remote.c: every block is freed by another thread than the one that allocated it.

   The shape of xmalloc-test (Lever and Boreham 2000, "malloc() Performance in a Multithreaded Linux
   Environment"): half of the threads allocate blocks of 16 to 400 bytes in batches, the others take
   batches over and free them. The queue between them is bounded, guarded by one mutex. */
#include "micro.h"

#include <pthread.h>
#include <stdbool.h>

enum { BATCH = 2000, QUEUE = 16, LEAST = 16, MOST = 400, BLOCKS = 8000000 };

struct batch {
  size_t size[BATCH];
  void *block[BATCH];
};

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t filled, emptied;
  struct batch *batch[QUEUE];
  unsigned count, producers;
} queue = {.mutex = PTHREAD_MUTEX_INITIALIZER,
           .filled = PTHREAD_COND_INITIALIZER,
           .emptied = PTHREAD_COND_INITIALIZER};

struct task {
  unsigned threads, percent;
};

static void hand_over(struct batch *batch) {
  pthread_mutex_lock(&queue.mutex);
  while (queue.count == QUEUE) pthread_cond_wait(&queue.emptied, &queue.mutex);
  queue.batch[queue.count++] = batch;
  pthread_cond_signal(&queue.filled);
  pthread_mutex_unlock(&queue.mutex);
}

/* NULL when all producers have ended and nothing is left. */
static struct batch *take_over(void) {
  pthread_mutex_lock(&queue.mutex);
  while (queue.count == 0 && queue.producers > 0) pthread_cond_wait(&queue.filled, &queue.mutex);
  struct batch *batch = queue.count > 0 ? queue.batch[--queue.count] : NULL;
  pthread_cond_signal(&queue.emptied);
  pthread_mutex_unlock(&queue.mutex);
  return batch;
}

static uint64_t produce(unsigned index, const struct task *task) {
  uint64_t state = index + 1;
  for (uint64_t n = share_of(BLOCKS / BATCH, task->percent, task->threads / 2); n > 0; n--) {
    struct batch *batch = get(sizeof *batch);
    for (int i = 0; i < BATCH; i++) {
      batch->size[i] = random_skewed(&state, LEAST, MOST);
      batch->block[i] = get(batch->size[i]);
      stamp(batch->block[i], batch->size[i], state);
    }
    hand_over(batch);
  }
  pthread_mutex_lock(&queue.mutex);
  queue.producers--;
  pthread_cond_broadcast(&queue.filled);
  pthread_mutex_unlock(&queue.mutex);
  return 0;
}

static uint64_t consume(void) {
  uint64_t sum = 0;
  for (struct batch *batch; (batch = take_over()) != NULL; free(batch))
    for (int i = 0; i < BATCH; i++) {
      sum += check_stamp(batch->block[i], batch->size[i]);
      free(batch->block[i]);
    }
  return sum;
}

static uint64_t take_part(unsigned index, void *task) {
  return index % 2 == 0 ? produce(index, task) : consume();
}

uint64_t run_remote(unsigned threads, unsigned percent) {
  if (threads % 2 != 0) give_up("remote takes an even number of threads");
  struct task task = {threads, percent};
  queue.producers = threads / 2;
  return run_in_threads(threads, take_part, &task);
}
