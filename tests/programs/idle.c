/* idle.c: what threads hold that have nothing to do. Each has used blocks of many sizes, keeps one
   small one and waits in read; after a collection they hold little more than their stacks. */
#include "program.h"

enum {
  THREADS = 100,
  BLOCKS = 64,
  SIZES = 24,
  ROUNDS = 3,
  MOST = 64, /* KiB a thread, beyond what it held before it allocated */
};
static int wake[2];
static pthread_barrier_t together;
static void *kept[THREADS];

/* Sizes from 16 to some 27,000 bytes. */
static size_t size_of(int i) {
  size_t size = 16;
  while (i-- > 0) size += size / 3 + 3;
  return size;
}

static NOINLINE void allocate_and_free(void) {
  static __thread void *blocks[BLOCKS];
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < SIZES; i++) {
      for (int k = 0; k < BLOCKS; k++) {
        blocks[k] = malloc(size_of(i));
        CHECK(blocks[k] != NULL);
        memset(blocks[k], 1, size_of(i));
      }
      for (int k = 0; k < BLOCKS; k++) free(blocks[k]);
    }
}

static void *work(void *place) {
  char byte;
  pthread_barrier_wait(&together); /* all are there */
  pthread_barrier_wait(&together); /* and were measured */
  allocate_and_free();
  *(void **)place = malloc(100);
  fill_pattern(*(void **)place, 100, 7);
  pthread_barrier_wait(&together);
  CHECK(read(wake[0], &byte, 1) == 1);
  CHECK(pattern_holds(*(void **)place, 100, 7));
  allocate_and_free();
  return NULL;
}

int main(void) {
  pthread_t threads[THREADS];
  CHECK(pipe(wake) == 0);
  CHECK(pthread_barrier_init(&together, NULL, THREADS + 1) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, &kept[i]) == 0);
  pthread_barrier_wait(&together);
  collect();
  long before = resident_kib();
  pthread_barrier_wait(&together);
  pthread_barrier_wait(&together);
  usleep(100000); /* they reach their read */
  collect();
  collect();
  long after = resident_kib(), each = (after - before) / THREADS;
  if (collector == NULL || each <= MOST) printf("held\n");
  else fail("%ld KiB a thread", each);
  for (int i = 0; i < THREADS; i++) CHECK(write(wake[1], "", 1) == 1);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  return 0;
}
