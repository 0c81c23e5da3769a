/* blocking_calls.h: the table of calls that a signal interrupts although its handler is installed
   with SA_RESTART, each as a function that blocks and the way it ends.

   Every call finds its descriptors, queues and semaphores fresh: calls_prepare() before each one,
   calls_clear() after. `limit_ms` is the time that the calls with a time limit are given. What a
   call leaves undone when it is interrupted, or what must happen for it to end, is `release`.

   Used by eintr.c (no call may be cut short) and cancel.c (each can be cancelled). */
#ifndef TESTS_BLOCKING_CALLS_H
#define TESTS_BLOCKING_CALLS_H

#include "program.h"

#include <aio.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <threads.h>

/* What fortified programs call. */
int __poll_chk(struct pollfd *, nfds_t, int, size_t);
int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);
ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);

enum { LARGE = 4 << 20, WHOLE = 1000 };
enum { PARTIAL = -2 }; /* as a result: some of LARGE, or of WHOLE, but not all */

static int limit_ms;
static pthread_t caller; /* the thread that blocks */

static struct {
  int pipe[2], pair[2], unlimited[2], datagrams[2];
  int inet, local; /* listening; the local one's queue is full */
  int inet_caller, local_caller;
  struct sockaddr_in inet_address;
  struct sockaddr_un local_address;
  socklen_t local_size;
  int waiters[8], waiter_count;
  int epoll, semaphores, messages, full_messages, file;
  sem_t semaphore;
} at;

static char large[LARGE];

static void note_signal(int number) { (void)number; }

static void set_timeouts(int fd) {
  struct timeval time = {limit_ms / 1000, limit_ms % 1000 * 1000};
  CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0);
  CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) == 0);
}

static void listen_locally(void) {
  static int serial;
  at.local_address.sun_family = AF_UNIX;
  int length = snprintf(at.local_address.sun_path + 1, sizeof at.local_address.sun_path - 1,
                        "blocking-%d-%d", (int)getpid(), serial++);
  at.local_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
  CHECK((at.local = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
  CHECK(bind(at.local, (struct sockaddr *)&at.local_address, at.local_size) == 0);
  CHECK(listen(at.local, 1) == 0);
  for (at.waiter_count = 0; at.waiter_count < 8;) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    at.waiters[at.waiter_count++] = fd;
    if (connect(fd, (struct sockaddr *)&at.local_address, at.local_size) != 0) break;
  }
  at.local_caller = socket(AF_UNIX, SOCK_STREAM, 0);
  set_timeouts(at.local_caller);
}

/* One listener to accept from, where nobody calls; and a port that answers no call, because its
   queue is full. */
static void listen_inet(void) {
  socklen_t size = sizeof at.inet_address;
  at.inet_address =
      (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  CHECK((at.inet = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
  CHECK(bind(at.inet, (struct sockaddr *)&at.inet_address, size) == 0);
  CHECK(listen(at.inet, 0) == 0);
  CHECK(getsockname(at.inet, (struct sockaddr *)&at.inet_address, &size) == 0);
  set_timeouts(at.inet);
  at.inet_caller = socket(AF_INET, SOCK_STREAM, 0);
  set_timeouts(at.inet_caller);
}

static void fill_inet(void) {
  for (int i = 0; i < 4 && at.waiter_count < 8; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    at.waiters[at.waiter_count++] = fd;
    (void)!connect(fd, (struct sockaddr *)&at.inet_address, sizeof at.inet_address);
  }
}

static void calls_prepare(void) {
  struct {
    long type;
    char text[8];
  } message = {1, "full"};
  CHECK(pipe(at.pipe) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, at.pair) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, at.unlimited) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, at.datagrams) == 0);
  set_timeouts(at.pair[0]);
  set_timeouts(at.datagrams[0]);
  listen_locally();
  listen_inet();
  struct epoll_event event = {.events = EPOLLIN};
  CHECK((at.epoll = epoll_create1(0)) >= 0);
  CHECK(epoll_ctl(at.epoll, EPOLL_CTL_ADD, at.pipe[0], &event) == 0);
  CHECK((at.semaphores = semget(IPC_PRIVATE, 1, 0600)) >= 0);
  CHECK((at.messages = msgget(IPC_PRIVATE, 0600)) >= 0);
  CHECK((at.full_messages = msgget(IPC_PRIVATE, 0600)) >= 0);
  while (msgsnd(at.full_messages, &message, sizeof message.text, IPC_NOWAIT) == 0) {
  }
  CHECK((at.file = memfd_create("blocking", 0)) >= 0);
  CHECK(ftruncate(at.file, LARGE) == 0);
  CHECK(sem_init(&at.semaphore, 0, 0) == 0);
}

static void calls_clear(void) {
  int fds[] = {at.pipe[0],      at.pipe[1],      at.pair[0],      at.pair[1], at.unlimited[0],
               at.unlimited[1], at.datagrams[0], at.datagrams[1], at.inet,    at.local,
               at.inet_caller,  at.local_caller, at.epoll,        at.file};
  for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) close(fds[i]);
  while (at.waiter_count > 0) close(at.waiters[--at.waiter_count]);
  semctl(at.semaphores, 0, IPC_RMID);
  msgctl(at.messages, IPC_RMID, NULL);
  msgctl(at.full_messages, IPC_RMID, NULL);
  sem_destroy(&at.semaphore);
}

