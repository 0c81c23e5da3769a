/* system_calls.c: what system calls are by their numbers, and what requests leave to the kernel. */
#include "tests/unit/unit.h"

#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>

TestSuite(system_calls, .timeout = 60);

Test(system_calls, by_number) {
  cr_assert_eq(port_call_of(SYS_epoll_ctl), PORT_CALL_EPOLL_CTL);
  cr_assert_eq(port_call_of(SYS_pause), PORT_CALL_WAIT);
  cr_assert_eq(port_call_of(SYS_fork), PORT_CALL_FORK);
  cr_assert_eq(port_call_of(SYS_vfork), PORT_CALL_OTHER);
  cr_assert_eq(port_call_of(SYS_getpid), PORT_CALL_OTHER);
  cr_assert_eq(port_call_of(-1), PORT_CALL_OTHER);
  cr_assert_eq(port_call_of(1L << 40), PORT_CALL_OTHER);
}

Test(system_calls, futexes) {
  cr_assert_eq(port_futex_of(FUTEX_WAIT), PORT_CALL_WAIT_TIME_4);
  cr_assert_eq(port_futex_of(FUTEX_WAIT_PRIVATE), PORT_CALL_WAIT_TIME_4);
  cr_assert_eq(port_futex_of(FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME), PORT_CALL_WAIT);
  cr_assert_eq(port_futex_of(FUTEX_WAKE_PRIVATE), PORT_CALL_OTHER);
}

Test(system_calls, clones) {
  cr_assert(port_clone_shares_memory(CLONE_VM));
  cr_assert(!port_clone_shares_memory(CLONE_VM | CLONE_VFORK));
  cr_assert(!port_clone_shares_memory(CLONE_VM | CLONE_THREAD | CLONE_SIGHAND));
  cr_assert(!port_clone_shares_memory(0));
  cr_assert(port_clone_copies_memory(CLONE_NEWPID | SIGCHLD));
  cr_assert(!port_clone_copies_memory(CLONE_VM | CLONE_VFORK));
  cr_assert(!port_clone_copies_memory(CLONE_VFORK));  /* who waits must hold no lock */
  cr_assert(!port_clone_copies_memory(CLONE_SETTLS)); /* a storage that knows no thread of ours */
}

static uintptr_t words[32];
static int count;
static void visit(uintptr_t word) { words[count++] = word; }
static bool visited(const void *pointer) {
  for (int i = 0; i < count; i++)
    if (words[i] == (uintptr_t)pointer) return true;
  return false;
}

Test(system_calls, words_of_requests) {
  static char a[8], b[8], c[8], data[8];
  struct iovec pieces[2] = {{b, sizeof b}, {c, sizeof c}};
  struct iocb plain = {.aio_lio_opcode = IOCB_CMD_PREAD,
                       .aio_buf = (uintptr_t)a,
                       .aio_nbytes = sizeof a,
                       .aio_data = (uintptr_t)data};
  struct iocb vector = {
      .aio_lio_opcode = IOCB_CMD_PWRITEV, .aio_buf = (uintptr_t)pieces, .aio_nbytes = 2};
  void *requests[2] = {&plain, &vector};
  port_submitted_words(requests, 2, visit);
  cr_assert(visited(a) && visited(b) && visited(c) && visited(data));
  cr_assert(visited(&plain) && visited(&vector) && visited(pieces));
}
