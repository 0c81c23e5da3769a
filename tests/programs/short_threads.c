/* short_threads.c: threads come and go, and each frees a little: short_threads THREADS BYTES
   [SIZE]. Under free=quarantine what they freed adds up all the same. SIZE is that of a block, 990
   if it is missing. */
#include "program.h"

#include <pthread.h>

static size_t bytes, size = 990;

static void *make_and_free(void *unused) {
  for (size_t done = 0; done < bytes; done += size) {
    char *block = malloc(size);
    CHECK(block);
    memset(block, 0x11, size);
    free(block);
  }
  return unused;
}

int main(int count, char **arguments) {
  if (count != 3 && count != 4) return 2;
  if (count == 4) size = strtoul(arguments[3], NULL, 0);
  bytes = strtoul(arguments[2], NULL, 0);
  for (unsigned long left = strtoul(arguments[1], NULL, 0); left; left--) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, make_and_free, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  return 0;
}