static struct timespec limit(void) {
  return (struct timespec){limit_ms / 1000, limit_ms % 1000 * 1000000L};
}

static struct timespec limit_from_now(clockid_t clock) {
  struct timespec time, add = limit();
  clock_gettime(clock, &time);
  time.tv_sec += add.tv_sec + (time.tv_nsec + add.tv_nsec) / 1000000000;
  time.tv_nsec = (time.tv_nsec + add.tv_nsec) % 1000000000;
  return time;
}

/* Error numbers as results go to errno, so that one rule serves all. */
static long from_error(int error) {
  if (error != 0) errno = error;
  return error == 0 ? 0 : -1;
}

#define CALL(name, ...)                                                                            \
  static long call_##name(void) {                                                                  \
    struct timespec time PROGRAM_UNUSED = limit();                                                 \
    struct pollfd entry PROGRAM_UNUSED = {.fd = at.pipe[0], .events = POLLIN};                     \
    char buffer[WHOLE] PROGRAM_UNUSED;                                                             \
    struct iovec two[2] PROGRAM_UNUSED = {{large, LARGE / 3}, {large, LARGE - LARGE / 3}};         \
    struct iovec small PROGRAM_UNUSED = {buffer, sizeof buffer};                                   \
    __VA_ARGS__                                                                                    \
  }

/* Sleeping */
CALL(nanosleep, return nanosleep(&time, NULL);)
CALL(nanosleep_rest, return nanosleep(&time, &time);)
CALL(clock_nanosleep, return from_error(clock_nanosleep(CLOCK_BOOTTIME, 0, &time, &time));)
CALL(clock_nanosleep_until, time = limit_from_now(CLOCK_MONOTONIC);
     return from_error(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL));)
CALL(usleep, return usleep((useconds_t)limit_ms * 1000);)
CALL(thrd_sleep, int r = thrd_sleep(&time, NULL); return r == -1 ? from_error(EINTR) : r;)
CALL(sleep, unsigned seconds = (unsigned)(limit_ms + 999) / 1000; unsigned rest = sleep(seconds);
     if (rest > 0 && rest != seconds - 1) fail("sleep(%u) left %u", seconds, rest);
     return rest > 0 ? -1 : 0;)

/* Polling */
CALL(poll, return poll(&entry, 1, limit_ms);)
CALL(poll_unlimited, return poll(&entry, 1, -1);)
CALL(poll_chk, return __poll_chk(&entry, 1, limit_ms, sizeof entry);)
CALL(ppoll, return ppoll(&entry, 1, &time, NULL);)
CALL(ppoll_chk, return __ppoll_chk(&entry, 1, &time, NULL, sizeof entry);)
CALL(select, struct timeval left = {limit_ms / 1000, limit_ms % 1000 * 1000}; fd_set set;
     FD_ZERO(&set); FD_SET(at.pipe[0], &set); int r = select(at.pipe[0] + 1, &set, 0, 0, &left);
     if (r == 0 && (left.tv_sec || left.tv_usec)) fail("select left time"); return r;)
CALL(pselect, fd_set set; FD_ZERO(&set); FD_SET(at.pipe[0], &set);
     return pselect(at.pipe[0] + 1, &set, NULL, NULL, &time, NULL);)
CALL(epoll_wait, struct epoll_event event; return epoll_wait(at.epoll, &event, 1, limit_ms);)
CALL(epoll_pwait, struct epoll_event e; return epoll_pwait(at.epoll, &e, 1, limit_ms, NULL);)
CALL(epoll_pwait2, struct epoll_event e; return epoll_pwait2(at.epoll, &e, 1, &time, NULL);)

