/* blocking.h: what the wrappers of blocking calls share.

   A stop signal of ours makes some calls return although its handler is installed with
   SA_RESTART: with EINTR, or with less than was asked for. A program must not see an EINTR that
   no handler of its own has earned; so each such call is interposed and repeated, with the time
   that is left, when since its entry only our stop ran in this thread.

   What every wrapper does:
     struct passage passage = passage_enter();
     result = libc's own function, so that cancellation works as ever;
     repeated while it failed and interrupted(&passage) says that the program need not know.

   Nothing outlives a wrapper's frame: a handler may longjmp out of it, a cancellation unwind it.

   A handler of the program that runs between the check and the repeated call does not interrupt
   it: some 100 ns for each collection, beside the like window between a program's own check and
   its call. It is closed for calls that swap the signal mask (ppoll, sigsuspend), as for any
   program: signals stay blocked outside the call.

   Not covered: blocking calls that libc makes by itself (stdio on a socket with a timeout), and
   raw system calls, futex waits with a timeout among them.

   Owner: the calling thread. */
#ifndef RECLAIM_BLOCKING_H
#define RECLAIM_BLOCKING_H

#include "base/base.h"
#include "base/remedy.h"
#include "mutator/self.h"

#include <errno.h>
#include <time.h>

/* Work that a single-threaded program does when it is about to block: idle collection, decay.
   Both are defined with that work; it keeps errno. */
extern HIDDEN int blocking_work_due;
HIDDEN void blocking_work(void);

static inline void blocking_enter(void) {
  if (UNLIKELY(atomic_get(&blocking_work_due))) blocking_work();
}

struct passage {
  uint32_t stops;    /* as last seen */
  uint32_t handlers; /* at entry */
  int error;         /* errno at entry: no trace is left of a failure that is made good */
};

static inline struct passage passage_enter(void) {
  blocking_enter();
  return (struct passage){atomic_get(&self.stops), atomic_get(&self.handlers), errno};
}

/* True once for each time that the thread was stopped, while no handler of the program ran. */
static inline bool stopped_only(struct passage *passage) {
  uint32_t stops = atomic_get(&self.stops);

  if (LIKELY(stops == passage->stops) || atomic_get(&self.handlers) != passage->handlers)
    return false;
  if (WITHOUT(restart_calls)) return false;
  passage->stops = stops;
  errno = passage->error;
  return true;
}

/* After a failure: is it an EINTR that the program must not see? */
static inline bool interrupted(struct passage *passage) {
  return errno == EINTR && stopped_only(passage);
}

/* Makes the call, and again while only a stop interrupted it. `renew` prepares a repetition. */
#define RETRY_AFTER(passage, call, renew)                                                          \
  __extension__({                                                                                  \
    __typeof__(call) result_;                                                                      \
    while ((result_ = (call)) < 0 && interrupted(passage)) {                                       \
      renew;                                                                                       \
    }                                                                                              \
    result_;                                                                                       \
  })
#define RETRY(passage, call) RETRY_AFTER(passage, call, (void)0)

/* The time left. A wrapper reads the clock at entry when the call is given a time, and looks at
   that time only once the call came back with EINTR: by then the pointer has proved valid. */

#define NANOSECONDS 1000000000

static inline int64_t clock_now(void) {
  struct timespec now;

  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

static inline int64_t clock_now_if(bool needed) { return needed ? clock_now() : 0; }

/* `request`, normalised, less `elapsed` nanoseconds; zero when that is over. */
static inline struct timespec time_left(const struct timespec *request, int64_t elapsed) {
  struct timespec left = {request->tv_sec - (time_t)(elapsed / NANOSECONDS),
                          request->tv_nsec - (long)(elapsed % NANOSECONDS)};

  if (left.tv_nsec < 0) {
    left.tv_nsec += NANOSECONDS;
    left.tv_sec--;
  }
  return left.tv_sec < 0 ? (struct timespec){0, 0} : left;
}

/* The same for a pointer as calls take it: NULL, without limit, stays NULL. */
static inline const struct timespec *renew_timespec(const struct timespec *request, int64_t start,
                                                    struct timespec *left) {
  if (request == NULL) return NULL;
  *left = time_left(request, clock_now() - start);
  return left;
}

/* The same in milliseconds, rounded up; below zero, without limit, stays as it is. */
static inline int renew_milliseconds(int request, int64_t start) {
  if (request <= 0) return request;
  int64_t elapsed = (clock_now() - start) / (NANOSECONDS / 1000);
  return elapsed >= request ? 0 : (int)(request - elapsed);
}

#endif
