/* handler_exec.c: handlers that collect while their thread is inside exec or fork.

   exec looks through the whole search path and fails; it is interrupted all the time by a handler
   that collects, allocates, forks and execs itself. Whoever holds off collections for its exec must
   not wait for itself. */
#include "program.h"

#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t runs;

static void on_alarm(int number) {
  int error = errno;
  void *volatile block = malloc(100);
  (void)number;
  runs++;
  if (runs % 2 == 0) collect();
  if (runs % 8 == 1) {
    char *arguments[] = {"no-such-program", NULL};
    execvp(arguments[0], arguments);
  }
  free(block);
  errno = error;
}

static void *collect_beside(void *unused) {
  for (;;) {
    collect();
    usleep(500);
  }
  return unused;
}

int main(int count, char **arguments) {
  double seconds = count > 1 ? strtod(arguments[1], NULL) : 2, start = seconds_now();
  char *none[] = {"no-such-program", NULL};
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  struct itimerval often = {{0, 300}, {0, 300}};
  pthread_t thread;
  unsigned execs = 0;
  setenv("PATH", "/a:/b:/c:/d:/e:/f:/g:/h:/usr/bin:/bin:/i:/j:/k:/l:/m:/n", 1);
  CHECK(pthread_create(&thread, NULL, collect_beside, NULL) == 0);
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  while (seconds_now() - start < seconds) {
    CHECK(execvp(none[0], none) < 0 && errno == ENOENT);
    execs++;
    if (execs % 64 != 0) continue;
    pid_t child = fork();
    if (child == 0) _exit(0);
    while (waitpid(child, NULL, 0) < 0) CHECK(errno == EINTR);
  }
  CHECK(execs > 0 && runs > 0);
  puts("nobody waited for itself");
  return 0;
}