/* Waiting */
CALL(sem_timedwait, time = limit_from_now(CLOCK_REALTIME);
     return sem_timedwait(&at.semaphore, &time);)
CALL(sem_clockwait, time = limit_from_now(CLOCK_MONOTONIC);
     return sem_clockwait(&at.semaphore, CLOCK_MONOTONIC, &time);)
CALL(semop, struct sembuf take = {0, -1, 0}; return semop(at.semaphores, &take, 1);)
CALL(semtimedop, struct sembuf take = {0, -1, 0};
     return semtimedop(at.semaphores, &take, 1, &time);)
CALL(msgrcv, return msgrcv(at.messages, buffer, 8, 0, 0);)
CALL(msgsnd, memset(buffer, 1, 16); return msgsnd(at.full_messages, buffer, 8, 0);)
CALL(aio_suspend, static char byte; static struct aiocb block;
     block = (struct aiocb){.aio_fildes = at.pipe[0], .aio_buf = &byte, .aio_nbytes = 1};
     const struct aiocb *list[] = {&block}; CHECK(aio_read(&block) == 0);
     return aio_suspend(list, 1, &time);)
static void usr2(sigset_t *set) {
  sigemptyset(set);
  sigaddset(set, SIGUSR2);
}
CALL(sigtimedwait, sigset_t set; usr2(&set); return sigtimedwait(&set, NULL, &time);)
CALL(sigwaitinfo, sigset_t set; usr2(&set); return sigwaitinfo(&set, NULL);)
CALL(sigsuspend, sigset_t set; usr2(&set); return sigsuspend(&set);)
CALL(sigpause, return sigpause(SIGWINCH);)
CALL(pause, return pause();)

/* Sockets with a timeout */
CALL(recv, return recv(at.pair[0], buffer, 1, 0);)
CALL(recv_chk, return __recv_chk(at.pair[0], buffer, 1, 1, 0);)
CALL(recvfrom, return recvfrom(at.datagrams[0], buffer, 1, 0, NULL, NULL);)
CALL(recvfrom_chk, return __recvfrom_chk(at.pair[0], buffer, 1, 1, 0, NULL, NULL);)
CALL(recvmsg, struct msghdr m = {.msg_iov = &small, .msg_iovlen = 1};
     return recvmsg(at.pair[0], &m, 0);)
CALL(recvmmsg, struct mmsghdr m = {.msg_hdr = {.msg_iov = &small, .msg_iovlen = 1}};
     return recvmmsg(at.datagrams[0], &m, 1, 0, NULL);)
CALL(read, return read(at.pair[0], buffer, 1);)
CALL(read_chk, return __read_chk(at.pair[0], buffer, 1, 1);)
CALL(readv, return readv(at.pair[0], &small, 1);)
CALL(accept, return accept(at.inet, NULL, NULL);)
CALL(accept4, return accept4(at.inet, NULL, NULL, SOCK_CLOEXEC);)
CALL(connect_local,
     return connect(at.local_caller, (struct sockaddr *)&at.local_address, at.local_size);)
CALL(connect_inet, fill_inet();
     return connect(at.inet_caller, (struct sockaddr *)&at.inet_address, sizeof at.inet_address);)
static void fill(int fd) {
  while (send(fd, large, sizeof large, MSG_DONTWAIT) > 0) {
  }
  errno = 0;
}
CALL(send, fill(at.pair[0]); return send(at.pair[0], buffer, 1, 0);)
CALL(sendto, fill(at.pair[0]); return sendto(at.pair[0], buffer, 1, 0, NULL, 0);)
CALL(sendmsg, fill(at.pair[0]); struct msghdr m = {.msg_iov = &small, .msg_iovlen = 1};
     return sendmsg(at.pair[0], &m, 0);)
CALL(sendmmsg, fill(at.pair[0]);
     struct mmsghdr m = {.msg_hdr = {.msg_iov = &small, .msg_iovlen = 1}};
     return sendmmsg(at.pair[0], &m, 1, 0);)
CALL(write, fill(at.pair[0]); return write(at.pair[0], buffer, 1);)
CALL(writev, fill(at.pair[0]); return writev(at.pair[0], &small, 1);)

/* Transfers that take a while and must be whole */
CALL(send_large, return send(at.unlimited[0], large, LARGE, 0);)
CALL(sendto_large, return sendto(at.unlimited[0], large, LARGE, 0, NULL, 0);)
CALL(sendmsg_large, struct msghdr m = {.msg_iov = two, .msg_iovlen = 2};
     return sendmsg(at.unlimited[0], &m, 0);)
