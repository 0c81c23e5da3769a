/* socket.c: waits on behalf of interrupted socket calls (socket.h), and the calls that make a
   connection. Only the flag outlives a call. */
#include "api/socket.h"
#include "api/next.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

int socket_timeouts_used;

EXPORT int setsockopt(int fd, int level, int option, const void *value, socklen_t size) {
  /* The numbers with 64-bit times are what time64 programs use on 32-bit systems. */
  enum { RECEIVE_TIMEOUT_64 = 66, SEND_TIMEOUT_64 = 67 };

  if (level == SOL_SOCKET && (option == SO_RCVTIMEO || option == SO_SNDTIMEO ||
                              option == RECEIVE_TIMEOUT_64 || option == SEND_TIMEOUT_64))
    atomic_set(&socket_timeouts_used, 1);
  return NEXT(setsockopt)(fd, level, option, value, size);
}

/* The socket's own timeout, zero for none. False if fd is no socket. */
static bool read_timeout(const struct attempt *attempt, struct timespec *timeout) {
  struct timeval value = {0, 0};
  socklen_t size = sizeof value;
  int option = attempt->events == POLLIN ? SO_RCVTIMEO : SO_SNDTIMEO;

  if (getsockopt(attempt->fd, SOL_SOCKET, option, &value, &size) < 0) return false;
  *timeout = (struct timespec){value.tv_sec, value.tv_usec * 1000};
  return true;
}

enum readiness { READY, EXPIRED, HANDLED, BROKEN };

/* Polls for the time left. poll may promise too much (another thread was faster, or a datagram
   socket's peer is full), hence `promised`: the last promise was not kept, do not spin. */
static enum readiness wait_until_ready(struct attempt *attempt, bool promised) {
  struct pollfd entry = {.fd = attempt->fd, .events = attempt->events};
  struct timespec timeout;
  struct timespec left;

  attempt->waiting = true;
  attempt->socket = read_timeout(attempt, &timeout);
  if (!attempt->socket) return READY;
  if (promised) NEXT(poll)(NULL, 0, 1);
  bool limited = timeout.tv_sec != 0 || timeout.tv_nsec != 0;
  if (limited && attempt->start == 0) attempt->start = clock_now();
  for (;;) {
    if (limited) left = time_left(&timeout, clock_now() - attempt->start);
    if (atomic_get(&self.handlers) != attempt->passage.handlers) return HANDLED;
    int result = PARKED(&attempt->passage, NEXT(ppoll)(&entry, 1, limited ? &left : NULL, NULL));
    if (result < 0 && !interrupted(&attempt->passage)) return HANDLED;
    if (result < 0) continue;
    if (result > 0 && limited && left.tv_sec == 0 && left.tv_nsec == 0) {
      if (attempt->final) return EXPIRED;
      attempt->final = true;
    }
    return result == 0 ? EXPIRED : (entry.revents & POLLERR) != 0 ? BROKEN : READY;
  }
}

bool attempt_again(struct attempt *attempt) {
  bool promised = attempt->waiting && errno == EAGAIN;

  if (!promised && !interrupted(&attempt->passage)) return false;
  switch (wait_until_ready(attempt, promised)) {
  case EXPIRED: errno = EAGAIN; return false;
  case HANDLED: errno = EINTR; return false;
  default: errno = attempt->passage.error; return true; /* the call itself reports an error */
  }
}

bool attempt_was_cut(struct attempt *attempt, int flags) {
  struct stat status;

  if (!attempt->waiting) {
    if ((flags & MSG_DONTWAIT) != 0 || !stopped_only(&attempt->passage)) return false;
    int modes = fcntl(attempt->fd, F_GETFL);
    int failed = fstat(attempt->fd, &status);
    errno = attempt->passage.error;
    /* A partial count on a file means a full disk or a limit; the rest must not be tried. */
    if (modes < 0 || (modes & O_NONBLOCK) != 0 || failed != 0 ||
        !(S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)))
      return false;
    attempt->waiting = true;
    attempt->socket = S_ISSOCK(status.st_mode);
  }
  return true;
}

/* An error is left in the socket for the program's next call. */
bool attempt_more(struct attempt *attempt, bool promised) {
  enum readiness readiness = wait_until_ready(attempt, promised);

  errno = attempt->passage.error;
  return readiness == READY;
}

/* Connections. These calls have no flag against blocking. Should another thread take the
   connection before accept does, or a unix socket's connect still find the queue full, the call
   may wait for up to the socket's timeout once more. */

EXPORT int accept(int fd, __SOCKADDR_ARG address, socklen_t *restrict size) {
  struct attempt attempt = ATTEMPT(fd, POLLIN, address.__sockaddr__, size);
  int result;

  do result = PARKED(&attempt.passage, NEXT(accept)(fd, address, size));
  while (UNLIKELY(result < 0) && errno == EINTR && attempt_again(&attempt));
  return result;
}

EXPORT int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict size, int flags) {
  struct attempt attempt = ATTEMPT(fd, POLLIN, address.__sockaddr__, size);
  int result;

  do result = PARKED(&attempt.passage, NEXT(accept4)(fd, address, size, flags));
  while (UNLIKELY(result < 0) && errno == EINTR && attempt_again(&attempt));
  return result;
}

/* A repeated connect joins the one under way, as the kernel's own restart does. Its timeout is
   SO_SNDTIMEO, and all but unix sockets report it as EINPROGRESS. */
EXPORT int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t size) {
  struct attempt attempt = ATTEMPT(fd, POLLOUT, address.__sockaddr__);
  int result;

  do result = PARKED(&attempt.passage, NEXT(connect)(fd, address, size));
  while (UNLIKELY(result < 0) && errno == EINTR && attempt_again(&attempt));
  if (UNLIKELY(attempt.waiting) && result < 0 && (errno == EAGAIN || errno == EALREADY))
    errno = address.__sockaddr__->sa_family == AF_UNIX ? EAGAIN : EINPROGRESS;
  return result;
}

ALIAS(__connect, connect);
