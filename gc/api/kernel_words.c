/* kernel_words.c: what epoll_ctl, timers, message queues, queued signals and asynchronous input and
   output leave to the kernel (kernel_words.h).

   epoll_ctl, timer_create and mq_notify can be taken back, so their words stand in a table
   (collect/held.h) from which they go again. All else pins the object until it is freed
   (mutator/pin.h). The table's three rules: a word is entered after the kernel took it, while the
   caller's structure still holds it; it is taken out before the kernel is told to forget it, and
   put back if that fails; and what a new registration displaces is pinned, since the old one may
   live on: close() ends a watch only when no copy of the descriptor is left (dup, fork), and a
   signal that a timer raised may still be pending. So close() and dup() need not be watched.

   glibc keeps SIGEV_THREAD timers and the requests of aio_read and its like in plain lists, which
   are scanned as any memory; the values it sends by signal when they are done are not. */
#include "api/kernel_words.h"

#include "api/blocking.h"
#include "api/next.h"
#include "base/remedy.h"
#include "collect/held.h"
#include "collect/permit.h"
#include "mutator/pin.h"
#include "ports/port.h"

#include <aio.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

void kernel_holds(uintptr_t word) {
  if (pin_concerns(word) && !WITHOUT(queued_values)) pin_object(word);
}

/* The word is the kernel's now. 0: a registration without one. */
static void enter(enum held_kind kind, uint64_t key, uintptr_t word) {
  uintptr_t displaced;

  if (!pin_concerns(word)) word = 0;
  if (!held_put(kind, key, word, &displaced) && word) pin_object(word);
  if (displaced) pin_object(displaced);
}

/* --- epoll ---------------------------------------------------------------------------------- */

EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
  uint64_t key = (uint64_t)(uint32_t)epoll << 32 | (uint32_t)fd;
  uintptr_t taken = operation == EPOLL_CTL_DEL ? held_take(HELD_EPOLL, key) : 0;
  int result = NEXT(epoll_ctl)(epoll, operation, fd, event);

  if (operation == EPOLL_CTL_DEL) {
    if (UNLIKELY(result < 0) && taken) enter(HELD_EPOLL, key, taken);
  } else if (result == 0 && !WITHOUT(epoll_data)) {
    enter(HELD_EPOLL, key, (uintptr_t)event->data.u64);
  }
  return result;
}

/* --- timers and notices --------------------------------------------------------------------- */

static uintptr_t value_of(const struct sigevent *event) {
  bool kept = event != NULL &&
              (event->sigev_notify == SIGEV_SIGNAL || event->sigev_notify == SIGEV_THREAD_ID);

  return kept ? (uintptr_t)event->sigev_value.sival_ptr : 0;
}

EXPORT int timer_create(clockid_t clock, struct sigevent *restrict event, timer_t *restrict timer) {
  int result = NEXT(timer_create)(clock, event, timer);

  if (result == 0 && !WITHOUT(timer_values))
    enter(HELD_TIMER, (uint64_t)(uintptr_t)*timer, value_of(event));
  return result;
}

/* The signal of a timer that has expired may be pending still (Linux before 6.13 delivers it), for
   the process or for a thread whose queue cannot be seen from here. So what is pinned here is
   what a program lets a timer point to and neither frees afterwards. */
EXPORT int timer_delete(timer_t timer) {
  uintptr_t taken = held_take(HELD_TIMER, (uint64_t)(uintptr_t)timer);
  int result = NEXT(timer_delete)(timer);

  if (taken) {
    if (result < 0) enter(HELD_TIMER, (uint64_t)(uintptr_t)timer, taken);
    else pin_object(taken);
  }
  return result;
}

/* With SIGEV_THREAD the kernel keeps 32 bytes of glibc's own: the value, and the address of a copy
   of the attributes that nobody else knows. */
EXPORT int mq_notify(mqd_t queue, const struct sigevent *event) {
  bool thread = event != NULL && event->sigev_notify == SIGEV_THREAD;

  if (thread && event->sigev_notify_attributes != NULL && !WITHOUT(timer_values))
    permit_keep_unfreed("mq_notify with attributes for its thread");
  uintptr_t taken = event == NULL ? held_take(HELD_QUEUE, (uint32_t)queue) : 0;
  int result = NEXT(mq_notify)(queue, event);

  if (event == NULL) {
    if (taken && result < 0) enter(HELD_QUEUE, (uint32_t)queue, taken);
    else if (taken) pin_object(taken); /* a signal may be pending, as above */
  } else if (result == 0 && !WITHOUT(timer_values)) {
    enter(HELD_QUEUE, (uint32_t)queue,
          thread ? (uintptr_t)event->sigev_value.sival_ptr : value_of(event));
  }
  return result;
}

