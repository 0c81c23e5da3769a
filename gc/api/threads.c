/* threads.c: pthread_create is interposed so that a thread is registered, with the bounds of its
   stack, before it runs the program's function; a pthread key's destructor sees it end.

   The record that carries function and argument is an ordinary object of the heap: it hangs on
   struct pthread, which the root scan sees as any memory the kernel shows, so the argument is
   never lost on its way. Where the program has made keys with destructors, ours re-arms itself
   until the last round, since those call malloc; what a thread allocates or frees after that
   bypasses the buffers. pthread_key_create is interposed to know whether there are any: a round
   costs a thread 540 instructions of libc's, and an eighth of all that its life takes in the
   library. */
#include "api/threads.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "api/background.h"
#include "api/libraries.h"
#include "api/next.h"
#include "api/signals.h"
#include "base/lock.h"
#include "base/remedy.h"
#include "collect/world.h"
#include "mutator/thread.h"
#include "ports/port.h"

extern void *__libc_stack_end; /* the loader's */
#define MAIN_STACK (64 * MIB)

enum { EARLY = 256 };

static struct {
  pthread_key_t key;
  bool has_key;
  bool over;
  bool others;   /* the program has keys with destructors */
  uint32_t left; /* the program's threads that will come to on_end, or are being made */
  /* Handles of threads that were cancelled before they had a record; 0: free. Those of threads that
     had ended already stay, until another thread of that handle begins. */
  uintptr_t early[EARLY];
  bool any_early, more_early; /* than there is room for: any thread may be one */
} state;

static THREAD_LOCAL enum { UNCOUNTED, COUNTED, OURS } standing;

/* ended: in its last destructor; else the thread goes on without being counted. */
static void leave(bool ended) {
  if (__atomic_sub_fetch(&state.left, 1, __ATOMIC_SEQ_CST)) return;
  atomic_set(&state.over, true);
  background_end_with_program(ended);
}

static void on_end(void *round) {
  uintptr_t left = (uintptr_t)round;
  if (left > 1 && atomic_get(&state.others) &&
      pthread_setspecific(state.key, (void *)(left - 1)) == 0)
    return;
  /* Nobody knows any more, from here on, who has a block as signal stack. */
  if (self.thread && heap_holds(self.thread->alternate_stack)) signal_stack_give_up();
  thread_detach();
  if (standing != COUNTED) return;
  standing = UNCOUNTED;
  leave(true);
}

/* Arms the destructor. */
static bool see_end(void) {
  void *rounds = (void *)(uintptr_t)(PTHREAD_DESTRUCTOR_ITERATIONS - 1);
  return state.has_key && pthread_setspecific(state.key, rounds) == 0;
}

EXPORT int pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
  if (destructor) atomic_set(&state.others, true);
  return NEXT(pthread_key_create)(key, destructor);
}
ALIAS(__pthread_key_create, pthread_key_create); /* what the compilers' run-time libraries call */

EXPORT int tss_create(tss_t *key, tss_dtor_t destructor) {
  if (destructor) atomic_set(&state.others, true);
  return NEXT(tss_create)(key, destructor);
}

static void note_early(uintptr_t handle) {
  __atomic_store_n(&state.any_early, true, __ATOMIC_SEQ_CST);
  for (int i = 0; i < EARLY; i++) {
    uintptr_t none = 0;
    if (__atomic_compare_exchange_n(&state.early[i], &none, handle, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST) ||
        none == handle)
      return;
  }
  __atomic_store_n(&state.more_early, true, __ATOMIC_SEQ_CST);
}

/* Was a thread of this handle cancelled? It is forgotten. */
static bool was_cancelled_early(uintptr_t handle) {
  if (!__atomic_load_n(&state.any_early, __ATOMIC_SEQ_CST)) return false;
  for (int i = 0; i < EARLY; i++) {
    uintptr_t found = handle;
    if (__atomic_compare_exchange_n(&state.early[i], &found, 0, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST))
      return true;
  }
  return __atomic_load_n(&state.more_early, __ATOMIC_SEQ_CST);
}

/* Shown, then looked: whoever cancels it first tells, then looks for the record once more. */
static void show_handle(void) {
  uintptr_t handle = (uintptr_t)pthread_self();
  __atomic_store_n(&self.thread->handle, handle, __ATOMIC_SEQ_CST);
  if (was_cancelled_early(handle)) parking_forbid(self.thread);
}

static void on_attached(void) {
  world_admit();
  show_handle();
  if (!see_end() || standing != UNCOUNTED) return;
  standing = COUNTED;
  __atomic_add_fetch(&state.left, 1, __ATOMIC_SEQ_CST);
  atomic_set(&state.over, false);
}

void threads_disown(void) { standing = OURS; }
bool threads_over(void) { return atomic_get(&state.over); }

void threads_fork_child(void) {
  state.left = standing == COUNTED;
  state.over = false;
  memset(state.early, 0, sizeof state.early);
  state.any_early = state.more_early = false;
}

