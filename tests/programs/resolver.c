/* resolver.c: the program's own indirect function chooses by malloc and free. Its resolver runs
   while the loader relocates the program: no constructor has run, thread-local storage is still to
   be filled, and what was written there before is forgotten. What it made is kept all the same.
   resolver */
#include "program.h"

enum { MADE = 200, SIZE = 300 };
static void *made[MADE];
static bool freed;

static int plainly(int number) { return number + 1; }

/* For each class a few, more than a buffer holds of one of them, and large ones; some are freed. */
__attribute__((used)) static int (*choose(void))(int) {
  void *passing[40] = {0};
  for (int i = 0; i < MADE; i++) {
    made[i] = malloc(SIZE);
    free(passing[i % 40]);
    passing[i % 40] = malloc((size_t)(i * i * 7));
  }
  for (int i = 0; i < 40; i++) free(passing[i]);
  for (int i = 0; i < MADE; i++)
    for (int j = 0; j < SIZE; j++) ((char *)made[i])[j] = (char)(i + j);
  freed = made[0] != NULL && made[0] != made[1];
  return plainly;
}

int chosen(int number) __attribute__((ifunc("choose")));

static void *collect_ten_times(void *unused) {
  for (int turn = 0; turn < 10; turn++) {
    collect();
    for (int i = 0; i < 1000; i++) memset(malloc(SIZE), 0x5a, SIZE);
  }
  return unused;
}

int main(void) {
  pthread_t thread;
  if (made[0] == NULL) not_possible("the resolver runs elsewhere");
  CHECK(freed && chosen(1) == 2);
  free(malloc(1)); /* the first time since */
  CHECK(pthread_create(&thread, NULL, collect_ten_times, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  for (int i = 0; i < MADE; i++) {
    for (int j = 0; j < SIZE; j++) CHECK(((char *)made[i])[j] == (char)(i + j));
    free(made[i]);
  }
  printf("held\n");
  return 0;
}
