/* polling.c: poll, select and epoll, which a stop does not interrupt (blocking.h). */
#include "api/blocking.h"
#include "api/next.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

/* libc's report of an overrun buffer, behind the names that fortified programs call. */
_Noreturn void __chk_fail(void);

static bool is_positive(const struct timespec *time) {
  return time != NULL && (time->tv_sec > 0 || time->tv_nsec > 0);
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout) {
  struct passage passage = PASSAGE(fds);
  int64_t start = clock_now_if(timeout > 0);
  int left = timeout;

  return RETRY_AFTER(&passage, NEXT(poll)(fds, count, left),
                     left = renew_milliseconds(timeout, start));
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask) {
  struct passage passage = PASSAGE(fds, timeout, mask);
  int64_t start = clock_now_if(is_positive(timeout));
  const struct timespec *request = timeout;
  struct timespec left;

  return RETRY_AFTER(&passage, NEXT(ppoll)(fds, count, timeout, mask),
                     timeout = renew_timespec(request, start, &left));
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size);
EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size) {
  if (size / sizeof *fds < count) __chk_fail();
  return poll(fds, count, timeout);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                       const sigset_t *mask, size_t size);
EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                       const sigset_t *mask, size_t size) {
  if (size / sizeof *fds < count) __chk_fail();
  return ppoll(fds, count, timeout, mask);
}

/* On Linux select leaves the time left in *timeout; what libc leaves there when it is interrupted
   does not know of the time the thread was held, so it is set anew. The sets are unchanged. */
EXPORT int select(int count, fd_set *restrict readable, fd_set *restrict writable,
                  fd_set *restrict exceptional, struct timeval *restrict timeout) {
  struct passage passage = PASSAGE(readable, writable, exceptional, timeout);
  struct timespec request = {0, 0};

  if (timeout != NULL) {
    if (__builtin_add_overflow(timeout->tv_sec, timeout->tv_usec / 1000000, &request.tv_sec))
      request.tv_sec = INT64_MAX;
    request.tv_nsec = timeout->tv_usec % 1000000 * 1000;
  }
  int64_t start = clock_now_if(is_positive(&request));
  return RETRY_AFTER(
      &passage, NEXT(select)(count, readable, writable, exceptional, timeout),
      if (timeout != NULL) {
        struct timespec left = time_left(&request, clock_now() - start);
        timeout->tv_sec = left.tv_sec + (left.tv_nsec + 999) / NANOSECONDS;
        timeout->tv_usec = (left.tv_nsec + 999) % NANOSECONDS / 1000;
      });
}

EXPORT int pselect(int count, fd_set *restrict readable, fd_set *restrict writable,
                   fd_set *restrict exceptional, const struct timespec *restrict timeout,
                   const sigset_t *restrict mask) {
  struct passage passage = PASSAGE(readable, writable, exceptional, timeout, mask);
  int64_t start = clock_now_if(is_positive(timeout));
  const struct timespec *next_timeout = timeout;
  struct timespec left;

  return RETRY_AFTER(&passage,
                     NEXT(pselect)(count, readable, writable, exceptional, next_timeout, mask),
                     next_timeout = renew_timespec(timeout, start, &left));
}

EXPORT int epoll_wait(int epoll, struct epoll_event *events, int capacity, int timeout) {
  struct passage passage = PASSAGE(events);
  int64_t start = clock_now_if(timeout > 0);
  int left = timeout;

  return RETRY_AFTER(&passage, NEXT(epoll_wait)(epoll, events, capacity, left),
                     left = renew_milliseconds(timeout, start));
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int capacity, int timeout,
                       const sigset_t *mask) {
  struct passage passage = PASSAGE(events, mask);
  int64_t start = clock_now_if(timeout > 0);
  int left = timeout;

  return RETRY_AFTER(&passage, NEXT(epoll_pwait)(epoll, events, capacity, left, mask),
                     left = renew_milliseconds(timeout, start));
}

/* The kernel reads *timeout itself: a bad pointer is its EFAULT, so do not look. */
EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int capacity,
                        const struct timespec *timeout, const sigset_t *mask) {
  struct passage passage = PASSAGE(events, timeout, mask);
  int64_t start = clock_now_if(timeout != NULL);
  const struct timespec *request = timeout;
  struct timespec left;

  return RETRY_AFTER(&passage, NEXT(epoll_pwait2)(epoll, events, capacity, timeout, mask),
                     timeout = renew_timespec(request, start, &left));
}

ALIAS(__poll, poll);
ALIAS(__select, select);