EXPORT int mq_send(mqd_t queue, const char *message, size_t size, unsigned int priority) {
  struct passage passage = PASSAGE(message);
  int result = PARKED(&passage, NEXT(mq_send)(queue, message, size, priority));

  if (result == 0) sent(SENT_TO_QUEUE, message, size, (long)size);
  return result;
}

EXPORT int mq_timedsend(mqd_t queue, const char *message, size_t size, unsigned int priority,
                        const struct timespec *end) {
  struct passage passage = PASSAGE(message, end);
  int result = PARKED(&passage, NEXT(mq_timedsend)(queue, message, size, priority, end));

  if (result == 0) sent(SENT_TO_QUEUE, message, size, (long)size);
  return result;
}

/* --- queued signals ------------------------------------------------------------------------- */

EXPORT int sigqueue(pid_t process, int number, const union sigval value) {
  kernel_holds((uintptr_t)value.sival_ptr);
  return NEXT(sigqueue)(process, number, value);
}

EXPORT int pthread_sigqueue(pthread_t thread, int number, const union sigval value) {
  kernel_holds((uintptr_t)value.sival_ptr);
  return NEXT(pthread_sigqueue)(thread, number, value);
}

/* --- asynchronous input and output ----------------------------------------------------------- */

/* libc looks into the request before anything else, so we may too. */
static void note_request(const struct aiocb *request) {
  kernel_holds(value_of(&request->aio_sigevent));
}

EXPORT int aio_read(struct aiocb *request) {
  note_request(request);
  return NEXT(aio_read)(request);
}

EXPORT int aio_write(struct aiocb *request) {
  note_request(request);
  return NEXT(aio_write)(request);
}

EXPORT int aio_fsync(int operation, struct aiocb *request) {
  note_request(request);
  return NEXT(aio_fsync)(operation, request);
}

EXPORT int lio_listio(int mode, struct aiocb *const list[restrict], int count,
                      struct sigevent *restrict event) {
  for (int i = 0; i < count; i++)
    if (list[i] != NULL) note_request(list[i]);
  kernel_holds(value_of(event));
  return NEXT(lio_listio)(mode, list, count, event);
}

/* The same on 64-bit systems, but for the name of the structure. */
_Static_assert(sizeof(struct aiocb) == sizeof(struct aiocb64), "aiocb and aiocb64 are one");

EXPORT int aio_read64(struct aiocb64 *request) { return aio_read((struct aiocb *)request); }
EXPORT int aio_write64(struct aiocb64 *request) { return aio_write((struct aiocb *)request); }
EXPORT int aio_fsync64(int operation, struct aiocb64 *request) {
  return aio_fsync(operation, (struct aiocb *)request);
}
EXPORT int lio_listio64(int mode, struct aiocb64 *const list[restrict], int count,
                        struct sigevent *restrict event) {
  return lio_listio(mode, (struct aiocb *const *)list, count, event);
}

/* libaio's names. It may be loaded late or not at all, and all it does is the system call: so this
   is one as well, and returns the error as libaio does. */

EXPORT int io_submit(void *context, long count, void **requests);
EXPORT int io_submit(void *context, long count, void **requests) {
  long result = port_io_submit((uintptr_t)context, count, requests);

  if (result > 0) port_submitted_words(requests, result, kernel_holds);
  return (int)result;
}

EXPORT int io_getevents(void *context, long least, long most, void *events,
                        struct timespec *timeout);
EXPORT int io_getevents(void *context, long least, long most, void *events,
                        struct timespec *timeout) {
  struct passage passage = PASSAGE(context, events, timeout);
  int64_t start = clock_now_if(timeout != NULL);
  const struct timespec *next_timeout = timeout;
  struct timespec left;
  long result;

  while ((result = PARKED(&passage, port_io_getevents((uintptr_t)context, least, most, events,
                                                      next_timeout))) == -EINTR &&
         stopped_only(&passage))
    next_timeout = renew_timespec(timeout, start, &left);
  return (int)result;
}
