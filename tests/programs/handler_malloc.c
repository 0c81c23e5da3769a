/* handler_malloc.c: a timer's handler allocates and frees, a thousand times a second, while main
   and a second thread do the same. Forbidden by the standard, and common. handler_malloc SECONDS */
#include "program.h"

#include <sys/time.h>

static volatile unsigned long handled;
static volatile bool ending;

static void on_alarm(int number) {
  static unsigned turn;
  int saved = errno;
  unsigned char *blocks[4];
  (void)number;
  for (int i = 0; i < 4; i++) {
    size_t size = 16u << ((turn + (unsigned)i) % 10);
    blocks[i] = malloc(size);
    if (blocks[i] == NULL) fail("NULL in the handler");
    memset(blocks[i], 0x11 * (i + 1), size);
  }
  blocks[0] = realloc(blocks[0], 3000);
  for (int i = 0; i < 4; i++) {
    if (blocks[i][0] != 0x11 * (i + 1) || blocks[i][15] != 0x11 * (i + 1))
      fail("a block of the handler was overwritten");
    free(blocks[i]);
  }
  turn++;
  handled++;
  errno = saved;
}

static void *work(void *argument) {
  struct {
    void *block;
    size_t size;
    unsigned seed;
  } slots[256] = {0};
  uint64_t random = (uintptr_t)argument;
  while (!ending)
    for (int i = 0; i < 1000; i++) {
      uint64_t r = next_random(&random);
      size_t n = r % 256;
      if (slots[n].block != NULL) {
        if (!pattern_holds(slots[n].block, slots[n].size, slots[n].seed))
          fail("a block of the program was overwritten");
        free(slots[n].block);
      }
      slots[n].size = 1 + (r >> 32) % 2000;
      slots[n].seed = (unsigned)r;
      slots[n].block = malloc(slots[n].size);
      fill_pattern(slots[n].block, slots[n].size, slots[n].seed);
    }
  for (int n = 0; n < 256; n++) free(slots[n].block);
  return NULL;
}

static void *end_later(void *seconds) {
  double until = seconds_now() + *(double *)seconds;
  while (seconds_now() < until) usleep(20000);
  ending = true;
  return NULL;
}

int main(int count, char **arguments) {
  double seconds = count > 1 ? strtod(arguments[1], NULL) : 2;
  struct itimerval timer = {{0, 1000}, {0, 1000}};
  pthread_t second, clock;
  CHECK(pthread_create(&second, NULL, work, (void *)11) == 0);
  CHECK(pthread_create(&clock, NULL, end_later, &seconds) == 0);
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  work((void *)7);
  timer = (struct itimerval){0};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  CHECK(pthread_join(second, NULL) == 0 && pthread_join(clock, NULL) == 0);
  CHECK(handled > 100);
  puts("whole");
  return 0;
}
