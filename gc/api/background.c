/* background.c: who does what no call of malloc triggers.

   A single-threaded program does it on entering a blocking call (blocking_enter in blocking.h). A
   threaded one gets one collector thread, made when the first such work comes up, with all
   signals blocked; it sleeps as long as nothing is due. collect-every-ms, a testing option, makes
   that thread at start. The thread does not survive fork; the child makes its own when it must.
   fork need not end it first, since it holds every lock of ours; calls that the kernel refuses to
   a process of several threads do (namespace.c), and so does the program's last thread: libc ends
   the process with the last thread that it counts, and ours is among them. Where threads left by a
   raw system call libc never sees a last one, and the process ends when no thread is left: so ours
   looks whether it is alone. */
#include "api/background.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/blocking.h"
#include "api/libraries.h"
#include "api/next.h"
#include "api/threads.h"
#include "base/identity.h"
#include "base/option.h"
#include "base/remedy.h"
#include "collect/cycle.h"
#include "collect/pace.h"
#include "collect/permit.h"
#include "heap/page_heap.h"
#include "mutator/allocate.h"
#include "mutator/pages.h"
#include "mutator/thread.h"
#include "ports/port.h"

int blocking_work_due;

static struct {
  pthread_t thread;
  uint32_t running;
  uint32_t ending; /* futex word the thread sleeps on: 1 asks it to end */
  bool absent;     /* child of _Fork: libc counts a collector thread of the parent's */
  uint64_t looked; /* when a blocking call looked last at what is due, by the coarse clock */
  uint64_t next;   /* fork child: when collect-every-ms asks for the next cycle */
} state;

enum { STACK = 128 * 1024 };
static const uint64_t second = 1000000000;
#define LOOK_INTERVAL (second / 50)
/* Together with the page heap's decay: what a peak leaves is back within a second. */
#define TICK (second * 2 / 5)
#define TICK_AT_WORK (second * 3 / 20)

/* One round of whatever is due. Nothing is, behind a filter: it may forbid the clock. */
static void work(void) {
  if (atomic_get(&port_sealed)) {
    atomic_set(&blocking_work_due, 0);
    return;
  }
  uint64_t now = port_now();
  allocate_trim(false);
  if (!atomic_get(&state.running)) atomic_set(&mutator_pages_emptied, false);
  if (pace_idle_due(now)) cycle_run(CYCLE_IDLE, false);
  page_heap_decay(now);
  if (!pace_attention_due() && !atomic_get(&page_heap_counts.dirty_free) &&
      !atomic_get(&mutator_pages_emptied))
    atomic_set(&blocking_work_due, 0);
}

/* Parked, so that no stop has to look for this thread or wait for it. */
static void sleep_for(uint64_t nanoseconds) {
  struct thread *me = self.thread;
  bool parked = me && parking_enter(me, port_stack_pointer());
  port_futex_wait(&state.ending, 0, nanoseconds);
  if (parked && !parking_leave(me)) world_unpark(me);
}

/* Has every other thread left? A main thread that has is there until the process ends. Not asked
   where nothing is collected: a filter may forbid to ask. */
static bool is_alone(void) {
  if (permit_forbidden() || WITHOUT(alone)) return false;
  int count = port_count_threads();
  return count == 1 || (count == 2 && port_thread_state(port_process_id()) == PORT_THREAD_GONE);
}

/* A descriptor that we open for a moment could take a number that the program has just closed to
   open or dup another there; so the thread has a table of its own. Nothing of the program's stays
   open in it but, where asked for, the place of our own lines. */
static void *background(void *unused) {
  (void)unused;
  bool speaks = options.check != CHECK_OFF || strcmp(options.log, "stderr") == 0;
  if (!WITHOUT(own_descriptors)) port_separate_descriptors(speaks ? 2 : -1);
  uint64_t interval = (uint64_t)options.collect_every_ms * 1000000;
  threads_disown();
  thread_enroll();
  for (;;) {
    sleep_for(interval ? interval : atomic_get(&blocking_work_due) ? TICK_AT_WORK : TICK);
    if (atomic_get_acquire(&state.ending) || is_alone()) break;
    if (interval) cycle_run(CYCLE_INTERVAL, false);
    else if (atomic_get(&blocking_work_due)) work();
  }
  atomic_set(&state.next, port_now() + interval);
  return NULL;
}

