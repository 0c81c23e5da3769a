/* sending.c: writing and sending calls, which a stop neither interrupts nor cuts short (socket.h).

   Programs seldom look for a partial count when they write to a blocking socket, pipe or terminal,
   since without signals there is none. The kernel breaks off there at any signal, SA_RESTART or
   not, and returns what it has. So the rest is sent as well, as long as only stops ran.

   On a socket the rest is sent without SIGPIPE: the first part has a count to return, and an
   uninterrupted call would have returned it. A pipe does raise it, as in an uninterrupted call. */
#include "api/kernel_words.h"
#include "api/next.h"
#include "api/socket.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is missing of a transfer: some bytes of one piece, or else whole pieces. */
struct rest {
  const struct iovec *pieces;
  size_t count;
  size_t offset; /* into the first piece */
};

static ssize_t send_part(struct attempt *attempt, const struct rest *rest, int flags) {
  struct msghdr message = {.msg_iov = (struct iovec *)rest->pieces, .msg_iovlen = rest->count};
  bool promised = false;

  while (attempt_more(attempt, promised)) {
    ssize_t result = rest->offset == 0
                         ? NEXT(sendmsg)(attempt->fd, &message, flags)
                         : NEXT(send)(attempt->fd, (char *)rest->pieces->iov_base + rest->offset,
                                      rest->pieces->iov_len - rest->offset, flags);
    promised = result < 0 && errno == EAGAIN;
    if (!promised) return result;
  }
  return -1;
}

static ssize_t write_part(struct attempt *attempt, const struct rest *rest) {
  return RETRY(&attempt->passage,
               rest->offset == 0
                   ? NEXT(writev)(attempt->fd, rest->pieces, (int)rest->count)
                   : NEXT(write)(attempt->fd, (char *)rest->pieces->iov_base + rest->offset,
                                 rest->pieces->iov_len - rest->offset));
}

/* Sends or writes what is missing after the first `done` bytes; the count of all. */
static COLD ssize_t send_rest(struct attempt *attempt, const struct iovec *pieces, size_t count,
                              size_t done, int flags) {
  struct rest rest;
  size_t at = piece_at(pieces, count, done, &rest.offset);

  /* A program that counts MSG_ZEROCOPY's notices would find one too many. */
  if (at == count || (flags & MSG_ZEROCOPY) != 0 || !attempt_was_cut(attempt, flags))
    return (ssize_t)done;
  while (at < count && atomic_get(&self.handlers) == attempt->passage.handlers) {
    rest.pieces = pieces + at;
    rest.count = count - at;
    ssize_t result = attempt->socket
                         ? send_part(attempt, &rest, flags | MSG_DONTWAIT | MSG_NOSIGNAL)
                         : write_part(attempt, &rest);
    if (result <= 0) break;
    done += (size_t)result;
    at = piece_at(pieces, count, done, &rest.offset);
  }
  errno = attempt->passage.error;
  return (ssize_t)done;
}

/* The same for one buffer. */
static inline ssize_t send_all(struct attempt *attempt, const void *buffer, size_t size,
                               ssize_t result, int flags) {
  if (result <= 0 || LIKELY(!attempt_disturbed(attempt))) return result;
  return send_rest(attempt, &(struct iovec){(void *)buffer, size}, 1, (size_t)result, flags);
}

EXPORT ssize_t write(int fd, const void *buffer, size_t size) {
  struct attempt attempt = ATTEMPT(fd, POLLOUT, buffer);
  ssize_t result = PARKED(&attempt.passage, NEXT(write)(fd, buffer, size));

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = attempt.socket ? NEXT(send)(fd, buffer, size, MSG_DONTWAIT)
                            : PARKED(&attempt.passage, NEXT(write)(fd, buffer, size));
  sent(fd, buffer, size, result);
  return send_all(&attempt, buffer, size, result, 0);
}

EXPORT ssize_t writev(int fd, const struct iovec *pieces, int count) {
  struct attempt attempt = ATTEMPT(fd, POLLOUT, pieces);
  ssize_t result = PARKED(&attempt.passage, NEXT(writev)(fd, pieces, count));

  while (UNLIKELY(result < 0) && attempt_again(&attempt)) {
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};
    result = attempt.socket ? NEXT(sendmsg)(fd, &message, MSG_DONTWAIT)
                            : PARKED(&attempt.passage, NEXT(writev)(fd, pieces, count));
  }
  sent_pieces(fd, pieces, (size_t)count, result);
  if (result > 0 && UNLIKELY(attempt_disturbed(&attempt)))
    result = send_rest(&attempt, pieces, (size_t)count, (size_t)result, 0);
  return result;
}

