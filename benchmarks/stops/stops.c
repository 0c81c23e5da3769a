/* stops.c: how long it takes to stop threads that wait and threads that run.

   stops WAITING RUNNING COLLECTIONS: WAITING threads wait for a condition, RUNNING ones compute;
   then the main thread asks for so many collections, a millisecond apart. The times stand in the
   collector's log. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static atomic_int started;
static atomic_bool ending;

static void *wait_for_end(void *unused) {
  (void)unused;
  free(malloc(100));
  pthread_mutex_lock(&mutex);
  started++;
  while (!ending) pthread_cond_wait(&never, &mutex);
  pthread_mutex_unlock(&mutex);
  return NULL;
}

static void *compute(void *unused) {
  (void)unused;
  free(malloc(100));
  started++;
  while (!ending)
    ;
  return NULL;
}

int main(int count, char **arguments) {
  int waiting = count == 4 ? atoi(arguments[1]) : -1;
  int running = count == 4 ? atoi(arguments[2]) : -1;
  int collections = count == 4 ? atoi(arguments[3]) : 0;
  if (waiting < 0 || running < 0 || collections < 1) {
    fprintf(stderr, "usage: stops WAITING RUNNING COLLECTIONS\n");
    return 2;
  }
  void (*collect)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "reclaim_collect");
  if (collect == NULL) {
    fprintf(stderr, "stops: Reclaim is not preloaded\n");
    return 2;
  }
  pthread_t *threads = calloc((size_t)(waiting + running) + 1, sizeof *threads);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 * 1024);
  for (int i = 0; i < waiting + running; i++)
    if (pthread_create(&threads[i], &attributes, i < waiting ? wait_for_end : compute, NULL) != 0) {
      perror("stops: pthread_create");
      return 1;
    }
  while (started < waiting + running) usleep(1000);
  usleep(100000);
  for (int i = 0; i < collections; i++) {
    collect();
    usleep(1000);
  }
  pthread_mutex_lock(&mutex);
  ending = true;
  pthread_cond_broadcast(&never);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < waiting + running; i++) pthread_join(threads[i], NULL);
  free(threads);
  return 0;
}
