/* process.c: files, time, identity, waiting, and an end by SIGABRT. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

TestSuite(process, .timeout = 30);

static char name[] = "/tmp/reclaim-unit-XXXXXX";
static int temporary_file(const char *content) {
  int descriptor = mkstemp(name);
  cr_assert(descriptor >= 0);
  cr_assert_eq(write(descriptor, content, strlen(content)), (ssize_t)strlen(content));
  return descriptor;
}

Test(process, a_whole_file_is_read) {
  temporary_file("0123456789");
  char buffer[16];
  cr_expect_eq(port_read_file(name, buffer, 16), 10);
  cr_expect_eq(memcmp(buffer, "0123456789", 10), 0);
  cr_expect_eq(port_read_file(name, buffer, 11), 10);
  cr_expect_eq(port_read_file(name, buffer, 10), -EFBIG, "it may go on");
  cr_expect_eq(port_read_file(name, buffer, 5), -EFBIG);
  unlink(name);
  cr_expect_eq(port_read_file(name, buffer, 16), -ENOENT);
  cr_expect_eq(port_read_file("/tmp", buffer, 16), -EISDIR);
}

Test(process, files_are_read_and_appended) {
  close(temporary_file("abc"));
  errno = 55;
  int descriptor = port_open_append(name);
  cr_assert(descriptor >= 0);
  cr_expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC);
  cr_expect_eq(port_write(descriptor, "de", 2), 2);
  port_close(descriptor);
  descriptor = port_open_read(name);
  cr_expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC);
  char buffer[16];
  cr_expect_eq(port_read(descriptor, buffer, 16), 5);
  cr_expect_eq(port_read(descriptor, buffer + 5, 11), 0);
  cr_expect_eq(memcmp(buffer, "abcde", 5), 0);
  port_close(descriptor);
  unlink(name);
  cr_expect_eq(port_open_read(name), -ENOENT);
  cr_expect_eq(port_read(-1, buffer, 1), -EBADF);
  cr_expect_eq(port_write(-1, buffer, 1), -EBADF);
  cr_expect_eq(errno, 55, "errno is the program's");
}

Test(process, files_open_although_the_program_has_no_descriptor_left) {
  struct rlimit limit, now;
  cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = 64;
  cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
  int last = -1, next;
  while ((next = open("/dev/null", O_RDONLY)) >= 0) last = next;
  cr_assert_eq(errno, EMFILE);
  int descriptor = port_open_read("/proc/self/maps");
  cr_expect(descriptor >= 0);
  cr_assert_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
  cr_expect_eq(now.rlim_cur, 64, "the limit is what it was");
  cr_expect_eq(now.rlim_max, limit.rlim_max);
  cr_expect(open("/dev/null", O_RDONLY) < 0);
  if (descriptor >= 0) port_close(descriptor);
  close(last);
}

Test(process, random_bytes_differ) {
  unsigned char one[1000] = {0}, two[1000] = {0};
  port_random(one, 999);
  port_random(two, 999);
  cr_expect_eq(one[999], 0);
  unsigned equal = 0, zero = 0;
  for (int i = 0; i < 999; i++) equal += one[i] == two[i], zero += one[i] == 0;
  cr_expect(equal < 40 && zero < 40, "%u are equal, %u zero", equal, zero);
}

Test(process, identity) {
  cr_expect_eq(port_process_id(), getpid());
  cr_expect_eq(port_thread_id(), (int)syscall(SYS_gettid));
}

Test(process, time_goes_on) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t expected = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
  uint64_t got = port_now();
  cr_expect(got >= expected && got - expected < 1000000000);
  unit_sleep(5);
  cr_expect(port_now() - got >= 5000000);
}

static uint32_t word;
static void *wake(void *unused) {
  unit_sleep(20);
  atomic_set_release(&word, 1);
  port_futex_wake(&word, 1);
  return unused;
}

Test(process, waiting) {
  uint64_t begin = port_now();
  port_futex_wait(&word, 1, 0); /* not equal: returns at once */
  port_futex_wait(&word, 0, 20000000);
  uint64_t waited = port_now() - begin;
  cr_expect(waited >= 15000000 && waited < 2000000000);
  pthread_t thread;
  pthread_create(&thread, NULL, wake, NULL);
  while (!atomic_get_acquire(&word)) port_futex_wait(&word, 0, 0);
  pthread_join(thread, NULL);
  port_yield();
}

