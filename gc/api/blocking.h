/* blocking.h: what the wrappers of blocking calls share.

   A stop signal of ours makes some calls return although its handler is installed with
   SA_RESTART: with EINTR, or with less than was asked for. A program must not see an EINTR that
   no handler of its own has earned; so each such call is interposed and repeated, with the time
   that is left, when since its entry only our stop ran in this thread.

   What every wrapper does:
     struct passage passage = PASSAGE(each pointer that it was given);
     result = PARKED(&passage, libc's own function, so that cancellation works as ever);
     repeated while it failed and interrupted(&passage) says that the program need not know.

   In a process with threads the thread is parked during the call (mutator/parking.h): a collection
   holds it there without a signal, and so most calls are not interrupted at all. That is allowed
   for calls in which libc neither allocates, maps or unmaps memory nor runs code of the program.
   The arguments are kept in the passage, and the registers of the program's functions that the
   wrapper's own frame has not saved are pushed there, so that all the thread holds lies above the
   stack pointer.

   A wrapper's frame is all there is: when a handler runs or a cancellation begins, the thread has
   left its parking place before; then a handler may longjmp out of it, a cancellation unwind it.

   A handler of the program that runs between the check and the repeated call does not interrupt
   it: some 100 ns for each collection, beside the like window between a program's own check and
   its call. It is closed for calls that swap the signal mask (ppoll, sigsuspend), as for any
   program: signals stay blocked outside the call.

   Not covered: blocking calls that libc makes by itself (stdio on a socket with a timeout), and
   system calls by an instruction of the program's own. Those by syscall() are: system_call.c.

   Owner: the calling thread. */
#ifndef RECLAIM_BLOCKING_H
#define RECLAIM_BLOCKING_H

#include "base/base.h"
#include "base/remedy.h"
#include "collect/world.h"
#include "mutator/parking.h"

#include <errno.h>
#include <time.h>

/* Work that a single-threaded program does when it is about to block: idle collection, decay.
   Both are defined with that work; it keeps errno. */
extern HIDDEN int blocking_work_due;
HIDDEN void blocking_work(void);
/* A single-threaded program is about to sleep for so long that what it has freed should go back. */
enum { BLOCKING_REST = 100000 }; /* microseconds */
HIDDEN void blocking_rest(void);

static inline void blocking_enter(void) {
  if (UNLIKELY(atomic_get(&blocking_work_due))) blocking_work();
}

enum { PASSAGE_ARGUMENTS = 6 };

struct passage {
  uint32_t stops;    /* as last seen */
  uint32_t handlers; /* at entry */
  int error;         /* errno at entry: no trace is left of a failure that is made good */
  bool parked;
  const volatile void *arguments[PASSAGE_ARGUMENTS]; /* what the kernel may use, kept in view */
};

/* To initialise one: the pointers that the call was given, in any order. */
#define PASSAGE(...)                                                                               \
  {                                                                                                \
    .stops = (blocking_enter(), atomic_get(&self.stops)), .handlers = atomic_get(&self.handlers),  \
    .error = errno, .arguments = {                                                                 \
      __VA_ARGS__                                                                                  \
    }                                                                                              \
  }

/* A vfork child runs in its parent's memory, with its parent's record: it must not park that. */
HIDDEN COLD bool blocking_is_own_thread(void);

/* Inlined into the wrapper, whose frame __builtin_unwind_init has save all the registers that a
   callee would save: they belong to the program's functions. The passage is in memory from the
   first barrier to the second. */
static inline __attribute__((always_inline)) void park(struct passage *passage) {
  if (world_parking && self.thread && (LIKELY(!self.lent) || blocking_is_own_thread()) &&
      !WITHOUT(parking)) {
    __builtin_unwind_init();
    for (int i = 0; i < PASSAGE_ARGUMENTS && WITHOUT(kept_arguments); i++)
      passage->arguments[i] = NULL;
    __asm__ volatile("" : "+m"(*passage) : : "memory");
    uintptr_t lowest = port_stack_pointer();
    if (WITHOUT(kept_arguments)) lowest += PORT_RED_ZONE; /* libc has pushed them there */
    if (WITHOUT(parked_frame)) lowest = (uintptr_t)__builtin_frame_address(0) + 16 + PORT_RED_ZONE;
    passage->parked = parking_enter(self.thread, lowest);
  }
}

static inline void unpark(struct passage *passage) {
  __asm__ volatile("" : "+m"(*passage) : : "memory");
  if (passage->parked) {
    passage->parked = false;
    if (UNLIKELY(!parking_leave(self.thread))) world_unpark(self.thread);
  }
}

/* Makes a call of libc, parked. */
#define PARKED(passage, call)                                                                      \
  __extension__({                                                                                  \
    park(passage);                                                                                 \
    __typeof__(call) parked_result_ = (call);                                                      \
    unpark(passage);                                                                               \
    parked_result_;                                                                                \
  })

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
    while ((result_ = PARKED(passage, call)) < 0 && interrupted(passage)) {                        \
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