static void make_thread(void) {
  if (threads_over()) return;
  world_allow_parking();
  if (__atomic_exchange_n(&state.running, 1, __ATOMIC_SEQ_CST)) return;
  pthread_attr_t attributes;
  sigset_t all, old;
  sigfillset(&all);
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int failed = NEXT(pthread_create)(&state.thread, &attributes, background, NULL);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attributes);
  if (failed) atomic_set(&state.running, 0); /* the next occasion tries again */
}

void background_start(void) {
  if (options.collect_every_ms) make_thread();
}

void background_attention(void) {
  if (atomic_get(&blocking_work_due) || atomic_get(&port_sealed)) return;
  pace_note_start(port_now());
  atomic_set(&blocking_work_due, 1);
}

/* Work may be due for seconds, and a server enters thousands of calls in each. */
static bool looked_just_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &time); /* no system call */
  uint64_t now = (uint64_t)time.tv_sec * second + (uint64_t)time.tv_nsec;
  if (now - atomic_get(&state.looked) < LOOK_INTERVAL) return true;
  atomic_set(&state.looked, now);
  return false;
}

/* On entering a blocking call, with work due. The collector thread looks by itself. */
void blocking_work(void) {
  int error = errno;
  if (atomic_get(&port_sealed)) work();
  else if (!libraries_behind() && (atomic_get(&state.running) || looked_just_now())) return;
  else if (identity_check() == IDENTITY_SELF && !options.collect_every_ms) {
    libraries_catch_up();
    if (port_count_threads() > 1) make_thread();
    if (!atomic_get(&state.running)) work();
  }
  errno = error;
}

void blocking_rest(void) {
  if (!atomic_get(&blocking_work_due) || atomic_get(&state.running) || atomic_get(&port_sealed))
    return;
  allocate_trim(true);
  page_heap_purge(0);
}

/* Once it is joined, the kernel has forgotten it, and libc no longer counts it. */
static void end_thread(void) {
  int cancel;
  if (__atomic_exchange_n(&state.ending, 1, __ATOMIC_SEQ_CST)) return; /* another waits for it */
  port_futex_wake(&state.ending, 1);
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
  NEXT(pthread_join)(state.thread, NULL);
  pthread_setcancelstate(cancel, &cancel);
  atomic_set(&state.ending, 0);
  atomic_set_release(&state.running, 0); /* the next occasion makes another */
}

void background_end(void) {
  if (!atomic_get(&state.running) || identity_check() != IDENTITY_SELF) return;
  if (port_count_threads() != 2 || WITHOUT(collector_thread_ends)) return; /* not by our doing */
  int error = errno;
  end_thread();
  errno = error;
}

void background_end_with_program(bool ended) {
  enum identity identity = identity_check();
  bool absent = state.absent;
  if (atomic_get(&state.running)) {
    if (identity == IDENTITY_SELF && !WITHOUT(last_thread)) end_thread();
    if (identity == IDENTITY_FORKED) absent = true; /* nobody has told us of the fork */
  }
  if (absent && ended && !WITHOUT(absent_thread)) exit(0);
}

void background_fork_child(bool forgotten) {
  state.absent = !forgotten && (state.absent || state.running);
  atomic_set(&state.ending, 0);
  atomic_set(&state.running, 0);
  state.next = port_now();
}

void background_interval(void) {
  if (atomic_get(&state.running) || atomic_get(&port_sealed)) return;
  if (port_now() < atomic_get(&state.next)) return;
  cycle_run(CYCLE_INTERVAL, false);
  atomic_set(&state.next, port_now() + (uint64_t)options.collect_every_ms * 1000000);
}
