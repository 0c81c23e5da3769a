/* remedy.h: the remedies against what breaks unmodified programs, by name, so that a test can
   leave one out and show that the program written for that hazard then fails.

   Only the library that the tests build with RECLAIM_WITHOUT asks at run time (the environment
   variable RECLAIM_WITHOUT=name+name, read in tests/preload/without.c). Everywhere else
   WITHOUT(name) is the constant false and costs nothing.

   tests/HAZARDS says which hazard each remedy answers and which test proves it. */
#ifndef RECLAIM_REMEDY_H
#define RECLAIM_REMEDY_H

#include "base/base.h"

#define REMEDIES(X)                                                                                \
  X(own_descriptors) /* the collector thread does not use the numbers of the program */            \
  X(mappings)        /* scan what the kernel shows: data, bss, anonymous and private file pages */ \
  X(signal_frame)    /* scan a stopped thread's registers, vector registers among them */          \
  X(demangle)        /* try words as registers that setjmp mangled, once stacks are switched so */ \
  X(interior)        /* a pointer to anywhere inside a block counts */                             \
  X(slack)           /* a spare byte behind each block: a pointer one past its end is inside */    \
  X(parking)         /* a thread in a blocking call is held without a signal */                    \
  X(one_signal)      /* who cannot answer is sent one stop signal, not one in each cycle */        \
  X(idle_threads)    /* what a parked thread has ready is taken from it in a stop */               \
  X(parked_frame)    /* the caller's registers, saved in the frame of the parked call */           \
  X(gate_unparks)    /* a handler ends the parking of its thread before it runs */                 \
  X(cancel_unparks)  /* so does a cancellation */                                                  \
  X(early_cancel)    /* nor is a thread ever parked that was cancelled before it began */          \
  X(raw_handlers)    /* nobody is held while there is a handler that passes no gate */             \
  X(lent_memory)     /* a vfork child does not park its parent */                                  \
  X(own_record)      /* nor does a thread park another's record */                                 \
  X(kept_arguments)  /* what a parked thread's call was given is a root */                         \
  X(nested_stacks)   /* a stack may lie in a frame of another */                                   \
  X(stream_list)     /* fork takes the list of streams before the allocator's locks */             \
  X(own_exec)        /* a handler does not wait for the exec that it interrupted */                \
  X(whole_steps)     /* no handler leaves the allocator in the middle of a change of its lists */  \
  X(restart_calls)   /* repeat a blocking call that only a stop interrupted */                     \
  X(epoll_data)      /* what epoll_ctl registers is a root */                                      \
  X(timer_values)    /* what timer_create and mq_notify register is a root */                      \
  X(queued_values)   /* values of queued signals and requests in flight are pinned */              \
  X(sent_words)      /* addresses sent through pipes, sockets and queues are pinned */             \
  X(rings)           /* with io_uring in use, what was never freed is kept */                      \
  X(raw_calls)       /* calls made through syscall() are treated like those of libc */             \
  X(shared_heap)     /* no cycle once a process made by clone(CLONE_VM) shares the heap */         \
  X(own_filter)      /* no cycle once the program has installed a filter of system calls */        \
  X(filter_trial)    /* under an inherited filter, try in a child what a cycle calls */            \
  X(group_limit)     /* the memory limit of a control group is kept to */                          \
  X(back_off)        /* cycles that reclaim nothing become rarer */                                \
  X(fork_child_reset) /* a fork child puts its copy of the collector's state in order */           \
  X(identity_check)   /* a child nobody announced, or one in its parent's memory, collects nothing \
                       */                                                                          \
  X(exec_announce)    /* no collection runs while a program is replaced */                         \
  X(last_thread)      /* the collector thread ends with the last thread of the program */          \
  X(absent_thread)    /* in a child of _Fork libc counts a collector thread that is not there */   \
  X(alone)            /* the collector thread ends when all others have left unseen */             \
  X(own_fork)         /* _Fork takes our locks, as fork does, and its child collects */            \
  X(lone_fork)        /* behind a filter, the fork of a lone thread takes no locks */              \
  X(collector_thread_ends) /* before calls that need a process of one thread */                    \
  X(passive)               /* where another allocator comes first nothing is collected */          \
  X(deepbind)              /* libraries are not bound to libc's free while malloc is ours */       \
  X(pin)      /* what a library allocates that keeps offsets instead of pointers is a root */      \
  X(pin_late) /* and what it may have allocated before it was known */                             \
  X(foreign_blocks)        /* blocks that libc's own allocator made go back to it */               \
  X(undumpable_fallback)   /* do without the pagemap of a process that dropped its privileges */   \
  X(thread_self_maps)      /* the list of mappings survives the main thread's end */               \
  X(address_space_limit)   /* the reservation gives way to a limit set later */                    \
  X(locked_memory)         /* memory that cannot be given back is not taken to be zero */          \
  X(bounded_moves)         /* blocks moved by mremap are few, each leaves a mapping behind */      \
  X(lost_target)           /* a block to which no pages could be moved is not used */              \
  X(calloc_zeroes)         /* memory used before is cleared */                                     \
  X(collect_before_enomem) /* before malloc returns NULL */                                        \
  X(give_back)             /* free pages go back to the kernel */                                  \
  X(unused_stack)          /* what lies below a stack pointer is no root */                        \
  X(stack_bounds)      /* a stack ends where its thread was told, not where the mapping does */    \
  X(wipe_dead)         /* garbage loses its contents */                                            \
  X(mark_overflow)     /* objects that found the mark stack full are scanned later */              \
  X(large_presence)    /* of large objects only pages that were touched are scanned */             \
  X(stopped_sleep)     /* a stopped thread sleeps */                                               \
  X(late_signal_epoch) /* a stop signal that arrives after its cycle stops nobody */               \
  X(stoppable_wait)    /* a thread that waits for a cycle can be stopped for it */                 \
  X(red_zone)          /* words below the stack pointer that the calling convention keeps */       \
  X(whole_stack)       /* all of a known stack while its thread runs on another */                 \
  X(stack_pointer)     /* the stack pointer itself is a root */                                    \
  X(alternate_stack)   /* and so is the signal stack that the kernel knows */                      \
  X(shared_signal_stack) /* threads that have one signal stack stop elsewhere */                   \
  X(freed_signal_stack) /* which is nobody else's as long as the kernel has it */                  \
  X(unmapped_signal_stack) /* and the kernel does not keep what its thread unmaps */               \
  X(freed_in_hand)     /* what a program has just freed still leads on to what it did not */       \
  X(own_pages)         /* what a program mapped over a large block ends with the block */          \
  X(main_stack_top)    /* the main stack up to its end, arguments and environment included */      \
  X(segment_bases)     /* and so are the bases of fs and gs */                                     \
  X(on_stack)          /* the stop's frame goes to the alternate stack */                          \
  X(small_stacks)      /* no stop while a signal stack is too small for the frame */               \
  X(reserved_signal)   /* a signal number that programs cannot have */                             \
  X(setxid_chain)      /* libc's own use of that number goes on */                                 \
  X(exiting_threads)   /* a thread that has ended never answers */                                 \
  X(kernel_workers)    /* nor does a worker of the kernel */                                       \
  X(newcomers)         /* threads that are made meanwhile are stopped, or held at their start */   \
  X(patience)          /* a silent thread means that the cycle is given up */                      \
  X(sleeping_waits)    /* nobody spins for anybody */                                              \
  X(handler_levels)    /* a handler that interrupted malloc gets buffers of its own */             \
  X(many_mappings)     /* room for as many mappings as the kernel allows */                        \
  X(private_files)     /* private copies of file pages */                                          \
  X(present_only)      /* pages that were never touched stay untouched */                          \
  X(truncated_files)   /* files are read so that a fault is an error, not a signal */              \
  X(addresses_in_code) /* anywhere in it, which processors do not mind */                          \
  X(unreadable_pages)  /* what is closed to the program is read all the same */                    \
  X(words_across)      /* and no word is cut in two where a part of a mapping ends */              \
  X(shared_after_fork) /* shared memory is asked for by the page cache, not by the page tables */  \
  X(shared_memory)     /* shared memory without a file of the file system */                       \
  X(above_limit)       /* files are opened although the program has used up its descriptors */

enum remedy {
#define REMEDY_NUMBER(name) REMEDY_##name,
  REMEDIES(REMEDY_NUMBER)
#undef REMEDY_NUMBER
      REMEDY_COUNT
};

#ifdef RECLAIM_WITHOUT
HIDDEN bool remedy_is_off(enum remedy remedy);
#define WITHOUT(name) UNLIKELY(remedy_is_off(REMEDY_##name))
#else
#define WITHOUT(name) false
#endif

#endif
