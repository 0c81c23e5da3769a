/* thread.h: the registry of threads that use the heap: which stack each runs on and which mutator
   is its own. The collector finds threads in /proc, not here; the registry only adds what the
   kernel does not tell (the unused part of a stack). Records live in private memory and are
   reused. */
#ifndef RECLAIM_THREAD_H
#define RECLAIM_THREAD_H

#include "mutator/mutator.h"

enum { HANDLER_LEVELS = 4 };

struct thread {
  /* What a stop looks at, in one line of the cache. */
  int id;             /* kernel's task id; 0: record not in use; negative: not yet, or no more */
  bool nested_stacks; /* another stack lies in a frame of this one: what is below the stack
                         pointer may be alive */
  uint64_t parking;   /* parking.h */
  uintptr_t parked_stack;           /* while parked: all that the thread holds lies above */
  uintptr_t alternate_stack;        /* its signal stack as last set, 0: none or not known */
  uintptr_t stack_begin, stack_end; /* both 0: not known, all of its mapping is scanned */
  struct thread *next;              /* all records */

  uintptr_t handle;       /* what pthreads calls this thread; 0: not known */
  size_t signal_stack;    /* of a small alternate stack the size; 0: none, or large enough */
  uintptr_t former_stack; /* alternate one before this: a handler's return may set it again */
  /* The alternate one that the program gave by libc's sigaltstack(), 0: none. What a runtime sets
     by calls of its own (Go) comes and goes unseen. */
  uintptr_t given_stack;
  struct mutator *levels[HANDLER_LEVELS]; /* [0] its own; others for handlers inside malloc */
  /* The stack pointer at which a handler interrupted this level's mutator, 0: not interrupted. */
  uintptr_t interrupted[HANDLER_LEVELS];
};

/* The calling thread's record, set up when first asked for. NULL: out of memory, or the thread
   has ended its last destructor. */
HIDDEN struct thread *thread_attach(void);
/* The same for a thread that pthreads has only just begun: the kernel gives those no signal stack
   (Linux, kernel/fork.c, copy_process), so it is not asked. */
HIDDEN struct thread *thread_attach_new(void);
/* The same for a thread that hardly allocates: without buffers of its own. */
HIDDEN struct thread *thread_enroll(void);
/* Gives up buffers and record; later calls of malloc and free by this thread use no buffer. */
HIDDEN void thread_detach(void);
/* A thread that ended by a raw system call has not given up anything. Its record is found when it
   does not answer, or when the kernel uses its id again; noting that changes but the record's id
   (its old one is told, so that nobody else's is meant), even while the world is stopped. */
HIDDEN void thread_note_gone(struct thread *thread, int id);
/* Gives up for them what they held. Not while the world is stopped, and only once no other thread
   can run with such a record (a vfork child may have made its parent's, a clone have its maker's).
 */
HIDDEN void thread_bury(void);
HIDDEN void thread_set_stack(uintptr_t begin, uintptr_t end);
/* The calling thread is about to run, or runs, on a stack at this address. */
HIDDEN void thread_note_stack(uintptr_t address);
/* The calling thread has an alternate stack of this size that may be too small for a stop; 0: it
   has none. Not while a cycle may stop threads. */
HIDDEN void thread_set_signal_stack(size_t size);
/* The smallest of those of all threads, SIZE_MAX when there is none. */
HIDDEN size_t thread_smallest_signal_stack(void);
/* Has any thread had an alternate stack? False for most programs, for good. */
extern HIDDEN bool thread_alternate_stacks;
/* That thread's alternate stack begins here, 0: it has none. The free() of a block of the heap that
   is one becomes a slow one, which can ask whether it is still in use. Async-signal-safe. */
HIDDEN void thread_set_alternate_stack(struct thread *thread, uintptr_t stack);
static inline bool thread_stack_lies_in(uintptr_t stack, uintptr_t begin, size_t size) {
  return stack && stack - begin < size;
}
/* Does one that some thread has, or had before the present one, begin in these bytes? */
HIDDEN bool thread_alternate_stack_in(uintptr_t begin, size_t size);
/* The program is giving that thread an alternate stack, 0: takes it away. Called before the kernel
   is told: of two threads that are given the same one at least sees the other. */
HIDDEN void thread_give_signal_stack(struct thread *thread, uintptr_t stack);
/* Does a stack that was given so to another thread than this begin in these bytes? */
HIDDEN bool thread_others_stack_in(const struct thread *thread, uintptr_t begin, size_t size);
/* Looks up a record by task id; only while the world is stopped or by the thread itself. */
HIDDEN struct thread *thread_find(int id);
/* The newest record, in use or not; the others hang on it by `next`. */
HIDDEN struct thread *thread_first(void);
/* The ids of all records in use; their number. Seen at least: every thread whose thread_attach
   returned before the call. */
HIDDEN int thread_list(int *ids, int capacity);
/* Fork child: only the caller is left. */
HIDDEN void thread_fork_child(void);
HIDDEN void thread_fork_lock(void);
HIDDEN void thread_fork_unlock(void);

/* Sends every malloc and free through the slow path (check= and the like). Before threads exist. */
extern HIDDEN bool thread_instrumented;
/* Called when a thread was attached, to hook its end. */
extern HIDDEN void (*thread_attached)(void);

/* A handler interrupted this thread inside the allocator, at this stack pointer: use another
   mutator until thread_leave_level. A handler that leaves by longjmp never says so: its level is
   found to be free again once the stack has shrunk past it. When all levels are taken, objects are
   made through borrowed mutators. */
HIDDEN void thread_enter_level(uintptr_t stack_pointer);
HIDDEN void thread_leave_level(struct mutator *real, uint32_t level);

#endif
