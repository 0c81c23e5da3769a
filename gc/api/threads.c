/* threads.c: pthread_create is interposed so that a thread is registered, with the bounds of its
   stack, before it runs the program's function; a pthread key's destructor sees it end.

   The record that carries function and argument is an ordinary object of the heap: it hangs on
   struct pthread, which the root scan sees as any memory the kernel shows, so the argument is
   never lost on its way. The destructor re-arms itself until the last round, since other
   destructors call malloc; what a thread allocates or frees after that bypasses the buffers. */
#include "api/threads.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <threads.h>

#include "api/libraries.h"
#include "api/next.h"
#include "base/remedy.h"
#include "collect/world.h"
#include "mutator/thread.h"
#include "ports/port.h"

extern void *__libc_stack_end; /* the loader's */
#define MAIN_STACK (64 * MIB)

static struct {
  pthread_key_t key;
  bool has_key;
} state;

static void on_end(void *round) {
  uintptr_t left = (uintptr_t)round;
  if (left > 1 && pthread_setspecific(state.key, (void *)(left - 1)) == 0) return;
  thread_detach();
}

static void on_attached(void) {
  world_admit();
  self.thread->handle = (uintptr_t)pthread_self();
  if (state.has_key)
    pthread_setspecific(state.key, (void *)(uintptr_t)(PTHREAD_DESTRUCTOR_ITERATIONS - 1));
}

void threads_start(void) {
  state.has_key = pthread_key_create(&state.key, on_end) == 0;
  thread_attached = on_attached;
  if (self.thread) on_attached();
  /* Of main's stack only the top is known, and that it does not reach further down than this. */
  uintptr_t top = (uintptr_t)__libc_stack_end;
  thread_set_stack(top - MAIN_STACK, top + MAIN_STACK / 16);
}

struct beginning {
  void *(*function)(void *);
  void *argument;
};

static void register_stack(void) {
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void *begin;
  size_t size;
  if (pthread_attr_getstack(&attributes, &begin, &size) == 0)
    thread_set_stack((uintptr_t)begin, (uintptr_t)begin + size);
  pthread_attr_destroy(&attributes);
}

static struct beginning begin(void *pointer) {
  thread_attach(); /* first of all: until then no collection has to know this thread */
  struct beginning beginning = *(struct beginning *)pointer;
  free(pointer);
  if (!atomic_get(&port_sealed)) register_stack();
  return beginning;
}

static void *begin_thread(void *pointer) {
  struct beginning beginning = begin(pointer);
  return beginning.function(beginning.argument);
}

static struct beginning *new_beginning(void *(*function)(void *), void *argument) {
  libraries_catch_up();
  world_allow_parking();
  struct beginning *beginning = malloc(sizeof *beginning);
  if (beginning) *beginning = (struct beginning){function, argument};
  return beginning;
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*function)(void *), void *argument) {
  struct beginning *beginning = new_beginning(function, argument);
  if (!beginning) return EAGAIN;
  int result = NEXT(pthread_create)(thread, attributes, begin_thread, beginning);
  if (result != 0) free(beginning);
  return result;
}

/* libc calls its own pthread_create for these. */
static int begin_thrd(void *pointer) {
  struct beginning beginning = begin(pointer);
  return ((thrd_start_t)(void (*)(void))beginning.function)(beginning.argument);
}

EXPORT int thrd_create(thrd_t *thread, thrd_start_t function, void *argument) {
  struct beginning *beginning =
      new_beginning((void *(*)(void *))(void (*)(void))function, argument);
  if (!beginning) return thrd_nomem;
  int result = NEXT(thrd_create)(thread, begin_thrd, beginning);
  if (result != thrd_success) free(beginning);
  return result;
}

/* A cancellation unwinds the thread out of its call and runs handlers of the program: it must not
   be parked any more when that begins, nor ever again, for it may begin at its next call. */
EXPORT int pthread_cancel(pthread_t thread) {
  for (struct thread *record = thread_first(); record; record = record->next)
    if (atomic_get(&record->handle) == (uintptr_t)thread && !WITHOUT(cancel_unparks)) {
      parking_forbid(record);
      world_unpark(record);
    }
  return NEXT(pthread_cancel)(thread);
}
