/* system_calls.c: what a program asks for when it makes a system call by its number, and what a few
   of them hand to the kernel. Layouts and numbers are the kernel's (include/uapi/linux). */
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/uio.h>

#include "ports/port.h"
#include "ports/x86_64/system_call.h"

/* Newer than the headers of the oldest supported distribution. */
enum { NUMBER_FUTEX_WAITV = 449, NUMBER_FUTEX_WAIT = 455 };
enum { NUMBERS = 512 };

static const uint8_t calls[NUMBERS] = {
    [SYS_epoll_ctl] = PORT_CALL_EPOLL_CTL,
    [SYS_timer_create] = PORT_CALL_TIMER_CREATE,
    [SYS_mq_notify] = PORT_CALL_QUEUE_NOTICE,
    [SYS_io_submit] = PORT_CALL_SUBMIT,
    [SYS_rt_sigqueueinfo] = PORT_CALL_SIGNAL_VALUE,
    [SYS_pidfd_send_signal] = PORT_CALL_SIGNAL_VALUE,
    [SYS_rt_tgsigqueueinfo] = PORT_CALL_SIGNAL_VALUE_4,
    [SYS_io_uring_setup] = PORT_CALL_RINGS,
    [SYS_clone] = PORT_CALL_CLONE,
    [SYS_clone3] = PORT_CALL_CLONE_3,
    [SYS_fork] = PORT_CALL_FORK,
    [SYS_seccomp] = PORT_CALL_FILTER,
    [SYS_prctl] = PORT_CALL_PROCESS_CONTROL,
    [SYS_sigaltstack] = PORT_CALL_ALTERNATE_STACK,
    [SYS_execve] = PORT_CALL_EXEC,
    [SYS_execveat] = PORT_CALL_EXEC,
    [SYS_futex] = PORT_CALL_FUTEX,
    [NUMBER_FUTEX_WAITV] = PORT_CALL_WAIT,
    [NUMBER_FUTEX_WAIT] = PORT_CALL_WAIT,
    [SYS_nanosleep] = PORT_CALL_SLEEP,
    [SYS_clock_nanosleep] = PORT_CALL_SLEEP_CLOCK,
    [SYS_poll] = PORT_CALL_WAIT_POLL,
    [SYS_ppoll] = PORT_CALL_WAIT_POLL_TIME,
    [SYS_select] = PORT_CALL_WAIT_SELECT,
    [SYS_pselect6] = PORT_CALL_WAIT_SELECT_TIME,
    [SYS_epoll_wait] = PORT_CALL_WAIT_MILLISECONDS,
    [SYS_epoll_pwait] = PORT_CALL_WAIT_MILLISECONDS,
    [SYS_epoll_pwait2] = PORT_CALL_WAIT_TIME_4,
    [SYS_io_getevents] = PORT_CALL_WAIT_TIME_5,
    [SYS_io_pgetevents] = PORT_CALL_WAIT_TIME_5,
    [SYS_semop] = PORT_CALL_WAIT,
    [SYS_semtimedop] = PORT_CALL_WAIT_TIME_4,
    [SYS_msgrcv] = PORT_CALL_WAIT,
    [SYS_msgsnd] = PORT_CALL_WAIT,
    [SYS_rt_sigtimedwait] = PORT_CALL_WAIT_TIME_3,
    [SYS_rt_sigsuspend] = PORT_CALL_WAIT,
    [SYS_pause] = PORT_CALL_WAIT,
};

enum port_call port_call_of(long number) {
  return (unsigned long)number < NUMBERS ? (enum port_call)calls[number] : PORT_CALL_OTHER;
}

enum port_call port_futex_of(int operation) {
  switch (operation & FUTEX_CMD_MASK) {
  case FUTEX_WAIT: return PORT_CALL_WAIT_TIME_4;
  case FUTEX_WAIT_BITSET: return PORT_CALL_WAIT;
  default: return PORT_CALL_OTHER;
  }
}

bool port_clone_shares_memory(uint64_t flags) {
  return (flags & CLONE_VM) && !(flags & (CLONE_VFORK | CLONE_THREAD));
}

bool port_clone_lends_memory(uint64_t flags) { return (flags & CLONE_VM) && (flags & CLONE_VFORK); }

bool port_clone_copies_memory(uint64_t flags) {
  return !(flags & (CLONE_VM | CLONE_VFORK | CLONE_SETTLS));
}

void port_submitted_words(void *const *requests, long count, void (*visit)(uintptr_t word)) {
  for (long i = 0; i < count; i++) {
    struct iocb request;
    memcpy(&request, requests[i], sizeof request);
    visit((uintptr_t)requests[i]);
    visit((uintptr_t)request.aio_data);
    visit((uintptr_t)request.aio_buf);
    if (request.aio_lio_opcode != IOCB_CMD_PREADV && request.aio_lio_opcode != IOCB_CMD_PWRITEV)
      continue;
    const struct iovec *pieces = (const struct iovec *)(uintptr_t)request.aio_buf;
    for (uint64_t piece = 0; piece < request.aio_nbytes; piece++)
      visit((uintptr_t)pieces[piece].iov_base);
  }
}

long port_io_submit(uintptr_t context, long count, void *const *requests) {
  return SYSTEM_CALL(SYS_io_submit, context, count, requests);
}

long port_io_getevents(uintptr_t context, long least, long most, void *events,
                       const void *timeout) {
  return SYSTEM_CALL(SYS_io_getevents, context, least, most, events, timeout);
}
