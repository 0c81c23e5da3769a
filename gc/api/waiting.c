/* waiting.c: waits for semaphores, messages, signals and asynchronous input and output, which a
   stop does not interrupt (blocking.h). An interrupted wait has taken nothing, so a repetition
   loses nothing; those with an absolute time are repeated as they are. */
#include "api/blocking.h"
#include "api/kernel_words.h"
#include "api/next.h"

#include <aio.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <unistd.h>

EXPORT int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict end) {
  struct passage passage = PASSAGE(semaphore, end);

  return RETRY(&passage, NEXT(sem_timedwait)(semaphore, end));
}

EXPORT int sem_clockwait(sem_t *restrict semaphore, clockid_t clock,
                         const struct timespec *restrict end) {
  struct passage passage = PASSAGE(semaphore, end);

  return RETRY(&passage, NEXT(sem_clockwait)(semaphore, clock, end));
}

EXPORT int semop(int set, struct sembuf *operations, size_t count) {
  struct passage passage = PASSAGE(operations);

  return RETRY(&passage, NEXT(semop)(set, operations, count));
}

EXPORT int semtimedop(int set, struct sembuf *operations, size_t count,
                      const struct timespec *timeout) {
  struct passage passage = PASSAGE(operations, timeout);
  int64_t start = clock_now_if(timeout != NULL);
  const struct timespec *request = timeout;
  struct timespec left;

  return RETRY_AFTER(&passage, NEXT(semtimedop)(set, operations, count, timeout),
                     timeout = renew_timespec(request, start, &left));
}

EXPORT ssize_t msgrcv(int queue, void *message, size_t size, long type, int flags) {
  struct passage passage = PASSAGE(message);

  return RETRY(&passage, NEXT(msgrcv)(queue, message, size, type, flags));
}

EXPORT int msgsnd(int queue, const void *message, size_t size, int flags) {
  struct passage passage = PASSAGE(message);

  int result = RETRY(&passage, NEXT(msgsnd)(queue, message, size, flags));

  if (result == 0) sent(SENT_TO_QUEUE, (const char *)message + sizeof(long), size, (long)size);
  return result;
}

EXPORT int aio_suspend(const struct aiocb *const list[], int count,
                       const struct timespec *restrict timeout) {
  struct passage passage = PASSAGE(list, timeout);
  int64_t start = clock_now_if(timeout != NULL);
  const struct timespec *next_timeout = timeout;
  struct timespec left;

  return RETRY_AFTER(&passage, NEXT(aio_suspend)(list, count, next_timeout),
                     next_timeout = renew_timespec(timeout, start, &left));
}

/* The same on 64-bit systems, but for the name of the structure. */
EXPORT int aio_suspend64(const struct aiocb64 *const list[], int count,
                         const struct timespec *restrict timeout) {
  return aio_suspend((const struct aiocb *const *)list, count, timeout);
}

/* Waits for signals. sigsuspend and sigpause run handlers inside the call, where they count; a
   signal that arrives while only a stop is served stays blocked, pending for the repetition. */

EXPORT int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info,
                        const struct timespec *restrict timeout) {
  struct passage passage = PASSAGE(set, info, timeout);
  int64_t start = clock_now_if(timeout != NULL);
  const struct timespec *next_timeout = timeout;
  struct timespec left;

  return RETRY_AFTER(&passage, NEXT(sigtimedwait)(set, info, next_timeout),
                     next_timeout = renew_timespec(timeout, start, &left));
}

EXPORT int sigwaitinfo(const sigset_t *restrict set, siginfo_t *restrict info) {
  struct passage passage = PASSAGE(set, info);

  return RETRY(&passage, NEXT(sigwaitinfo)(set, info));
}

EXPORT int sigsuspend(const sigset_t *mask) {
  struct passage passage = PASSAGE(mask);

  return RETRY(&passage, NEXT(sigsuspend)(mask));
}

EXPORT int pause(void) {
  struct passage passage = PASSAGE(NULL);

  return RETRY(&passage, NEXT(pause)());
}

/* Three names for two functions: the header gives the name sigpause to the one that takes a
   signal number, while the symbol of that name takes a mask. */
EXPORT int __sigpause(int signal_or_mask, int is_signal);
EXPORT int __sigpause(int signal_or_mask, int is_signal) {
  struct passage passage = PASSAGE(NULL);

  return RETRY(&passage, NEXT(__sigpause)(signal_or_mask, is_signal));
}

EXPORT int __xpg_sigpause(int signo);
EXPORT int __xpg_sigpause(int signo) { return __sigpause(signo, 1); }

EXPORT int sigpause_symbol(int mask) __asm__("sigpause");
EXPORT int sigpause_symbol(int mask) { return __sigpause(mask, 0); }

ALIAS(__sigsuspend, sigsuspend);