CALL(sendmmsg_large, struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = two, .msg_iovlen = 1}},
                                            {.msg_hdr = {.msg_iov = two + 1, .msg_iovlen = 1}}};
     int r = sendmmsg(at.unlimited[0], m, 2, 0);
     return r < 0   ? r
            : r < 2 ? (long)m[0].msg_len
                    : (long)m[0].msg_len + (long)m[1].msg_len;)
CALL(write_large, return write(at.unlimited[0], large, LARGE);)
CALL(writev_large, return writev(at.unlimited[0], two, 2);)
CALL(sendfile_large, return sendfile(at.unlimited[0], at.file, NULL, LARGE);)
CALL(write_pipe, return write(at.pipe[1], large, LARGE);)
CALL(writev_pipe, return writev(at.pipe[1], two, 2);)
CALL(recv_whole, return recv(at.unlimited[0], buffer, WHOLE, MSG_WAITALL);)
CALL(recvfrom_whole, return recvfrom(at.unlimited[0], buffer, WHOLE, MSG_WAITALL, NULL, NULL);)
CALL(recvmsg_whole, struct iovec halves[2] = {{buffer, 300}, {buffer + 300, WHOLE - 300}};
     struct msghdr m = {.msg_iov = halves, .msg_iovlen = 2};
     return recvmsg(at.unlimited[0], &m, MSG_WAITALL);)
CALL(recvmmsg_whole, struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &small, .msg_iovlen = 1}},
                                            {.msg_hdr = {.msg_iov = &small, .msg_iovlen = 1}}};
     int r = recvmmsg(at.datagrams[1], m, 2, 0, NULL);
     return r < 0   ? r
            : r < 2 ? (long)m[0].msg_len
                    : (long)(m[0].msg_len + m[1].msg_len);)

/* What ends the calls that have no limit of their own */
static void release_byte(void) { CHECK(write(at.pipe[1], "x", 1) == 1); }
static void release_semaphore(void) {
  struct sembuf give = {0, 1, 0};
  CHECK(semop(at.semaphores, &give, 1) == 0);
}
static void release_message(void) {
  struct {
    long type;
    char text[8];
  } message = {1, "message"};
  CHECK(msgsnd(at.messages, &message, sizeof message.text, 0) == 0);
}
static void release_full(void) {
  char message[64];
  CHECK(msgrcv(at.full_messages, message, 8, 0, 0) == 8);
}
static void release_usr1(void) { pthread_kill(caller, SIGUSR1); }
static void release_usr2(void) { pthread_kill(caller, SIGUSR2); }

/* A reader that takes its time and the whole; no more comes from a call that was cut short. The
 * first part of a whole is there from the start. */
static void drain(int fd) {
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  static char taken[LARGE / 32];
  for (size_t done = 0; done < LARGE;) {
    double end = seconds_now() + 0.5;
    ssize_t got;
    while ((got = read(fd, taken, sizeof taken)) < 0 && seconds_now() < end) usleep(1000);
    if (got <= 0) break;
    done += (size_t)got;
    usleep(1000);
  }
}
static void release_drain(void) { drain(at.unlimited[1]); }
static void release_drain_pipe(void) { drain(at.pipe[0]); }
static void start_whole(void) { CHECK(write(at.unlimited[1], large, WHOLE / 4) == WHOLE / 4); }
static void start_datagram(void) { CHECK(write(at.datagrams[0], large, WHOLE / 4) == WHOLE / 4); }
static void release_whole(void) {
  CHECK(write(at.unlimited[1], large, WHOLE / 4) == WHOLE / 4);
  usleep(5000);
  CHECK(write(at.unlimited[1], large, WHOLE / 2) == WHOLE / 2);
}
static void release_datagram(void) {
  CHECK(write(at.datagrams[0], large, WHOLE * 3 / 4) == WHOLE * 3 / 4);
}

struct call {
  const char *name;
  long (*run)(void);
  long result;           /* of a call left alone, */
  int error;             /*   and errno if that is -1 */
  void (*release)(void); /* ends the call, after limit_ms; NULL: it ends by itself */
  void (*start)(void);   /* before it; may be NULL */
  bool whole;            /* interrupted by the program's own signal it has a part to return */
  bool coarse;           /* its clock ticks in hundredths of a second */
  bool not_cancellable;  /* no cancellation point */
};

