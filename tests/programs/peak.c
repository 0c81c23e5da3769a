/* peak.c: what a peak took goes back to the kernel while the program does nothing: no call that
   allocates or frees. peak own: the thread that made the blocks frees them and waits; peak others:
   another one frees them, while their maker waits all the time. */
#include "program.h"

enum { LIVE = 10 << 20, PEAK = 100 << 20, MOST = 3000, SECONDS = 10 };

struct link {
  struct link *next;
};
static struct link *peak;
static pthread_barrier_t together;
static int wake[2];
static bool by_maker;

static struct link *make(size_t bytes, uint64_t seed) {
  struct link *list = NULL;
  for (size_t done = 0; done < bytes;) {
    size_t size = 16 + next_random(&seed) % (next_random(&seed) % 4 ? 200 : MOST);
    struct link *link = malloc(size);
    CHECK(link != NULL);
    memset(link, 1, size);
    link->next = list;
    list = link;
    done += size;
  }
  return list;
}

static void drop(struct link *list) {
  for (struct link *next; list != NULL; list = next) {
    next = list->next;
    free(list);
  }
}

static void *make_peak(void *unused) {
  char byte;
  peak = make(PEAK, 7);
  pthread_barrier_wait(&together);
  if (by_maker) drop(peak);
  pthread_barrier_wait(&together);
  CHECK(read(wake[0], &byte, 1) == 1);
  return unused;
}

int main(int count, char **arguments) {
  by_maker = count == 2 && strcmp(arguments[1], "own") == 0;
  pthread_t maker;
  CHECK(pipe(wake) == 0 && pthread_barrier_init(&together, NULL, 2) == 0);
  struct link *live = make(LIVE, 3);
  CHECK(pthread_create(&maker, NULL, make_peak, NULL) == 0);
  pthread_barrier_wait(&together);
  if (!by_maker) drop(peak);
  pthread_barrier_wait(&together);
  peak = NULL;
  long most = (LIVE + LIVE / 2) / 1024 + 6 * 1024, now = 0; /* KiB; code, stacks and tables too */
  for (int i = 0; i < SECONDS * 10 && (i == 0 || now > most); i++) {
    usleep(100000);
    now = resident_kib();
  }
  if (collector != NULL && now > most) fail("%ld KiB stay, at most %ld", now, most);
  printf("held\n");
  drop(live);
  CHECK(write(wake[1], "", 1) == 1 && pthread_join(maker, NULL) == 0);
  return 0;
}
