/* sleeping.c: sleeps that a stop does not shorten (blocking.h).

   The rest of a sleep is reckoned from its entry, not from what the kernel says was left when it
   was interrupted: else a thread would sleep longer by each time it was held. */
#include "api/blocking.h"
#include "api/next.h"

#include <threads.h>
#include <unistd.h>

/* Relative sleeps on CLOCK_REALTIME do not follow when that clock is set. */
static clockid_t measuring_clock(clockid_t clock) {
  return clock == CLOCK_REALTIME ? CLOCK_MONOTONIC : clock;
}

static int64_t read_clock(clockid_t clock) {
  struct timespec now = {0, 0};

  clock_gettime(clock, &now); /* fails only for clocks that the sleep refuses too */
  return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request,
                           struct timespec *rest) {
  struct passage passage = PASSAGE(request, rest);
  struct timespec left;
  struct timespec unslept; /* the program's own may be *request, which is still needed */
  const struct timespec *next_request = request;
  bool relative = (flags & TIMER_ABSTIME) == 0;
  clockid_t measure = measuring_clock(clock);
  int64_t start = 0;
  int error;

  if (relative) start = read_clock(measure);
  errno = passage.error;
  while ((error = PARKED(&passage, NEXT(clock_nanosleep)(clock, flags, next_request, &unslept))) ==
             EINTR &&
         stopped_only(&passage)) {
    if (relative) {
      left = time_left(request, read_clock(measure) - start);
      next_request = &left;
    }
  }
  if (error == EINTR && relative && rest != NULL) *rest = unslept;
  return error;
}

EXPORT int nanosleep(const struct timespec *request, struct timespec *rest) {
  struct passage passage = PASSAGE(request, rest);
  struct timespec left;
  struct timespec unslept;
  const struct timespec *next_request = request;
  int64_t start = clock_now();
  int result = RETRY_AFTER(&passage, NEXT(nanosleep)(next_request, &unslept),
                           next_request = renew_timespec(request, start, &left));

  if (result < 0 && errno == EINTR && rest != NULL) *rest = unslept;
  return result;
}

/* The others sleep by nanosleep, as in libc. */

EXPORT int usleep(useconds_t microseconds) {
  struct timespec request = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};

  if (microseconds >= BLOCKING_REST) blocking_rest();
  return nanosleep(&request, NULL);
}

EXPORT unsigned int sleep(unsigned int seconds) {
  struct timespec request = {(time_t)seconds, 0};

  if (seconds > 0) blocking_rest();
  return nanosleep(&request, &request) < 0 ? (unsigned int)request.tv_sec : 0;
}

EXPORT int thrd_sleep(const struct timespec *request, struct timespec *rest) {
  int error = clock_nanosleep(CLOCK_REALTIME, 0, request, rest);

  return error == 0 ? 0 : error == EINTR ? -1 : -2;
}

ALIAS(__nanosleep, nanosleep);