#define LIMITED(name)                                                                              \
  { #name, call_##name, 0, 0, .release = NULL }
#define TIMED_OUT(name, error)                                                                     \
  { #name, call_##name, -1, error, .release = NULL }
#define COARSE(name, error)                                                                        \
  { #name, call_##name, -1, error, .coarse = true }
#define RELEASED(name, result, how)                                                                \
  { #name, call_##name, result, 0, .release = how }
#define SIGNALLED(name)                                                                            \
  { #name, call_##name, -1, EINTR, .release = release_usr1 }
#define LARGE_ONE(name, how)                                                                       \
  { #name, call_##name, LARGE, 0, .release = how, .whole = true, .coarse = true }
#define WHOLE_ONE(name, first, rest)                                                               \
  { #name, call_##name, WHOLE, 0, .release = rest, .start = first, .whole = true }

static const struct call calls[] = {
    LIMITED(nanosleep),
    LIMITED(nanosleep_rest),
    LIMITED(clock_nanosleep),
    LIMITED(clock_nanosleep_until),
    LIMITED(usleep),
    LIMITED(thrd_sleep),
    LIMITED(sleep),
    LIMITED(poll),
    RELEASED(poll_unlimited, 1, release_byte),
    LIMITED(poll_chk),
    LIMITED(ppoll),
    LIMITED(ppoll_chk),
    LIMITED(select),
    LIMITED(pselect),
    LIMITED(epoll_wait),
    LIMITED(epoll_pwait),
    LIMITED(epoll_pwait2),
    TIMED_OUT(sem_timedwait, ETIMEDOUT),
    TIMED_OUT(sem_clockwait, ETIMEDOUT),
    {"semop", call_semop, 0, 0, .release = release_semaphore, .not_cancellable = true},
    {"semtimedop", call_semtimedop, -1, EAGAIN, .coarse = true, .not_cancellable = true},
    RELEASED(msgrcv, 8, release_message),
    RELEASED(msgsnd, 0, release_full),
    TIMED_OUT(aio_suspend, EAGAIN),
    TIMED_OUT(sigtimedwait, EAGAIN),
    RELEASED(sigwaitinfo, SIGUSR2, release_usr2),
    SIGNALLED(sigsuspend),
    SIGNALLED(sigpause),
    SIGNALLED(pause),
    COARSE(recv, EAGAIN),
    COARSE(recv_chk, EAGAIN),
    COARSE(recvfrom, EAGAIN),
    COARSE(recvfrom_chk, EAGAIN),
    COARSE(recvmsg, EAGAIN),
    COARSE(recvmmsg, EAGAIN),
    COARSE(read, EAGAIN),
    COARSE(read_chk, EAGAIN),
    COARSE(readv, EAGAIN),
    COARSE(accept, EAGAIN),
    COARSE(accept4, EAGAIN),
    COARSE(connect_local, EAGAIN),
    COARSE(connect_inet, EINPROGRESS),
    COARSE(send, EAGAIN),
    COARSE(sendto, EAGAIN),
    COARSE(sendmsg, EAGAIN),
    COARSE(sendmmsg, EAGAIN),
    COARSE(write, EAGAIN),
    COARSE(writev, EAGAIN),
    LARGE_ONE(send_large, release_drain),
    LARGE_ONE(sendto_large, release_drain),
    LARGE_ONE(sendmsg_large, release_drain),
    LARGE_ONE(sendmmsg_large, release_drain),
    LARGE_ONE(write_large, release_drain),
    LARGE_ONE(writev_large, release_drain),
    {"sendfile_large", call_sendfile_large, LARGE, 0, .release = release_drain, .whole = true,
     .not_cancellable = true},
    LARGE_ONE(write_pipe, release_drain_pipe),
    LARGE_ONE(writev_pipe, release_drain_pipe),
    WHOLE_ONE(recv_whole, start_whole, release_whole),
    WHOLE_ONE(recvfrom_whole, start_whole, release_whole),
    WHOLE_ONE(recvmsg_whole, start_whole, release_whole),
    WHOLE_ONE(recvmmsg_whole, start_datagram, release_datagram),
};
enum { CALLS = sizeof calls / sizeof *calls };

/* SIGUSR1 has a handler without SA_RESTART, SIGUSR2 is blocked for the waits that take it. */
static void calls_setup(void) {
  struct sigaction action = {.sa_handler = note_signal};
  sigset_t set;
  usr2(&set);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  signal(SIGPIPE, SIG_IGN);
  alarm(120);
}

/* Waits, whatever else may be broken here. */
static void rest_ms(int ms) {
  double end = seconds_now() + ms * 1e-3;
  for (double left; (left = end - seconds_now()) > 0;) usleep((useconds_t)(left * 1e6) + 1);
}

#endif
