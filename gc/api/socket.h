/* socket.h: how a wrapper goes on after a stop interrupted a call on a socket (blocking.h).

   The kernel restarts such a call by itself when the socket has no timeout and nothing was
   transferred. What it does not restart:
   - With SO_RCVTIMEO or SO_SNDTIMEO the call fails with EINTR. Calling again would grant the
     whole timeout anew, and to shorten the socket's timeout would disturb its other users. So the
     attempt turns to waiting: poll for the time left, then the call with MSG_DONTWAIT.
   - A call that has transferred a part returns the count. The rest is transferred in the same
     way; if it cannot be, the count stands.

   struct attempt lives in the wrapper's frame:

     struct attempt attempt = ATTEMPT(fd, POLLIN, each pointer that it was given);
     result = PARKED(&attempt.passage, the call);
     while (result < 0 && attempt_again(&attempt)) result = the call with MSG_DONTWAIT;

   The time of entry is known only once the program has set a timeout on any socket (we see
   setsockopt); until then a call costs no look at the clock. A timeout on an inherited socket
   is reckoned from the first interruption. */
#ifndef RECLAIM_SOCKET_H
#define RECLAIM_SOCKET_H

#include "api/blocking.h"

#include <poll.h>
#include <sys/uio.h>

struct attempt {
  struct passage passage;
  int64_t start; /* 0: not known yet */
  int fd;
  short events; /* POLLIN or POLLOUT: what the call waits for, and so whose timeout counts */
  bool waiting; /* a stop interrupted the call: poll, then transfer without blocking */
  bool socket;  /* known once waiting */
  bool final;   /* the time is over: one last try */
};

/* Set for good when a socket gets a timeout. Any thread. */
extern HIDDEN int socket_timeouts_used;

/* To initialise one, with the pointers that the call was given. */
#define ATTEMPT(descriptor, waited_for, ...)                                                       \
  {                                                                                                \
    .passage = PASSAGE(__VA_ARGS__),                                                               \
    .start = clock_now_if(UNLIKELY(atomic_get(&socket_timeouts_used))), .fd = (descriptor),        \
    .events = (waited_for)                                                                         \
  }

/* After a failure: true to try again, without blocking if attempt->socket. False leaves in errno
   what the program shall see. */
HIDDEN COLD bool attempt_again(struct attempt *attempt);

/* After a call that came back with a count: could that be less than asked because of a stop? */
static inline bool attempt_disturbed(const struct attempt *attempt) {
  return attempt->waiting || atomic_get(&self.stops) != attempt->passage.stops;
}

/* After a part was transferred: may the rest be transferred as well? Turns to waiting, but does
   not wait. `flags` are the call's. */
HIDDEN COLD bool attempt_was_cut(struct attempt *attempt, int flags);

/* Waits until a further part can be transferred; `promised`: the last time it could not, after
   all. False: the part must do. */
HIDDEN COLD bool attempt_more(struct attempt *attempt, bool promised);

/* The piece in which byte `done` lies, and where in it; `count` when it lies past them all. */
static inline size_t piece_at(const struct iovec *pieces, size_t count, size_t done,
                              size_t *offset) {
  size_t i = 0;

  while (i < count && done >= pieces[i].iov_len) done -= pieces[i++].iov_len;
  *offset = done;
  return i;
}

#endif
