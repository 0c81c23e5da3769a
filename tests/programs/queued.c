/* queued.c: real-time signals in bursts, with values, while collections run as fast as they go:
   each arrives once, with its value, in its order, and lower numbers first. queued SECONDS

   One thread sends bursts of several numbers to another, which is the only one that has them open.
   It handles them by a handler, or lets a burst wait and takes it by sigwaitinfo. Who waits for the
   other spins, and sleeps when that takes long: one that yields gets the processor seldom where
   others compute. */
#include "reclaimed.h"

#include <sched.h>

enum { NUMBERS = 4, BURST = 32 }; /* a burst of each number, well below RLIMIT_SIGPENDING */
enum { FIRST = 3 };               /* above SIGRTMIN */

static volatile sig_atomic_t next[NUMBERS];
static volatile long handled;
static volatile int turn, done, ending;
static pthread_t receiver;

static void wait_a_little(unsigned *times) {
  struct timespec moment = {0, 50000};
  if ((*times)++ < 200) sched_yield();
  else nanosleep(&moment, NULL); /* handlers may cut it short */
}

static void take(int number, int value) {
  int which = number - SIGRTMIN - FIRST;
  if (which < 0 || which >= NUMBERS) fail("signal %d came out of nowhere", number);
  if (value != next[which]) fail("signal %d: value %d, not %d", number, value, (int)next[which]);
  next[which]++;
  handled++;
}

static void on_signal(int number, siginfo_t *info, void *context) {
  CHECK(info->si_code == SI_QUEUE && info->si_pid == getpid() && context != NULL);
  take(number, info->si_value.sival_int);
}

static void burst_set(sigset_t *set) {
  sigemptyset(set);
  for (int i = 0; i < NUMBERS; i++) sigaddset(set, SIGRTMIN + FIRST + i);
}

/* Odd bursts are taken by sigwaitinfo: the lowest number comes first, each in its order. */
static void *receive(void *unused) {
  sigset_t set;
  burst_set(&set);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
  for (int mine = 1; !ending; mine++) {
    if (mine % 2 != 0) CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    long before = handled;
    turn = mine;
    unsigned times = 0;
    while (done < mine && !ending) wait_a_little(&times);
    if (ending) break;
    if (mine % 2 != 0) {
      int last = 0;
      for (int i = 0; i < NUMBERS * BURST; i++) {
        siginfo_t info;
        int number = sigwaitinfo(&set, &info);
        if (number < last) fail("signal %d after %d (%s)", number, last, strerror(errno));
        take(last = number, info.si_value.sival_int);
      }
      CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
    }
    times = 0;
    while (handled < before + NUMBERS * BURST) wait_a_little(&times);
    if (handled > before + NUMBERS * BURST) fail("%ld signals too many", handled - before);
  }
  return unused;
}

static void *send_bursts(void *unused) {
  int sent = 0;
  for (int mine = 1; !ending; mine++) {
    unsigned times = 0;
    while (turn < mine && !ending) wait_a_little(&times);
    if (ending) break;
    for (int k = 0; k < BURST; k++, sent++)
      for (int i = NUMBERS; i-- > 0;) {
        union sigval value = {.sival_int = sent};
        int error;
        double since = seconds_now();
        while ((error = pthread_sigqueue(receiver, SIGRTMIN + FIRST + i, value)) != 0) {
          if (ending) return unused; /* the receiver has left */
          if (error != EAGAIN || seconds_now() > since + 20)
            fail("pthread_sigqueue: %s for %.1f s", strerror(error), seconds_now() - since);
          wait_a_little(&times); /* others of this user may have used up what may be pending */
        }
      }
    done = mine;
  }
  return unused;
}

int main(int count, char **arguments) {
  double seconds = count > 1 ? strtod(arguments[1], NULL) : 1;
  pthread_t sender, collecting;
  sigset_t set;
  burst_set(&set);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  for (int i = 0; i < NUMBERS; i++) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    CHECK(sigaction(SIGRTMIN + FIRST + i, &action, NULL) == 0);
  }
  CHECK(pthread_create(&receiver, NULL, receive, NULL) == 0);
  CHECK(pthread_create(&sender, NULL, send_bursts, NULL) == 0);
  CHECK(pthread_create(&collecting, NULL, collect_until_end, NULL) == 0);
  double end = seconds_now() + seconds;
  while (seconds_now() < end || turn < 4) usleep(10000);
  ending = 1;
  CHECK(pthread_join(sender, NULL) == 0 && pthread_join(receiver, NULL) == 0);
  collections_end = true;
  CHECK(pthread_join(collecting, NULL) == 0);
  CHECK(handled > NUMBERS * BURST);
  expect_garbage_back();
  puts("count, order and values are right");
  return 0;
}
