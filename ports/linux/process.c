/* process.c: files, time, identity and waiting on Linux, by raw system calls. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/remedy.h"
#include "ports/port.h"
#include "ports/x86_64/system_call.h"

enum { WRITE_PATIENCE = 100 }; /* milliseconds that a reader has to make room for a line */

/* Opens a file although the program has used up its descriptors: the limit is checked when a
   descriptor is made and not afterwards, so it is raised for this one moment. */
static int open_above_limit(const char *path, int flags) {
  struct rlimit limit;
  if (SYSTEM_CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit) != 0) return -EMFILE;
  struct rlimit raised = {limit.rlim_cur + 1, size_max(limit.rlim_max, limit.rlim_cur + 1)};
  if (SYSTEM_CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, &raised, 0) != 0) return -EMFILE;
  int descriptor = (int)SYSTEM_CALL(SYS_openat, AT_FDCWD, path, flags, 0666);
  SYSTEM_CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, 0);
  return descriptor;
}

static int open_file(const char *path, int flags) {
  int descriptor = (int)SYSTEM_CALL(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0666);
  return descriptor == -EMFILE && !WITHOUT(above_limit) ? open_above_limit(path, flags | O_CLOEXEC)
                                                        : descriptor;
}

void port_separate_descriptors(int kept) {
  unsigned first = kept < 0 ? 0 : 3;
  if (SYSTEM_CALL(SYS_close_range, first, ~0u, CLOSE_RANGE_UNSHARE) != 0) return;
  for (int descriptor = 0; descriptor < (int)first; descriptor++)
    if (descriptor != kept) port_close(descriptor);
}

void port_reap(long child) {
  while (SYSTEM_CALL(SYS_wait4, child, 0, __WALL, 0) == -EINTR)
    ;
}

bool port_call_apart(void (*function)(void *), void *argument, void *stack, size_t size) {
  uint64_t mask = port_signals_block_faults();
  long child = port_call_in_child(function, argument, (char *)stack + size);
  if (child > 0) port_reap(child);
  port_signals_restore(mask);
  return child > 0;
}

int port_open_read(const char *path) { return open_file(path, O_RDONLY); }
int port_open_directory(const char *path) { return open_file(path, O_RDONLY | O_DIRECTORY); }
int port_open_append(const char *path) {
  /* A pipe may have no reader. */
  return open_file(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK);
}

long port_read(int descriptor, void *buffer, size_t size) {
  long result;
  do result = SYSTEM_CALL(SYS_read, descriptor, buffer, size);
  while (result == -EINTR);
  return result;
}

static long write_plainly(int descriptor, const void *buffer, size_t size) {
  long result;
  do result = SYSTEM_CALL(SYS_write, descriptor, buffer, size);
  while (result == -EINTR);
  return result;
}

/* A signal that a write of ours caused is not the program's. One that waited before stays. */
static long write_without_signal(int descriptor, const void *buffer, size_t size) {
  static const uint64_t caused = 1ull << (SIGPIPE - 1) | 1ull << (SIGXFSZ - 1);
  static const struct timespec at_once;
  uint64_t mask, before = 0;
  SYSTEM_CALL(SYS_rt_sigprocmask, SIG_BLOCK, &caused, &mask, sizeof mask);
  SYSTEM_CALL(SYS_rt_sigpending, &before, sizeof before);
  long result = write_plainly(descriptor, buffer, size);
  uint64_t ours = result == -EPIPE   ? 1ull << (SIGPIPE - 1)
                  : result == -EFBIG ? 1ull << (SIGXFSZ - 1)
                                     : 0;
  ours &= ~before;
  if (ours) SYSTEM_CALL(SYS_rt_sigtimedwait, &ours, NULL, &at_once, sizeof ours);
  SYSTEM_CALL(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
  return result;
}

/* After a signal it is not waited for again: where many come that would be without end. */
static bool has_room(int descriptor) {
  struct pollfd ready = {.fd = descriptor, .events = POLLOUT};
  if (descriptor < 0) return true;
  long found = SYSTEM_CALL(SYS_poll, &ready, 1, WRITE_PATIENCE);
  if (found == -EINTR) found = SYSTEM_CALL(SYS_poll, &ready, 1, 0);
  return found != 0;
}

long port_write(int descriptor, const void *buffer, size_t size) {
  if (atomic_get(&port_sealed) || port_is_filtered()) /* which may not know the other calls */
    return write_plainly(descriptor, buffer, size);
  return has_room(descriptor) ? write_without_signal(descriptor, buffer, size) : -EAGAIN;
}

void port_close(int descriptor) { SYSTEM_CALL(SYS_close, descriptor); }

long port_read_file(const char *path, char *buffer, size_t size) {
  int descriptor = port_open_read(path);
  if (descriptor < 0) return descriptor;
  size_t length = 0;
  long got = 0;
  while (length < size && (got = port_read(descriptor, buffer + length, size - length)) > 0)
    length += (size_t)got;
  port_close(descriptor);
  if (got < 0) return got;
  return length == size ? -EFBIG : (long)length;
}

uint64_t port_now(void) {
  struct timespec now;
  SYSTEM_CALL(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void port_random(void *buffer, size_t size) {
  char *at = buffer, *end = at + size;
  while (at < end && !port_is_filtered()) {
    long got = SYSTEM_CALL(SYS_getrandom, at, end - at, GRND_NONBLOCK);
    if (got <= 0) break; /* a kernel that has just begun has none yet */
    at += got;
  }
  /* Else the time and where the kernel put us: Steele, Lea, Flood, "Fast splittable pseudorandom
     number generators" (OOPSLA 2014), mixes them. */
  uint64_t seed = port_now() ^ (uintptr_t)&seed << 20 ^ (uintptr_t)port_random;
  for (; at < end; at++) {
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    *at = (char)(z ^ z >> 31);
  }
}

int port_process_id(void) { return (int)SYSTEM_CALL(SYS_getpid); }

int port_thread_id(void) {
  if (UNLIKELY(atomic_get(&port_sealed))) return 1; /* nobody will look for the thread again */
  return (int)SYSTEM_CALL(SYS_gettid);
}

void port_yield(void) { SYSTEM_CALL(SYS_sched_yield); }

_Noreturn void port_abort(void) {
  /* A handler of the program may dump state, as with abort(); then the default action. */
  uint64_t mask = 1ull << (SIGABRT - 1);
  SYSTEM_CALL(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, 0, 8);
  SYSTEM_CALL(SYS_tgkill, port_process_id(), port_thread_id(), SIGABRT);
  unsigned long action[4] = {0};
  SYSTEM_CALL(SYS_rt_sigaction, SIGABRT, action, 0, 8);
  SYSTEM_CALL(SYS_tgkill, port_process_id(), port_thread_id(), SIGABRT);
  for (;;) SYSTEM_CALL(SYS_exit_group, 127);
}

void port_futex_wait(uint32_t *word, uint32_t value, uint64_t nanoseconds) {
  struct timespec timeout = {(time_t)(nanoseconds / 1000000000u),
                             (long)(nanoseconds % 1000000000u)};
  SYSTEM_CALL(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nanoseconds ? &timeout : NULL, 0, 0);
}

void port_futex_wake(uint32_t *word, int count) {
  SYSTEM_CALL(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, 0, 0, 0);
}
