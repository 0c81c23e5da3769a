/* eintr.c: no call comes back early because the collector stopped its thread, and every call
   comes back early when a signal of the program's own says so.

   Run with collections at short intervals (collect-every-ms=1); without the library it shows what
   libc does. Prints one line a call; fails if one was cut short in the first part, or was not
   interrupted in the second, or if errno changed under a call that succeeded.

   `eintr NAME` runs one call only. */
#include "blocking_calls.h"

#include <setjmp.h>

enum { LIMIT = 60, LONG = 3000, EARLY = 20, LATE = 1000 }; /* milliseconds */
enum { UNTOUCHED = EXDEV };                                /* an errno that no call here sets */

static struct {
  const struct call *call;
  long result;
  int error;
  double seconds;
  volatile bool begun;
} run;

static void *run_call(void *unused) {
  double begin = seconds_now();
  run.begun = true;
  errno = UNTOUCHED;
  run.result = run.call->run();
  run.error = errno;
  run.seconds = seconds_now() - begin;
  return unused;
}

static void begin_call(const struct call *call, int milliseconds) {
  limit_ms = milliseconds;
  calls_prepare();
  if (call->start != NULL) call->start();
  run.call = call;
  run.begun = false;
  CHECK(pthread_create(&caller, NULL, run_call, NULL) == 0);
  while (!run.begun) rest_ms(1); /* on a busy machine that takes its time */
}

static void end_call(void) {
  pthread_join(caller, NULL);
  if (run.call->run == call_aio_suspend) release_byte();
  calls_clear();
}

static bool report(bool good) {
  printf("%-22s result %ld%s%s after %.1f ms%s\n", run.call->name, run.result,
         run.result == -1 ? ", " : "", run.result == -1 ? strerrorname_np(run.error) : "",
         run.seconds * 1e3, good ? "" : "   <- WRONG");
  fflush(stdout);
  return good;
}

/* Left alone by the program, the call takes its time and gives its result. */
static bool stays_whole(const struct call *call) {
  double least = (LIMIT - (call->coarse ? 10 : 0)) * 1e-3;
  begin_call(call, LIMIT);
  if (call->release != NULL) {
    rest_ms(LIMIT + 10);
    call->release();
  }
  end_call();
  return report(
      run.result == call->result &&
      (run.result == -1 ? run.error == call->error : run.error == UNTOUCHED || run.error == 0) &&
      run.seconds >= least && run.seconds < (LIMIT + LATE) * 1e-3 + 1.0);
}

/* A signal of the program interrupts it. */
static bool is_interrupted(const struct call *call) {
  long all = call->result;
  begin_call(call, LONG);
  rest_ms(EARLY);
  for (int i = 0; i < 3 && run.call == call; i++) {
    /* Once may be too early on a busy machine. */
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 1;
    pthread_kill(caller, SIGUSR1);
    if (pthread_timedjoin_np(caller, NULL, &end) == 0) break;
    if (i == 2) fail("%s: not interrupted", call->name);
  }
  if (call->run == call_aio_suspend) release_byte();
  calls_clear();
  bool cut = call->whole ? run.result > 0 && run.result < all
                         : run.result == -1 && (run.error == EINTR || call->run == call_sleep);
  return report(cut && run.seconds < LONG * 1e-3);
}

/* A handler may jump out of a call; the next one is as whole as ever. */
static sigjmp_buf escape;
static void jump_out(int number) {
  (void)number;
  siglongjmp(escape, 1);
}
static void *jump_and_call(void *unused) {
  struct timespec forever = {1000, 0};
  for (volatile int i = 0; i < 20; i++)
    if (sigsetjmp(escape, 1) == 0) {
      ualarm(2000 + (unsigned)i * 100, 0);
      nanosleep(&forever, NULL);
      fail("nanosleep returned");
    }
  return run_call(unused);
}
static bool survives_jumps(void) {
  struct sigaction action = {.sa_handler = jump_out}, old;
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  sigaction(SIGALRM, &action, &old);
  limit_ms = LIMIT;
  calls_prepare();
  run.call = &calls[0];
  CHECK(pthread_create(&caller, NULL, jump_and_call, NULL) == 0);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, &before) == 0);
  pthread_join(caller, NULL);
  CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
  calls_clear();
  sigaction(SIGALRM, &old, NULL);
  return report(run.result == 0 && run.seconds >= LIMIT * 1e-3);
}

int main(int count, char **arguments) {
  int wrong = 0, ran = 0;
  calls_setup();
  for (int part = 1; part <= 2; part++) {
    printf(part == 1 ? "-- left alone by the program\n" : "-- interrupted by the program\n");
    for (int i = 0; i < CALLS; i++)
      if (count < 2 || strcmp(arguments[1], calls[i].name) == 0) {
        wrong += part == 1 ? !stays_whole(&calls[i]) : !is_interrupted(&calls[i]);
        ran++;
      }
  }
  if (count < 2) {
    printf("-- after jumps out of handlers\n");
    wrong += !survives_jumps();
    ran++;
  }
  printf("%d of %d wrong\n", wrong, ran);
  return ran == 0 ? 77 : wrong != 0;
}
