/* receiving.c: reading and receiving calls, which a stop neither interrupts nor cuts short
   (socket.h). Cut short: MSG_WAITALL and recvmmsg, which wait for all that was asked. */
#include "api/next.h"
#include "api/socket.h"

#include <sys/socket.h>
#include <unistd.h>

_Noreturn void __chk_fail(void);

EXPORT ssize_t read(int fd, void *buffer, size_t size) {
  struct attempt attempt = ATTEMPT(fd, POLLIN, buffer);
  ssize_t result = PARKED(&attempt.passage, NEXT(read)(fd, buffer, size));

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = attempt.socket ? NEXT(recv)(fd, buffer, size, MSG_DONTWAIT)
                            : PARKED(&attempt.passage, NEXT(read)(fd, buffer, size));
  return result;
}

EXPORT ssize_t readv(int fd, const struct iovec *pieces, int count) {
  struct attempt attempt = ATTEMPT(fd, POLLIN, pieces);
  ssize_t result = PARKED(&attempt.passage, NEXT(readv)(fd, pieces, count));

  while (UNLIKELY(result < 0) && attempt_again(&attempt)) {
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};
    result = attempt.socket ? NEXT(recvmsg)(fd, &message, MSG_DONTWAIT)
                            : PARKED(&attempt.passage, NEXT(readv)(fd, pieces, count));
  }
  return result;
}

/* Does the call wait for all that was asked? Not so with datagrams, nor where nothing is taken
   from the socket. */
static bool waits_for_all(int fd, int flags) {
  int type = 0;
  socklen_t size = sizeof type;

  return (flags & MSG_WAITALL) != 0 &&
         (flags & (MSG_PEEK | MSG_TRUNC | MSG_OOB | MSG_ERRQUEUE)) == 0 &&
         getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/* Receives what is missing after the first `done` bytes; the count of all. */
static COLD ssize_t receive_rest(struct attempt *attempt, const struct iovec *pieces, size_t count,
                                 size_t done, int flags) {
  size_t offset;
  bool promised = false;

  if (piece_at(pieces, count, done, &offset) == count || !waits_for_all(attempt->fd, flags) ||
      !attempt_was_cut(attempt, flags))
    return (ssize_t)done;
  while (attempt_more(attempt, promised)) {
    size_t at = piece_at(pieces, count, done, &offset);
    struct msghdr message = {.msg_iov = (struct iovec *)pieces + at, .msg_iovlen = count - at};
    ssize_t result = offset == 0 ? NEXT(recvmsg)(attempt->fd, &message, flags | MSG_DONTWAIT)
                                 : NEXT(recv)(attempt->fd, (char *)pieces[at].iov_base + offset,
                                              pieces[at].iov_len - offset, flags | MSG_DONTWAIT);
    promised = result < 0 && errno == EAGAIN;
    if (result <= 0 && !promised) break;
    if (result > 0) done += (size_t)result;
    if (piece_at(pieces, count, done, &offset) == count) break;
  }
  errno = attempt->passage.error;
  return (ssize_t)done;
}

EXPORT ssize_t recv(int fd, void *buffer, size_t size, int flags) {
  struct attempt attempt = ATTEMPT(fd, POLLIN, buffer);
  ssize_t result = PARKED(&attempt.passage, NEXT(recv)(fd, buffer, size, flags));

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = NEXT(recv)(fd, buffer, size, flags | MSG_DONTWAIT);
  if (result > 0 && UNLIKELY(attempt_disturbed(&attempt)))
    result = receive_rest(&attempt, &(struct iovec){buffer, size}, 1, (size_t)result, flags);
  return result;
}

EXPORT ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags,
                        __SOCKADDR_ARG address, socklen_t *restrict address_size) {
  struct attempt attempt = ATTEMPT(fd, POLLIN, buffer, address.__sockaddr__, address_size);
  ssize_t result =
      PARKED(&attempt.passage, NEXT(recvfrom)(fd, buffer, size, flags, address, address_size));

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = NEXT(recvfrom)(fd, buffer, size, flags | MSG_DONTWAIT, address, address_size);
  if (result > 0 && UNLIKELY(attempt_disturbed(&attempt)))
    result = receive_rest(&attempt, &(struct iovec){buffer, size}, 1, (size_t)result, flags);
  return result;
}

/* With a control buffer the rest stays with the program: descriptors may come with it, and how
   much room was left for them is not known any more. */
EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  struct attempt attempt = ATTEMPT(fd, POLLIN, message);
  ssize_t result = PARKED(&attempt.passage, NEXT(recvmsg)(fd, message, flags));

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = NEXT(recvmsg)(fd, message, flags | MSG_DONTWAIT);
  if (result > 0 && UNLIKELY(attempt_disturbed(&attempt)) && message->msg_control == NULL)
    result = receive_rest(&attempt, message->msg_iov, message->msg_iovlen, (size_t)result, flags);
  return result;
}

/* When a later message of recvmmsg fails the kernel returns the count and leaves the error in the
   socket for the next call, an interruption (512 is its own ERESTARTSYS) like any other. Takes
   that back. False: it was a real error, which only reading could tell; the count must do. */
static bool forget_interruption(int fd) {
  enum { KERNEL_RESTART = 512 };
  int error = 0;
  socklen_t size = sizeof error;

  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 &&
         (error == 0 || error == EINTR || error == KERNEL_RESTART);
}

/* Once there is a first message the call may block: that is what was asked for. The kernel keeps
   the time left in *timeout. */
EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                    struct timespec *timeout) {
  struct attempt attempt = ATTEMPT(fd, POLLIN, messages, timeout);
  int result = PARKED(&attempt.passage, NEXT(recvmmsg)(fd, messages, count, flags, timeout));
  unsigned int done = 0;

  while (UNLIKELY(result < 0) && attempt_again(&attempt))
    result = PARKED(&attempt.passage, NEXT(recvmmsg)(fd, messages, count, flags, timeout));
  while (result > 0 && UNLIKELY(attempt_disturbed(&attempt))) {
    done += (unsigned int)result;
    bool over = timeout != NULL && timeout->tv_sec == 0 && timeout->tv_nsec == 0;
    if (done >= count || over || (flags & MSG_WAITFORONE) != 0 ||
        !attempt_was_cut(&attempt, flags) || !forget_interruption(fd) ||
        !attempt_more(&attempt, false))
      break;
    result =
        PARKED(&attempt.passage, NEXT(recvmmsg)(fd, messages + done, count - done, flags, timeout));
  }
  if (done == 0) return result;
  errno = attempt.passage.error;
  return (int)done;
}

/* What fortified programs call. */

EXPORT ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);
EXPORT ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room) {
  if (size > room) __chk_fail();
  return read(fd, buffer, size);
}

EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags);
EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags) {
  if (size > room) __chk_fail();
  return recv(fd, buffer, size, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t size, size_t room, int flags,
                              __SOCKADDR_ARG address, socklen_t *restrict address_size);
EXPORT ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t size, size_t room, int flags,
                              __SOCKADDR_ARG address, socklen_t *restrict address_size) {
  if (size > room) __chk_fail();
  return recvfrom(fd, buffer, size, flags, address, address_size);
}

ALIAS(__read, read);
