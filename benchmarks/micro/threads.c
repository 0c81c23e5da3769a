/* threads.c: threads that are made, allocate one small block, and end.

   The cost of a thread's first malloc and of its exit, as in Larson and Krishnan 1998 without the
   work in between, and in glibc's own bench-malloc-thread. With several threads each makes threads
   of its own, one after the other. */
#include "micro.h"

#include <pthread.h>

enum { THREADS = 20000 };

static void *allocate_once(void *argument) {
  uint64_t number = (uintptr_t)argument;
  size_t size = 16 + number % 100;
  void *block = get(size);
  stamp(block, size, number * 0x9e3779b97f4a7c15);
  uint64_t value = check_stamp(block, size);
  free(block);
  return (void *)(uintptr_t)value;
}

static uint64_t make_threads(unsigned index, void *argument) {
  const unsigned *settings = argument;
  uint64_t sum = 0;
  for (uint64_t n = share_of(THREADS, settings[1], settings[0]); n > 0; n--) {
    pthread_t thread;
    void *result;
    if (pthread_create(&thread, NULL, allocate_once, (void *)(uintptr_t)(n * 64 + index)) != 0 ||
        pthread_join(thread, &result) != 0)
      give_up("pthread_create");
    sum += (uintptr_t)result;
  }
  return sum;
}

uint64_t run_threads(unsigned threads, unsigned percent) {
  unsigned settings[] = {threads, percent};
  return run_in_threads(threads, make_threads, settings);
}
