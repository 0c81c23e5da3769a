/* parked.c: blocking calls that a stop does not disturb; they are interposed so that the threads in
   them are parked and need no signal (blocking.h). A server's idle workers wait in these.

   Not parked although they block: what allocates, frees, maps or unmaps inside libc (pthread_join,
   posix_spawn, system, getaddrinfo), and locks, whose fast path this would burden. */
#include "api/blocking.h"
#include "api/next.h"

#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <threads.h>

EXPORT int pthread_cond_wait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex) {
  struct passage passage = PASSAGE(condition, mutex);

  return PARKED(&passage, NEXT(pthread_cond_wait)(condition, mutex));
}

EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict condition,
                                  pthread_mutex_t *restrict mutex,
                                  const struct timespec *restrict end) {
  struct passage passage = PASSAGE(condition, mutex, end);

  return PARKED(&passage, NEXT(pthread_cond_timedwait)(condition, mutex, end));
}

EXPORT int pthread_cond_clockwait(pthread_cond_t *restrict condition,
                                  pthread_mutex_t *restrict mutex, clockid_t clock,
                                  const struct timespec *restrict end) {
  struct passage passage = PASSAGE(condition, mutex, end);

  return PARKED(&passage, NEXT(pthread_cond_clockwait)(condition, mutex, clock, end));
}

EXPORT int cnd_wait(cnd_t *condition, mtx_t *mutex) {
  struct passage passage = PASSAGE(condition, mutex);

  return PARKED(&passage, NEXT(cnd_wait)(condition, mutex));
}

EXPORT int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                         const struct timespec *restrict end) {
  struct passage passage = PASSAGE(condition, mutex, end);

  return PARKED(&passage, NEXT(cnd_timedwait)(condition, mutex, end));
}

EXPORT int sem_wait(sem_t *semaphore) {
  struct passage passage = PASSAGE(semaphore);

  return PARKED(&passage, NEXT(sem_wait)(semaphore));
}

EXPORT int sigwait(const sigset_t *restrict set, int *restrict signo) {
  struct passage passage = PASSAGE(set, signo);

  return PARKED(&passage, NEXT(sigwait)(set, signo));
}

EXPORT int flock(int fd, int operation) {
  struct passage passage = PASSAGE(NULL);

  return PARKED(&passage, NEXT(flock)(fd, operation));
}

EXPORT ssize_t mq_receive(mqd_t queue, char *message, size_t size, unsigned *priority) {
  struct passage passage = PASSAGE(message, priority);

  return PARKED(&passage, NEXT(mq_receive)(queue, message, size, priority));
}

EXPORT ssize_t mq_timedreceive(mqd_t queue, char *restrict message, size_t size,
                               unsigned *restrict priority, const struct timespec *restrict end) {
  struct passage passage = PASSAGE(message, priority, end);

  return PARKED(&passage, NEXT(mq_timedreceive)(queue, message, size, priority, end));
}

/* Children */

EXPORT pid_t wait(int *status) {
  struct passage passage = PASSAGE(status);

  return PARKED(&passage, NEXT(wait)(status));
}

EXPORT pid_t waitpid(pid_t child, int *status, int options) {
  struct passage passage = PASSAGE(status);

  return PARKED(&passage, NEXT(waitpid)(child, status, options));
}

EXPORT int waitid(idtype_t kind, id_t id, siginfo_t *info, int options) {
  struct passage passage = PASSAGE(info);

  return PARKED(&passage, NEXT(waitid)(kind, id, info, options));
}

EXPORT pid_t wait3(int *status, int options, struct rusage *usage) {
  struct passage passage = PASSAGE(status, usage);

  return PARKED(&passage, NEXT(wait3)(status, options, usage));
}

EXPORT pid_t wait4(pid_t child, int *status, int options, struct rusage *usage) {
  struct passage passage = PASSAGE(status, usage);

  return PARKED(&passage, NEXT(wait4)(child, status, options, usage));
}

ALIAS(__wait, wait);
ALIAS(__waitpid, waitpid);
