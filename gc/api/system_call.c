/* system_call.c: libc's syscall(), through which programs and libraries make the calls that libc
   has no name for (yet). What would be interposed by its name is treated here in the same way:
   words the kernel keeps are noted, waits are not cut short by a stop (blocking.h), exec and fork
   announce themselves, and what forbids collecting is seen. Calls made by an instruction of the
   program's own are not seen.

   syscall is variadic and passes on whatever it finds: seven words, of which a function sees six in
   registers (PORT_SEVENTH_WORD). All but the calls treated here are passed on by a jump: the child
   of a vfork, or of a clone that is given a stack, returns from the call as well. No header that
   declares syscall is included. */
#include "api/blocking.h"
#include "api/kernel_words.h"
#include "api/next.h"
#include "api/process.h"
#include "api/refusal.h"
#include "base/remedy.h"
#include "collect/permit.h"
#include "ports/port.h"

#include <string.h>

EXPORT long syscall(long number, long a, long b, long c, long d, long e);
typedef long syscall_function(long number, long a, long b, long c, long d, long e, long f);

struct system_call {
  long number;
  long argument[6];
};

static long make(const struct system_call *call) {
  const long *argument = call->argument;
  return ((syscall_function *)(void *)NEXT(syscall))(
      call->number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}

/* --- waits --------------------------------------------------------------------------------- */

/* Where a wait has its time limit. Above it may be renewed: the kernel only reads the time, or it
   leaves there what is left, which is then where the program looks for it. */
struct limit {
  int argument; /* -1: none */
  bool milliseconds;
  bool written;
  bool micro; /* a timeval */
};

static struct limit limit_of(enum port_call kind) {
  switch (kind) {
  case PORT_CALL_WAIT_POLL: return (struct limit){.argument = 2, .milliseconds = true};
  case PORT_CALL_WAIT_MILLISECONDS: return (struct limit){.argument = 3, .milliseconds = true};
  case PORT_CALL_WAIT_TIME_3: return (struct limit){.argument = 2};
  case PORT_CALL_WAIT_TIME_4: return (struct limit){.argument = 3};
  case PORT_CALL_WAIT_TIME_5: return (struct limit){.argument = 4};
  case PORT_CALL_WAIT_POLL_TIME: return (struct limit){.argument = 2, .written = true};
  case PORT_CALL_WAIT_SELECT_TIME: return (struct limit){.argument = 4, .written = true};
  case PORT_CALL_WAIT_SELECT: return (struct limit){.argument = 4, .written = true, .micro = true};
  case PORT_CALL_SLEEP: return (struct limit){.argument = 0};
  case PORT_CALL_SLEEP_CLOCK: return (struct limit){.argument = 2};
  default: return (struct limit){.argument = -1};
  }
}

/* Where a sleep leaves the time that is left; -1: it has no such argument. */
static int rest_of(enum port_call kind) {
  return kind == PORT_CALL_SLEEP ? 1 : kind == PORT_CALL_SLEEP_CLOCK ? 3 : -1;
}

static COLD long wait_through(struct system_call call, enum port_call kind) {
  struct limit limit = limit_of(kind);
  int rest = rest_of(kind);
  if (kind == PORT_CALL_SLEEP_CLOCK && (call.argument[1] & TIMER_ABSTIME)) limit.argument = -1;
  const long given = limit.argument < 0 ? 0 : call.argument[limit.argument];
  /* The time that was asked for may be where the time that is left goes. */
  bool in_place = limit.written || (rest >= 0 && given == call.argument[rest]);
  const long *a = call.argument;
  struct passage passage =
      PASSAGE((void *)a[0], (void *)a[1], (void *)a[2], (void *)a[3], (void *)a[4], (void *)a[5]);
  int64_t start = clock_now_if(given > 0);
  struct timespec left;
  long result;

  if (limit.argument < 0 || given == 0) return RETRY(&passage, make(&call));
  if (limit.milliseconds) {
    return RETRY_AFTER(&passage, make(&call),
                       call.argument[limit.argument] = renew_milliseconds((int)given, start));
  }
  if (!in_place)
    return RETRY_AFTER(&passage, make(&call),
                       call.argument[limit.argument] =
                           (long)renew_timespec((const struct timespec *)given, start, &left));
  /* The kernel renewed it when the call was interrupted; the time that the thread was held since
     is added to the wait. Where it could not write, the whole time is waited anew. */
  while ((result = PARKED(&passage, make(&call))) < 0 && interrupted(&passage))
    ;
  return result;
}

/* --- words that the kernel keeps -------------------------------------------------------------- */

/* Declared here as plain words: <signal.h> and <sys/epoll.h> would bring syscall's declaration. */
extern int epoll_ctl(int epoll, int operation, int fd, void *event);
extern int sigaltstack(const void *stack, void *old);

static uintptr_t word_at(long address, size_t offset) {
  uintptr_t word;
  memcpy(&word, (const char *)address + offset, sizeof word);
  return word;
}

/* The kernel's layouts: siginfo of a queued signal, and sigevent. */
enum { SIGINFO_VALUE = 24, SIGEVENT_VALUE = 0 };

static long note(const struct system_call *call, enum port_call kind) {
  const long *argument = call->argument;

  if (kind == PORT_CALL_EPOLL_CTL)
    return epoll_ctl((int)argument[0], (int)argument[1], (int)argument[2], (void *)argument[3]);
  long result = make(call);
  if (result < 0) return result;
  switch (kind) { /* the kernel has read them, so they can be read */
  case PORT_CALL_TIMER_CREATE:
  case PORT_CALL_QUEUE_NOTICE:
    if (argument[1]) kernel_holds(word_at(argument[1], SIGEVENT_VALUE));
    break;
  case PORT_CALL_SIGNAL_VALUE:
    if (argument[2]) kernel_holds(word_at(argument[2], SIGINFO_VALUE));
    break;
  case PORT_CALL_SIGNAL_VALUE_4: kernel_holds(word_at(argument[3], SIGINFO_VALUE)); break;
  case PORT_CALL_SUBMIT:
    port_submitted_words((void *const *)argument[2], result, kernel_holds);
    break;
  case PORT_CALL_RINGS: /* many only ask whether they could: a failure changes nothing */
    if (!WITHOUT(rings)) permit_keep_unfreed("io_uring");
    permit_report();
    break;
  default: break;
  }
  return result;
}

/* --- calls that change what may be collected ----------------------------------------------------
 */

static long install_filter(const struct system_call *call) {
  refusal_filter();
  long result = make(call);
  if (result < 0) refusal_filter_failed();
  return result;
}

static long announce_exec(const struct system_call *call) {
  bool announced = process_announce();
  long result = make(call);
  int error = errno;

  if (announced) process_retract();
  errno = error;
  return result;
}

/* The child returns here on a copy of this stack. */
static long copy_process(const struct system_call *call) {
  bool begun = process_before_copy();
  long result = make(call);
  process_after_copy(begun, result == 0);
  return result;
}

enum { FILTER_STRICT, FILTER_LOAD };

static long treat(const struct system_call *call, enum port_call kind) {
  const long *argument = call->argument;

  switch (kind) {
  case PORT_CALL_FUTEX: return wait_through(*call, port_futex_of((int)argument[1]));
  case PORT_CALL_EXEC: return announce_exec(call);
  case PORT_CALL_FORK:
  case PORT_CALL_CLONE:
  case PORT_CALL_CLONE_3: return copy_process(call);
  case PORT_CALL_FILTER: /* libseccomp asks what can be had by loading none; the rest only asks */
    return argument[0] == FILTER_STRICT || (argument[0] == FILTER_LOAD && argument[2])
               ? install_filter(call)
               : make(call);
  case PORT_CALL_PROCESS_CONTROL:
    return port_is_filter_request((int)argument[0]) ? install_filter(call) : make(call);
  case PORT_CALL_ALTERNATE_STACK:
    return sigaltstack((const void *)argument[0], (void *)argument[1]);
  default: break;
  }
  return kind >= PORT_CALL_WAIT ? wait_through(*call, kind) : note(call, kind);
}

/* struct clone_args, as it was at first. */
enum { CLONE_ARGUMENTS_LEAST = 64, CLONE_FLAGS = 0, CLONE_STACK = 40 };

/* Does the caller have to be passed on by a jump? Here the flags are looked at on the way. */
static inline bool must_jump(enum port_call kind, long a, long b) {
  switch (kind) {
  case PORT_CALL_OTHER: return true;
  case PORT_CALL_FUTEX: return port_futex_of((int)b) == PORT_CALL_OTHER;
  case PORT_CALL_CLONE:
    if (port_clone_shares_memory((uint64_t)a)) refusal_shared_heap();
    if (port_clone_lends_memory((uint64_t)a)) self.lent = true;
    return !port_clone_copies_memory((uint64_t)a) || b || WITHOUT(raw_calls);
  case PORT_CALL_CLONE_3:
    if (!a || b < CLONE_ARGUMENTS_LEAST) return true;
    if (port_clone_shares_memory(word_at(a, CLONE_FLAGS))) refusal_shared_heap();
    return !port_clone_copies_memory(word_at(a, CLONE_FLAGS)) || word_at(a, CLONE_STACK) ||
           WITHOUT(raw_calls);
  default: return WITHOUT(raw_calls);
  }
}

static COLD long treat_words(long number, long a, long b, long c, long d, long e, long f) {
  return treat(&(struct system_call){number, {a, b, c, d, e, f}}, port_call_of(number));
}

long syscall(long number, long a, long b, long c, long d, long e) {
  if (UNLIKELY(!must_jump(port_call_of(number), a, b)))
    return treat_words(number, a, b, c, d, e, PORT_SEVENTH_WORD(__builtin_frame_address(0)));
  return NEXT(syscall)(number, a, b, c, d, e); /* compiled to a jump; a test holds it to that */
}
