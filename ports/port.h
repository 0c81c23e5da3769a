/* port.h: what Reclaim needs of an operating system and a CPU; the contract that ports/ fulfils.

   Every function here is a raw system call or pure computation: no lock, no allocation, no errno,
   no libc state. All are async-signal-safe and may be called while the world is stopped and
   before libc is initialised. Results below zero are negated error numbers. */
#ifndef RECLAIM_PORT_H
#define RECLAIM_PORT_H

#include "base/base.h"

/* --- CPU (ports/CPU) ------------------------------------------------------------------------ */

#if defined(__x86_64__)
#include "ports/x86_64/words.h" /* struct port_halves: the filter of the scanning loop */

static inline void port_cpu_relax(void) { __builtin_ia32_pause(); }
/* Relocations that put a function's address into a table: R_X86_64_JUMP_SLOT and _GLOB_DAT. */
enum { PORT_RELOCATION_CALL = 7, PORT_RELOCATION_ADDRESS = 6 };
/* Addresses of user space have no more bits, unless a program asks for higher mappings; ours does
   not. Tags stand above. */
enum { PORT_ADDRESS_BITS = 47 };

/* glibc's setjmp stores rbp, rsp and the return address mangled: exclusive or with a secret in the
   thread control block, then rotated to the left (sysdeps/unix/sysv/linux/x86_64/pointer_guard.h).
 */
enum { PORT_JUMP_HIDES_POINTERS = 1 }; /* a register that may hold any pointer is among them */
static inline uintptr_t port_jump_guard(void) {
  uintptr_t guard;
  __asm__("mov %%fs:0x30, %0" : "=r"(guard));
  return guard;
}
static inline uintptr_t port_jump_demangle(uintptr_t word, uintptr_t guard) {
  return (word >> 17 | word << 47) ^ guard;
}
/* The stack pointer that longjmp will set: rbx, rbp, r12 to r15, rsp, rip. */
static inline uintptr_t port_jump_stack_pointer(const void *jump_buffer) {
  return port_jump_demangle(((const uintptr_t *)jump_buffer)[6], port_jump_guard());
}
#else
#error "no port for this CPU"
#endif

/* What the kernel says of this CPU under AT_HWCAP2. Zero: nothing, and slower ways serve. Set at
   start, by who may ask libc. */
extern HIDDEN unsigned long port_hardware;
/* Finds out what this CPU and kernel offer of what follows. Once, before the first stop. */
HIDDEN void port_cpu_init(void);

/* Spills the callee-saved registers to the current stack, publishes the stack pointer below
   them in *spilled and calls function(argument) on the stack that ends at stack_top. */
HIDDEN void port_call_on_stack(void (*function)(void *), void *argument, void *stack_top,
                               uintptr_t *spilled);

#define PORT_BASES 2 /* registers that hold an address and are in no frame */

/* What the interrupted thread looked like: filled from a signal frame. */
struct port_frame {
  uintptr_t stack_pointer; /* of the interrupted code, red zone not yet subtracted */
  uintptr_t program_counter;
  uintptr_t frame_begin;     /* the saved registers, vector registers included, */
  uintptr_t frame_end;       /*   lie in [frame_begin, frame_end) */
  uintptr_t alternate_stack; /* base of the sigaltstack known to the kernel, or 0 */
  size_t alternate_size;
  uintptr_t bases[PORT_BASES];
};
/* All but the bases. */
HIDDEN void port_frame_read(void *ucontext, struct port_frame *frame);
#define PORT_RED_ZONE 128

#if defined(__x86_64__)
static inline __attribute__((always_inline)) uintptr_t port_stack_pointer(void) {
  uintptr_t pointer;
  __asm__ volatile("mov %%rsp, %0" : "=r"(pointer));
  return pointer;
}

/* Defines the function `name`, exported, which calls before() and then jumps to *target: for
   functions that return twice. Only for functions without arguments. */
