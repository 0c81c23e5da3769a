/* process.c: fork, vfork and exec.

   fork must not copy a heap in the middle of a change. Our handlers take every lock of ours around
   it; they have to run innermost, since other libraries' handlers call malloc: so they are
   registered before anybody else's, by interposing __register_atfork, through which every call of
   pthread_atfork goes. What runs no handlers is interposed: _Fork here, clone in clone.c, the
   calls made by number in system_call.c. A child made by an instruction of the program's own is
   found out at the next look at identity_check and collects nothing; it may wait for ever for a
   lock of ours that another thread of its parent's held. */
#include "api/process.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "api/background.h"
#include "api/blocking.h"
#include "api/next.h"
#include "api/threads.h"
#include "base/identity.h"
#include "base/lock.h"
#include "base/remedy.h"
#include "collect/cycle.h"
#include "collect/held.h"
#include "collect/world.h"
#include "heap/page_heap.h"
#include "mutator/orphans.h"
#include "mutator/thread.h"
#include "ports/port.h"

bool process_is_vfork_child(void) { return identity_check() == IDENTITY_BORROWED; }

bool process_announce(void) {
  /* Behind a filter no cycle runs, and a vfork child could not be told. */
  if (atomic_get(&port_sealed) || identity_check() != IDENTITY_SELF) return false;
  cycle_announce();
  return true;
}

void process_retract(void) { cycle_retract(); }

/* Did the thread that forks hold off the cycles? Its own, while it holds all the locks. */
static bool fork_announced;

/* glibc takes the list of all streams once our handlers are done. Another thread may hold that and
   wait for one of our locks: fflush(NULL) writes a stream of the program's own, which allocates. So
   we take it first; it is recursive. Absent elsewhere. */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

/* Behind a filter signals are not blocked, and a handler that allocates would wait for the locks of
   the fork that it interrupted. Alone, a thread needs none. Absent from older libc's. */
extern char __libc_single_threaded __attribute__((weak));
static bool fork_locked;

static bool needs_locks(void) {
  return !atomic_get(&port_sealed) || !&__libc_single_threaded || !__libc_single_threaded ||
         WITHOUT(lone_fork);
}

static void lock(void) {
  if (!needs_locks()) {
    fork_locked = fork_announced = false;
    return;
  }
  bool announced = process_announce();
  thread_fork_lock();
  mutator_fork_lock();
  page_heap_lock();
  fork_announced = announced; /* under the locks: a vfork child that forks did not announce */
  fork_locked = true;
}

static void unlock(void) {
  if (!fork_locked) return;
  page_heap_unlock();
  mutator_fork_unlock();
  thread_fork_unlock();
}

static void unlock_in_parent(void) {
  bool announced = fork_announced;
  unlock();
  if (announced) process_retract();
}

/* forgotten: libc no longer counts the threads of the parent. */
static void become_child(bool forgotten) {
  identity_take();
  if (WITHOUT(fork_child_reset)) return;
  if (self.thread) mutator_fork_child(self.thread->levels, HANDLER_LEVELS);
  else mutator_fork_child(NULL, 0);
  thread_fork_child();
  cycle_fork_child(fork_announced);
  held_fork_child();
  background_fork_child(forgotten);
  if (forgotten) threads_fork_child();
  unlock();
}

static void before_fork(void) {
  if (_IO_list_lock && !WITHOUT(stream_list)) _IO_list_lock();
  lock();
}

static void after_fork_in_parent(void) {
  unlock_in_parent();
  if (_IO_list_unlock && !WITHOUT(stream_list)) _IO_list_unlock();
}

static void after_fork_in_child(void) {
  become_child(true);
  if (WITHOUT(fork_child_reset)) return;
  if (_IO_list_resetlock && !WITHOUT(stream_list)) _IO_list_resetlock(); /* as glibc has done */
}

/* A thread that no library made has its maker's storage, and so the count of its sections: both of
   them would change it at once. The maker of a vfork child waits. Behind a filter, which may forbid
   to ask, there are no sections. */
static bool is_foreign(void) {
  if (!self.thread || atomic_get(&port_sealed)) return false;
  return self.thread->id != port_thread_id() && !process_is_vfork_child();
}

bool process_before_copy(void) {
  if (WITHOUT(own_fork) || is_foreign()) return false;
  lock();
  return true;
}

void process_after_copy(bool begun, bool in_child) {
  if (!begun) return;
  int error = errno;
  if (in_child) become_child(false);
  else unlock_in_parent();
  errno = error;
}

/* Unlike fork it may be called in a signal handler, and so may all that we do around it. */
EXPORT pid_t _Fork(void) {
  bool begun = process_before_copy();
  pid_t child = NEXT(_Fork)();
  process_after_copy(begun, child == 0);
  return child;
}

extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);

static void hook_fork(void) {
  static bool hooked;
  if (__atomic_exchange_n(&hooked, true, __ATOMIC_SEQ_CST)) return;
  NEXT(__register_atfork)(before_fork, after_fork_in_parent, after_fork_in_child, NULL);
}

EXPORT int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                             void *library) {
  hook_fork();
  return NEXT(__register_atfork)(prepare, parent, child, library);
}

/* vfork returns twice, so that its caller's frame must be the last: ours is left by a jump. The
   parent is held in the kernel until the child execs or ends, and the child has its record. */
HIDDEN void *process_next_vfork;

__attribute__((used)) HIDDEN void process_before_vfork(void);
void process_before_vfork(void) {
  if (!process_next_vfork) process_next_vfork = next_symbol("vfork");
  self.lent = true;
}

PORT_DEFINE_JUMP(vfork, process_before_vfork, process_next_vfork);
PORT_DEFINE_JUMP(__vfork, process_before_vfork, process_next_vfork);

bool blocking_is_own_thread(void) {
  if (identity_check() != IDENTITY_SELF && !WITHOUT(lent_memory)) return false;
  self.lent = false;
  return true;
}

void process_start(void) {
  process_next_vfork = next_symbol("vfork");
  hook_fork();
}