EXPORT ssize_t send(int fd, const void *buffer, size_t size, int flags) {
  struct attempt attempt = ATTEMPT(fd, POLLOUT, buffer);
  ssize_t result = PARKED(&attempt.passage, NEXT(send)(fd, buffer, size, flags));

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = NEXT(send)(fd, buffer, size, flags | MSG_DONTWAIT);
  sent(fd, buffer, size, result);
  return send_all(&attempt, buffer, size, result, flags);
}

EXPORT ssize_t sendto(int fd, const void *buffer, size_t size, int flags,
                      __CONST_SOCKADDR_ARG address, socklen_t address_size) {
  struct attempt attempt = ATTEMPT(fd, POLLOUT, buffer, address.__sockaddr__);
  ssize_t result =
      PARKED(&attempt.passage, NEXT(sendto)(fd, buffer, size, flags, address, address_size));

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = NEXT(sendto)(fd, buffer, size, flags | MSG_DONTWAIT, address, address_size);
  sent(fd, buffer, size, result);
  return send_all(&attempt, buffer, size, result, flags);
}

/* Control data go with the first part. */
EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  struct attempt attempt = ATTEMPT(fd, POLLOUT, message);
  ssize_t result = PARKED(&attempt.passage, NEXT(sendmsg)(fd, message, flags));

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = NEXT(sendmsg)(fd, message, flags | MSG_DONTWAIT);
  sent_pieces(fd, message->msg_iov, message->msg_iovlen, result);
  if (result > 0 && UNLIKELY(attempt_disturbed(&attempt)))
    result = send_rest(&attempt, message->msg_iov, message->msg_iovlen, (size_t)result, flags);
  return result;
}

/* The last message sent may be sent in part only; then it is completed before the others. */
EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
  struct attempt attempt = ATTEMPT(fd, POLLOUT, messages);
  int result = PARKED(&attempt.passage, NEXT(sendmmsg)(fd, messages, count, flags));
  unsigned int done = 0;

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = NEXT(sendmmsg)(fd, messages, count, flags | MSG_DONTWAIT);
  while (result > 0 && UNLIKELY(attempt_disturbed(&attempt))) {
    done += (unsigned int)result;
    struct mmsghdr *last = &messages[done - 1];
    size_t offset;
    last->msg_len = (unsigned int)send_rest(&attempt, last->msg_hdr.msg_iov,
                                            last->msg_hdr.msg_iovlen, last->msg_len, flags);
    if (piece_at(last->msg_hdr.msg_iov, last->msg_hdr.msg_iovlen, last->msg_len, &offset) <
            last->msg_hdr.msg_iovlen ||
        done >= count || !attempt_was_cut(&attempt, flags) || !attempt_more(&attempt, false))
      break;
    result = NEXT(sendmmsg)(fd, messages + done, count - done, flags | MSG_DONTWAIT);
  }
  if (done == 0) return result;
  errno = attempt.passage.error;
  return (int)done;
}

/* The kernel moves the offset, so a repetition goes on where it broke off; it ends at the end of
   the file. */
EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t size) {
  struct attempt attempt = ATTEMPT(out, POLLOUT, offset);
  ssize_t result = PARKED(&attempt.passage, NEXT(sendfile)(out, in, offset, size));
  size_t done = 0;

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = PARKED(&attempt.passage, NEXT(sendfile)(out, in, offset, size));
  while (result > 0 && UNLIKELY(attempt_disturbed(&attempt))) {
    done += (size_t)result;
    if (done >= size || !attempt_was_cut(&attempt, 0) || !attempt_more(&attempt, false)) break;
    result = PARKED(&attempt.passage, NEXT(sendfile)(out, in, offset, size - done));
  }
  if (done == 0) return result;
  errno = attempt.passage.error;
  return (ssize_t)done;
}

ALIAS(__write, write);
ALIAS(__send, send);
ALIAS(sendfile64, sendfile);