#define PORT_DEFINE_JUMP(name, before, target)                                                     \
  __asm__("\t.text\n\t.globl " #name "\n\t.type " #name ", @function\n" #name ":\n"                \
          "\t.cfi_startproc\n\tsub $8, %rsp\n\t.cfi_adjust_cfa_offset 8\n\tcall " #before "\n"     \
          "\tadd $8, %rsp\n\t.cfi_adjust_cfa_offset -8\n\tjmp *" #target "(%rip)\n"                \
          "\t.cfi_endproc\n\t.size " #name ", . - " #name "\n")
#endif

/* A function of seven words gets six in registers. Defined with these six, it can pass all seven
   on by a jump, and does not touch a word of the stack that a variadic caller did not mean; this is
   the seventh, for a function that keeps its frame (__builtin_frame_address(0)). */
#define PORT_SEVENTH_WORD(frame) (((const long *)(frame))[2])

/* Starts a task of this process that runs function(argument) on the stack that ends at stack_top
   and then ends, with the caller's signal mask and its thread-local memory: the function may use
   raw system calls only. *alive is the task's id until it has left the stack, then 0. Below zero:
   none was made. */
HIDDEN long port_start_helper(void (*function)(void *), void *argument, void *stack_top,
                              uint32_t *alive);
/* Returns when that task has left its stack (ports/linux/threads.c). */
HIDDEN void port_await_helper(uint32_t *alive);

/* Runs function(argument) in a new process that shares our memory, on the stack that ends at
   stack_top, while the calling thread waits for its end, which raises no signal. The child's id
   (for wait4 with __WALL), or below zero. The function may use raw system calls only. */
HIDDEN long port_call_in_child(void (*function)(void *), void *argument, void *stack_top);
/* Waits for the end of such a child. */
HIDDEN void port_reap(long child);

/* The calling thread's bases of fs and gs, which no signal frame holds; a program may point them at
   memory that nothing else refers to. */
HIDDEN void port_segment_bases(uintptr_t bases[PORT_BASES]);
/* Stack that the stop signal's frame and handler need on this CPU, with what the process may use of
   it at present. One thread at a time. */
HIDDEN size_t port_stop_stack(void);
/* Lets the calling thread read memory under protection keys that are closed to it; returns what
   port_keys_restore takes. */
HIDDEN uint32_t port_keys_open(void);
HIDDEN void port_keys_restore(uint32_t keys);

/* --- address space (ports/linux/address_space.c) -----------------------------------------------
 */

/* Reserves inaccessible address space, aligned to alignment (a power of two). NULL on failure.
   Costs no memory and no commit charge. */
HIDDEN void *port_reserve(size_t size, size_t alignment);
HIDDEN void port_unreserve(void *address, size_t size);
/* What is reserved is left out of core dumps until it is committed. From here on none is, and
   committing makes no other system call than to protect memory. */
HIDDEN void port_dump_all(void);
/* Makes reserved memory readable and writable, zero when first touched. */
HIDDEN bool port_commit(void *address, size_t size);
/* Has memory stand behind the range, which is usable, as if each page were written; no matter if
   the kernel cannot. Linux 5.14. */
HIDDEN void port_populate(void *address, size_t size);
/* Has the kernel back the range by huge pages where it can; no matter if it cannot. */
HIDDEN void port_ask_for_huge_pages(void *address, size_t size);
/* Gives the physical memory back; the range reads as zero afterwards. False when the kernel
   refuses (locked memory): contents are then unchanged. */
HIDDEN bool port_purge(void *address, size_t size);
/* Maps fresh pages in place of whatever is mapped there: zero, readable and writable. False: there
   was no room for one mapping more. */
HIDDEN bool port_renew(void *address, size_t size);
/* Do such flags of mmap and mremap have a mapping take the place of what is there? Does such an
   advice say what a child has of memory? */
HIDDEN bool port_map_replaces(int flags);
HIDDEN bool port_remap_replaces(int flags);
HIDDEN bool port_advice_on_children(int advice);
HIDDEN bool port_protect_read(void *address, size_t size);
HIDDEN bool port_protect_write(void *address, size_t size); /* and read */
HIDDEN bool port_protect_none(void *address, size_t size);
enum port_move {
  PORT_MOVED,     /* old reads as zero */
  PORT_NOT_MOVED, /* both are what they were, but for the contents of new */
  PORT_MOVE_LOST, /* nothing moved, and new is no memory any more */
};
/* Moves physical pages from old to new (both committed, same size). */
HIDDEN enum port_move port_move_pages(void *old_address, void *new_address, size_t size);
/* A page of anonymous memory that reads as zero in a fork child. NULL on failure. */
HIDDEN void *port_wiped_on_fork_page(void);
/* Address space that the process has mapped; a guess where /proc is missing. */
HIDDEN size_t port_address_space_mapped(void);
/* Address space limit (RLIMIT_AS) less what is in use, SIZE_MAX when unlimited. */
HIDDEN size_t port_address_space_left(void);

/* --- files and text ----------------------------------------------------------------------------
 */

/* Descriptors are closed on exec, and to be had even when the program has used up its own. */

/* Gives the calling thread a table of descriptors of its own, empty but for `kept` (-1: none), one
   of the standard three. Where the kernel cannot (before 5.9) all stays as it is. */
HIDDEN void port_separate_descriptors(int kept);
/* Runs function(argument), on the stack at `stack`, in a process that shares our memory and has a
   table of descriptors of its own: what it opens takes no number of the program's. It may use raw
   system calls only. False: none could be made. */
HIDDEN bool port_call_apart(void (*function)(void *), void *argument, void *stack, size_t size);
HIDDEN int port_open_read(const char *path);
HIDDEN int port_open_directory(const char *path);
HIDDEN int port_open_append(const char *path);
HIDDEN long port_read(int descriptor, void *buffer, size_t size);
/* Of a line for the log or for a user: no signal of its own reaches the program, and where nobody
   reads (-EAGAIN) the line is lost, not the program's time. */
HIDDEN long port_write(int descriptor, const void *buffer, size_t size);
HIDDEN void port_close(int descriptor);
/* Reads a whole file into buffer; its length, or below zero (-27, EFBIG, when it does not fit). */
HIDDEN long port_read_file(const char *path, char *buffer, size_t size);

/* --- time, process, waiting --------------------------------------------------------------------
 */

HIDDEN uint64_t port_now(void); /* monotonic nanoseconds */
/* Fills with what nobody can guess; behind a filter, which the kernel may not be asked through,
   with what is hard to. */
HIDDEN void port_random(void *buffer, size_t size);
HIDDEN int port_process_id(void);
HIDDEN int port_thread_id(void);
HIDDEN _Noreturn void port_abort(void);
HIDDEN void port_yield(void);
/* Sleeps while *word == value; 0 nanoseconds: without limit. May return early. */
HIDDEN void port_futex_wait(uint32_t *word, uint32_t value, uint64_t nanoseconds);
HIDDEN void port_futex_wake(uint32_t *word, int count);
/* --- limits of control groups (ports/linux/groups.c, processors.c)
 * ----------------------------------------------------------------------------------------------
 */

/* Where they are found: the process's list of those it is in, and where version 2 is mounted. */
struct port_groups {
  const char *list, *mount;
};
extern HIDDEN const struct port_groups port_groups_of_system;
/* How many processors the calling thread and the process's groups may keep busy, at least 1; for a
   thread with a real-time policy just that. Opens files. */
HIDDEN unsigned port_processors(const struct port_groups *where);

struct port_memory {
  size_t limit; /* of all that the group holds */
  size_t left;  /* less what it holds already and would not give up before it is refused memory */
};
/* Of the process's group and those above it the one with the least memory left. False: none has a
   limit, or it cannot be read. Opens files. */
HIDDEN bool port_memory_left(const struct port_groups *where, struct port_memory *memory);

/* --- signals (ports/linux/stop_signal.c) -------------------------------------------------------
 */

/* Blocks all signals that can wait, except the stop signal; returns the old mask. */
HIDDEN uint64_t port_signals_block(void);
/* Blocks the stop signal as well: for the thread that collects. */
HIDDEN uint64_t port_signals_block_all(void);
/* And those that a fault raises, which then ends the process: for making tasks, which inherit it.
 */
HIDDEN uint64_t port_signals_block_faults(void);
HIDDEN void port_signals_restore(uint64_t mask);

/* Called in the stopped thread with its frame and the number passed to port_stop_thread; returns
   when the thread may run on. */
typedef void (*port_stop_handler)(uint64_t value, const struct port_frame *frame);
/* Installs (or re-installs, libc takes the number back) the stop signal's handler, chaining to
   what stood there. Cheap when it stands already. */
HIDDEN bool port_stop_install(port_stop_handler handler);
/* From now on threads stop on the stack they run on, not on their alternate one. Any thread. */
HIDDEN void port_stop_off_stack(void);
/* Asks one thread to stop. 0, or -3 (ESRCH) when it is gone. */
HIDDEN int port_stop_thread(int process, int thread, uint64_t value);
/* Does any signal's handler differ from `gate`? The default, being ignored, and libc's own two
   signals do not count. */
HIDDEN bool port_handler_beside(uintptr_t gate);
/* Is a stop signal queued for a thread of this process that it has not taken? False when that
   cannot be told. */
HIDDEN bool port_stop_pending(int thread);

/* --- threads (ports/linux/threads.c) ------------------------------------------------------------
 */

enum port_thread_state {
  PORT_THREAD_ALIVE,  /* may answer yet */
  PORT_THREAD_STUCK,  /* waits in the kernel or is held by a debugger: may answer late or never */
  PORT_THREAD_GONE,   /* has ended, or can never run program code again */
  PORT_THREAD_KERNEL, /* a kernel worker: never runs program code */
};
HIDDEN enum port_thread_state port_thread_state(int thread);
/* Lists the tasks of this process into ids; their number, or below zero. */
HIDDEN int port_list_threads(int *ids, int capacity);
/* The number of tasks by one system call; below zero when it cannot be told. */
HIDDEN int port_count_threads(void);
/* The calling task's alternate signal stack, or 0. */
HIDDEN uintptr_t port_alternate_stack(void);

/* --- system calls that are made past us or forbidden us
 * -------------------------------------------
 */

/* Filters (ports/linux/filter.c). Set when the program installs one: from then on only the calls
   that any malloc makes are made. Signals are then not blocked around locks, and malloc in a
   handler that interrupted malloc may wait for itself, as in libc. */
extern HIDDEN bool port_sealed;
/* Has this process a filter already? */
HIDDEN bool port_is_filtered(void);
/* Is it this that prctl is asked for? */
HIDDEN bool port_is_filter_request(int option);

enum port_trial {
  PORT_TRIAL_PASSED,
  PORT_TRIAL_REFUSED, /* a call that a cycle cannot do without fails */
  PORT_TRIAL_KILLED,
  PORT_TRIAL_LATER, /* no process could be made */
};
/* Tries in a child what a cycle calls; *call names the system call that failed. The caller is
   alone here. */
HIDDEN enum port_trial port_try_calls(void *stack, size_t size, const char **call);

/* Tries in a child what marking with helpers calls besides; the rest of the above holds. */
HIDDEN bool port_try_helper(void *stack, size_t size);

/* What the program asks for by a number (ports/linux/system_calls.c). */
enum port_call {
  PORT_CALL_OTHER,
  /* values and pointers that the kernel keeps */
  PORT_CALL_EPOLL_CTL,
  PORT_CALL_TIMER_CREATE,
  PORT_CALL_QUEUE_NOTICE,
  PORT_CALL_SUBMIT,
  PORT_CALL_SIGNAL_VALUE,   /* rt_sigqueueinfo: siginfo is the third argument */
  PORT_CALL_SIGNAL_VALUE_4, /* rt_tgsigqueueinfo: the fourth */
  PORT_CALL_RINGS,
  /* what makes collecting impossible, or needs an eye */
  PORT_CALL_CLONE,
  PORT_CALL_CLONE_3,
  PORT_CALL_FORK,
  PORT_CALL_FILTER,
  PORT_CALL_PROCESS_CONTROL,
  PORT_CALL_ALTERNATE_STACK,
  PORT_CALL_EXEC,
  /* waits that a signal ends early although its handler is installed with SA_RESTART */
  PORT_CALL_WAIT,              /* repeated as it is: no time limit, or an absolute one */
  PORT_CALL_WAIT_MILLISECONDS, /* the fourth argument */
  PORT_CALL_WAIT_POLL,         /* milliseconds, the third */
  PORT_CALL_WAIT_TIME_3,       /* a timespec, the third argument */
  PORT_CALL_WAIT_TIME_4,       /* the fourth */
  PORT_CALL_WAIT_TIME_5,       /* the fifth */
  PORT_CALL_WAIT_POLL_TIME,    /* the third, where the kernel leaves the time that is left */
  PORT_CALL_WAIT_SELECT,       /* a timeval, the fifth, likewise */
  PORT_CALL_WAIT_SELECT_TIME,  /* a timespec, the fifth, likewise */
  PORT_CALL_SLEEP,             /* nanosleep: request and rest, the first two */
  PORT_CALL_SLEEP_CLOCK,       /* clock_nanosleep: the third and fourth; flags the second */
  PORT_CALL_FUTEX,             /* by its operation */
};
HIDDEN enum port_call port_call_of(long number);
/* How a futex call waits: PORT_CALL_WAIT_TIME_4 (relative), _WAIT (absolute or without limit), or
   _OTHER. */
HIDDEN enum port_call port_futex_of(int operation);
/* Does a clone with these flags make a task that shares the heap and is no thread of ours? */
HIDDEN bool port_clone_shares_memory(uint64_t flags);
/* Is it a vfork: a process in our memory, while the caller waits? */
HIDDEN bool port_clone_lends_memory(uint64_t flags);
/* Is it a fork: a process in a copy of our memory, thread-local storage included, for which the
   caller does not wait? */
HIDDEN bool port_clone_copies_memory(uint64_t flags);
/* Calls visit with every word that `count` requests of asynchronous input and output
   (struct iocb) leave to the kernel: requests, data and buffers. */
HIDDEN void port_submitted_words(void *const *requests, long count, void (*visit)(uintptr_t word));
/* io_submit and io_getevents themselves; below zero the error. */
HIDDEN long port_io_submit(uintptr_t context, long count, void *const *requests);
HIDDEN long port_io_getevents(uintptr_t context, long least, long most, void *events,
                              const void *timeout);

/* --- mappings (ports/linux/mappings.c) -----------------------------------------------------------
 */

struct port_range {
  uintptr_t begin, end;
};
enum port_maps_result {
  PORT_MAPS_OK,
  PORT_MAPS_OPEN,      /* a file of /proc cannot be opened, or is empty */
  PORT_MAPS_TRUNCATED, /* `text` or `protected` is too small */
  PORT_MAPS_UNREADABLE,
  PORT_MAPS_FOREIGN, /* the list does not show exclude[0]: it is not of our memory */
};

struct port_protected {
  uintptr_t begin, end;
  bool readable;
};

struct port_maps {
  bool baseline;                    /* do without PAGEMAP_SCAN */
  const struct port_range *exclude; /* our own ranges, in order, at least one */
  size_t exclude_count;
  /* Memory of ours that is the program's to use: where in it did the program forbid itself to write
     (a guard page in a block, say)? */
  struct port_range watched;
  struct port_protected *protected; /* working memory, then the result, in order */
  size_t protected_capacity, protected_count;
  char *text; /* working memory for /proc/self/maps */
  size_t text_size;
  struct port_range *ranges; /* working memory for page ranges */
  size_t range_capacity;
  char *copy; /* for memory that cannot be read in place */
  size_t copy_size;
  /* Called for every stretch of memory that may hold the program's pointers: [begin, end) at
     address `origin`; begin differs from origin when a copy is handed out. What is handed out in
     parts overlaps where they meet: no word is cut in two within a mapping. In the order of
     addresses. */
  void (*visit)(void *context, uintptr_t begin, uintptr_t end, uintptr_t origin);
  void *context;
  bool code;                    /* while it is called: this may be instructions */
  struct port_range main_stack; /* result: the [stack] mapping */
  size_t text_length;           /* result */
  size_t mappings;              /* result: how many there are */
  uint64_t asking;     /* result: nanoseconds that visits spent asking which pages are present */
  int pagemap, memory; /* descriptors held between open and close */
  bool scan_works, swapped;
  bool rings; /* result: io_uring is in use */
};
/* Reads the list of mappings and opens what the visits need. The world is stopped. */
HIDDEN enum port_maps_result port_maps_open(struct port_maps *maps);
HIDDEN void port_maps_close(struct port_maps *maps);
/* Visits what the kernel says is there: every private page that is present or swapped and not
   an unmodified file page, whatever its protection, outside `exclude`. The world is stopped. */
HIDDEN enum port_maps_result port_maps_visit(struct port_maps *maps);
/* The same filter over one committed range of ours (a large object), which begins and ends at
   kernel pages: present pages only. */
HIDDEN bool port_present_ranges(struct port_maps *maps, uintptr_t begin, uintptr_t end,
                                void (*visit)(void *context, uintptr_t begin, uintptr_t end),
                                void *context);
/* The same for memory of which parts may be no memory at all, or closed by the program: hands out
   copies. */
HIDDEN bool port_present_copies(struct port_maps *maps, uintptr_t begin, uintptr_t end, bool closed,
                                void (*visit)(void *context, uintptr_t begin, uintptr_t end),
                                void *context);
/* One mapping of the list, which is read bit by bit. */
enum port_mapping_kind {
  PORT_MAPPING_ANONYMOUS, /* private, of no file, and not the main stack or the kernel's own */
  PORT_MAPPING_OTHER,
};
struct port_mapping {
  uintptr_t begin, end;
  enum port_mapping_kind kind;
  bool readable, writable;
  char name[80]; /* the file's without its folder, "[heap]" and the like; empty: none */
};
/* 1: found; 0: nothing is mapped there; below zero: cannot be told. */
HIDDEN int port_find_mapping(uintptr_t address, struct port_mapping *mapping);
/* Copies memory that may not be there; the bytes that could be read. PORT_NO_MEMORY: none is there
   that can be; otherwise below zero: looking is not allowed. */
enum { PORT_NO_MEMORY = -14 };
HIDDEN long port_peek(uintptr_t address, void *buffer, size_t size);
/* Finds the mapping of an address in a text of maps: writes "name+0xoffset". */
struct text;
HIDDEN void port_describe_address(uintptr_t address, char *maps_text, size_t size,
                                  struct text *out);

#endif
