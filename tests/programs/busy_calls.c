/* busy_calls.c: thousands of blocking calls while the collector has something to do: freed pages
   wait to be given back. busy_calls THREADS CALLS */
#include "program.h"

#include <poll.h>

static int ends[2];

static void *wait_for_end(void *unused) {
  char byte;
  CHECK(read(ends[0], &byte, 1) == 0);
  return unused;
}

int main(int count, char **arguments) {
  CHECK(count == 3);
  pthread_t thread;
  bool threads = atoi(arguments[1]) > 1;
  int calls = atoi(arguments[2]);
  static void *blocks[4000];
  CHECK(pipe(ends) == 0);
  if (threads) CHECK(pthread_create(&thread, NULL, wait_for_end, NULL) == 0);
  for (int i = 0; i < 4000; i++) memset(blocks[i] = malloc(4000), 1, 4000);
  for (int i = 0; i < 4000; i++) free(blocks[i]);
  collect();
  for (int i = 0; i < calls; i++) CHECK(poll(NULL, 0, 0) == 0);
  CHECK(close(ends[1]) == 0);
  if (threads) CHECK(pthread_join(thread, NULL) == 0);
  printf("held\n");
  return 0;
}
