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

#include "api/libraries.h"
#include "api/next.h"
#include "collect/world.h"
#include "mutator/thread.h"

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

static void *begin_thread(void *pointer) {
  thread_attach(); /* first of all: until then no collection has to know this thread */
  struct beginning beginning = *(struct beginning *)pointer;
  free(pointer);
  register_stack();
  return beginning.function(beginning.argument);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*function)(void *), void *argument) {
  libraries_catch_up();
  struct beginning *beginning = malloc(sizeof *beginning);
  if (!beginning) return EAGAIN;
  *beginning = (struct beginning){function, argument};
  int result = NEXT(pthread_create)(thread, attributes, begin_thread, beginning);
  if (result != 0) free(beginning);
  return result;
}
