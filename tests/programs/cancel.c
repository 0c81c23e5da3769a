/* cancel.c: a thread that is blocked in one of the interposed calls can be cancelled, its cleanup
   handlers run, and what it blocked in works afterwards. A thread that disabled cancellation
   stays in its call until the call ends.

   `cancel NAME` tries one call only. */
#include "blocking_calls.h"

enum { LONG = 3000, EARLY = 20, SHORT = 60 }; /* milliseconds */

static const struct call *current;
static volatile int cleaned, came_back;
static bool disabled;

static void clean(void *unused) {
  (void)unused;
  cleaned++;
}

static void *run_call(void *unused) {
  int old;
  if (disabled) CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old) == 0);
  pthread_cleanup_push(clean, NULL);
  current->run();
  came_back++;
  pthread_cleanup_pop(0);
  return unused;
}

static bool try_call(const struct call *call, bool enabled) {
  void *result = NULL;
  limit_ms = enabled ? LONG : SHORT;
  calls_prepare();
  if (call->start != NULL) call->start();
  current = call;
  cleaned = came_back = 0;
  disabled = !enabled;
  double begin = seconds_now();
  CHECK(pthread_create(&caller, NULL, run_call, NULL) == 0);
  rest_ms(EARLY);
  CHECK(pthread_cancel(caller) == 0);
  if (!enabled && call->release != NULL) {
    rest_ms(SHORT);
    call->release();
  }
  pthread_join(caller, &result);
  if (call->run == call_aio_suspend) release_byte();
  calls_clear();
  double took = seconds_now() - begin;
  bool good = enabled ? result == PTHREAD_CANCELED && cleaned == 1 && came_back == 0 && took < 2
                      : result == NULL && cleaned == 0 && came_back == 1;
  printf("%-22s %s%s\n", call->name, enabled ? "cancelled" : "not cancelled while disabled",
         good ? "" : "   <- WRONG");
  fflush(stdout);
  return good;
}

int main(int count, char **arguments) {
  int wrong = 0, ran = 0;
  calls_setup();
  for (int i = 0; i < CALLS; i++) {
    if (count > 1 && strcmp(arguments[1], calls[i].name) != 0) continue;
    if (!calls[i].not_cancellable) wrong += !try_call(&calls[i], true);
    if (calls[i].run == call_nanosleep || calls[i].run == call_read)
      wrong += !try_call(&calls[i], false);
    ran++;
  }
  printf("%d of %d wrong\n", wrong, ran);
  return ran == 0 ? 77 : wrong != 0;
}