static int status_of(pid_t child) {
  int status;
  waitpid(child, &status, 0);
  return status;
}
static volatile int handled;
static void handle(int number) {
  handled = number;
  static const char mark = '!';
  (void)!write(9, &mark, 1);
}

Test(process, aborting_ends_the_process_by_the_signal) {
  pid_t child = fork();
  if (child == 0) port_abort();
  int status = status_of(child);
  cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  child = fork();
  if (child == 0) {
    signal(SIGABRT, SIG_IGN);
    port_abort();
  }
  status = status_of(child);
  cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "ignored or not");
  child = fork();
  if (child == 0) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    port_abort();
  }
  status = status_of(child);
  cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "blocked or not");
}

Test(process, a_handler_sees_the_abort) {
  int channel[2];
  cr_assert_eq(pipe(channel), 0);
  pid_t child = fork();
  if (child == 0) {
    dup2(channel[1], 9);
    signal(SIGABRT, handle);
    port_abort();
  }
  int status = status_of(child);
  cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  char mark = 0;
  cr_expect_eq(read(channel[0], &mark, 1), 1);
  cr_expect_eq(mark, '!');
}

static void expect_no_signal(long expected, long result, const char *what) {
  sigset_t pending;
  cr_expect_eq(result, expected, "%s: %ld", what, result);
  cr_assert_eq(sigpending(&pending), 0);
  cr_expect(!sigismember(&pending, SIGPIPE) && !sigismember(&pending, SIGXFSZ), "%s", what);
}

/* The defaults, which would end the process: blocked as in a section of ours, and not. */
Test(process, a_line_that_nobody_takes_raises_no_signal) {
  int gone[2];
  char path[] = "/tmp/reclaim-unit-XXXXXX";
  cr_assert_eq(pipe(gone), 0);
  close(gone[0]);
  int file = mkstemp(path);
  struct rlimit none = {0, RLIM_INFINITY}, before;
  cr_assert(file >= 0 && getrlimit(RLIMIT_FSIZE, &before) == 0);
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
  for (int blocked = 0; blocked < 2; blocked++) {
    uint64_t mask = blocked ? port_signals_block() : 0;
    expect_no_signal(-EPIPE, port_write(gone[1], "line\n", 5), "a pipe without a reader");
    expect_no_signal(-EFBIG, port_write(file, "line\n", 5), "no file may be so long");
    if (blocked) port_signals_restore(mask);
  }
  setrlimit(RLIMIT_FSIZE, &before);
  unlink(path);
}

Test(process, a_signal_that_waited_before_a_line_waits_on) {
  int gone[2];
  sigset_t set, pending;
  cr_assert_eq(pipe(gone), 0);
  close(gone[0]);
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  cr_assert_eq(sigprocmask(SIG_BLOCK, &set, NULL), 0);
  raise(SIGPIPE);
  cr_expect_eq(port_write(gone[1], "line\n", 5), -EPIPE);
  cr_assert_eq(sigpending(&pending), 0);
  cr_expect(sigismember(&pending, SIGPIPE));
}

Test(process, a_line_for_which_there_is_no_room_is_lost) {
  int full[2];
  char path[] = "/tmp/reclaim-unit-XXXXXX", name[sizeof path + 8], page[4096] = {0};
  cr_assert(pipe(full) == 0 && fcntl(full[1], F_SETFL, O_NONBLOCK) == 0);
  while (write(full[1], page, sizeof page) > 0) continue;
  cr_assert_eq(fcntl(full[1], F_SETFL, 0), 0);
  cr_expect_eq(port_write(full[1], "line\n", 5), -EAGAIN);
  cr_assert_eq(read(full[0], page, sizeof page), sizeof page);
  cr_expect_eq(port_write(full[1], "line\n", 5), 5);
  cr_assert_neq(mkdtemp(path), NULL);
  snprintf(name, sizeof name, "%s/fifo", path);
  cr_assert_eq(mkfifo(name, 0600), 0);
  cr_expect_eq(port_open_append(name), -ENXIO, "nobody reads from it");
  unlink(name);
  rmdir(path);
}