void threads_start(void) {
  state.has_key = NEXT(pthread_key_create)(&state.key, on_end) == 0;
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

/* pthread_getattr_np asks the kernel for the thread's processors as well, and allocates. What it
   says about the stack are three words that libc keeps together in the thread's descriptor, which
   is what a handle points to: the block, its size, and how much of that is guard. Where they stand
   is found out by its own answer for one thread, if just one place agrees with that; a later
   thread's words count only if its descriptor and its stack pointer lie within, as they do in every
   stack of libc or of the program that it made the thread on. Otherwise it is asked each time. */
enum { DESCRIPTOR_WORDS = 512, NOT_FOUND = -1, NOT_LOOKED_FOR = 0 };

static bool read_stack(int place, uintptr_t *begin, uintptr_t *end) {
  uintptr_t descriptor = (uintptr_t)pthread_self(), here = (uintptr_t)__builtin_frame_address(0);
  const uintptr_t *words = (const uintptr_t *)descriptor + place;
  uintptr_t block = words[0], size = words[1], guard = words[2];
  *begin = block + guard;
  *end = block + size;
  return guard < size && *begin < here && here < descriptor && descriptor < *end;
}

static int find_stack(uintptr_t begin, uintptr_t end) {
  uintptr_t descriptor = (uintptr_t)pthread_self();
  if (descriptor <= begin || descriptor >= end) return NOT_FOUND;
  int place = NOT_FOUND, most = (int)((end - descriptor) / sizeof(uintptr_t)) - 3;
  for (int i = 1; i <= most && i < DESCRIPTOR_WORDS; i++) {
    uintptr_t found_begin, found_end;
    if (!read_stack(i, &found_begin, &found_end) || found_begin != begin || found_end != end)
      continue;
    if (place != NOT_FOUND) return NOT_FOUND;
    place = i;
  }
  return place;
}

static void register_stack(void) {
  static int place; /* in words */
  uintptr_t begin, end;
  int known = atomic_get(&place);
  if (known > 0 && read_stack(known, &begin, &end)) {
    thread_set_stack(begin, end);
    return;
  }
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void *stack;
  size_t size;
  if (pthread_attr_getstack(&attributes, &stack, &size) == 0) {
    begin = (uintptr_t)stack;
    thread_set_stack(begin, begin + size);
    if (known == NOT_LOOKED_FOR) atomic_set(&place, find_stack(begin, begin + size));
  }
  pthread_attr_destroy(&attributes);
}

/* In one section, which costs as much as one of those in here. */
static struct beginning begin(void *pointer) {
  section_begin();
  standing = COUNTED;  /* by its maker */
  thread_attach_new(); /* first of all: until then no collection has to know this thread */
  if (self.thread && !self.thread->handle) show_handle(); /* made before threads_start */
  if (!self.thread && !see_end()) {
    standing = UNCOUNTED;
    leave(false);
  }
  struct beginning beginning = *(struct beginning *)pointer;
  free(pointer);
  if (!atomic_get(&port_sealed)) register_stack();
  section_end();
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
  if (!beginning) return NULL;
  *beginning = (struct beginning){function, argument};
  __atomic_add_fetch(&state.left, 1, __ATOMIC_SEQ_CST);
  atomic_set(&state.over, false);
  return beginning;
}

/* No thread was made. */
static void drop_beginning(struct beginning *beginning) {
  free(beginning);
  __atomic_sub_fetch(&state.left, 1, __ATOMIC_SEQ_CST);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*function)(void *), void *argument) {
  struct beginning *beginning = new_beginning(function, argument);
  if (!beginning) return EAGAIN;
  int result = NEXT(pthread_create)(thread, attributes, begin_thread, beginning);
  if (result != 0) drop_beginning(beginning);
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
  if (result != thrd_success) drop_beginning(beginning);
  return result;
}

static bool unpark_for_good(uintptr_t handle) {
  bool found = false;
  for (struct thread *record = thread_first(); record; record = record->next)
    if (__atomic_load_n(&record->handle, __ATOMIC_SEQ_CST) == handle &&
        atomic_get_acquire(&record->id) > 0) {
      parking_forbid(record);
      world_unpark(record);
      found = true;
    }
  return found;
}

/* A cancellation unwinds the thread out of its call and runs handlers of the program: it must not
   be parked any more when that begins, nor ever again, for it may begin at its next call. Nor must
   a thread that is yet to begin, and will find the request at its first call. */
EXPORT int pthread_cancel(pthread_t thread) {
  uintptr_t handle = (uintptr_t)thread;
  if (!WITHOUT(cancel_unparks) && !unpark_for_good(handle) && !WITHOUT(early_cancel)) {
    note_early(handle);
    if (unpark_for_good(handle)) was_cancelled_early(handle);
  }
  return NEXT(pthread_cancel)(thread);
}
