/* launch.c: starts a program and says what it used: launch FILE [NAME=VALUE...] -- PROGRAM ARG...

   To FILE goes one line when the program has ended: wall time and processor time in microseconds,
   the most memory that was resident in KiB (VmHWM, as wait4 tells it), and the wait status. The
   variables are set for the program alone, so that what they preload is not measured in launch.

   Why a program of its own: a child that is forked off a big process counts as its own peak what
   the parent had resident. This one is small, static where that is possible, and spawns without
   copying. SIGTERM and SIGINT are passed on, so that a server can be ended by ending its launch. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static volatile sig_atomic_t child;

static void pass_on(int number) {
  if (child > 0) kill(child, number);
}

static long long microseconds(struct timeval value) {
  return value.tv_sec * 1000000LL + value.tv_usec;
}

static long long now(void) {
  struct timespec value;
  clock_gettime(CLOCK_MONOTONIC, &value);
  return value.tv_sec * 1000000LL + value.tv_nsec / 1000;
}

/* This process's environment with the variables given, which end at end, in place of its own of the
   same name. */
static char **environment_with(char **first, char **end) {
  size_t count = 0;
  while (environ[count] != NULL) count++;
  char **result = malloc((count + (size_t)(end - first) + 1) * sizeof *result);
  if (result == NULL) return NULL;
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    char **given = first;
    for (; given < end; given++) {
      size_t length = strcspn(*given, "=") + 1;
      if (strncmp(environ[i], *given, length) == 0) break;
    }
    if (given == end) result[used++] = environ[i];
  }
  while (first < end) result[used++] = *first++;
  result[used] = NULL;
  return result;
}

int main(int count, char **arguments) {
  int separator = 2;
  while (separator < count && strcmp(arguments[separator], "--") != 0) separator++;
  if (separator + 1 >= count) {
    fprintf(stderr, "usage: launch FILE [NAME=VALUE...] -- PROGRAM ARGUMENT...\n");
    return 2;
  }
  char **environment = environment_with(arguments + 2, arguments + separator);
  FILE *out = fopen(arguments[1], "we");
  if (environment == NULL || out == NULL) {
    fprintf(stderr, "launch: %s: %s\n", arguments[1], strerror(errno));
    return 2;
  }
  struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  char **command = arguments + separator + 1;
  long long begin = now();
  pid_t id;
  int error = posix_spawnp(&id, command[0], NULL, NULL, command, environment);
  if (error != 0) {
    fprintf(stderr, "launch: %s: %s\n", command[0], strerror(error));
    return 2;
  }
  child = id;
  int status;
  struct rusage used;
  if (wait4(id, &status, 0, &used) != id) {
    fprintf(stderr, "launch: wait4: %s\n", strerror(errno));
    return 2;
  }
  fprintf(out, "%lld %lld %ld %d\n", now() - begin,
          microseconds(used.ru_utime) + microseconds(used.ru_stime), used.ru_maxrss, status);
  return fclose(out) == 0 ? 0 : 2;
}
