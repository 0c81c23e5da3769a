/* vfork.c: vfork, posix_spawn, system and popen from threads of a program that collects. The
   parent of a vfork child cannot be stopped until the child execs; the child runs in our heap.
   vfork ROUNDS */
#include "program.h"

#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>

extern char **environ;
static atomic_bool ending;

static void *collect_always(void *unused) {
  (void)unused;
  while (!ending) {
    collect();
    usleep(500);
  }
  return NULL;
}

static void *allocate_always(void *unused) {
  (void)unused;
  void *kept[64] = {0};
  for (unsigned i = 0; !ending; i++) {
    if (kept[i % 64] != NULL) CHECK(pattern_holds(kept[i % 64], 200, i - 64));
    if (i % 3 != 0) free(kept[i % 64]);
    kept[i % 64] = malloc(200);
    fill_pattern(kept[i % 64], 200, i);
  }
  return NULL;
}

static void expect_end(pid_t pid, int value) {
  int status;
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == value);
}

NOINLINE static void by_vfork(int turn) {
  char *const arguments[] = {"sh", "-c", "exit 3", NULL};
  pid_t pid = vfork();
  if (pid == 0) {
    if (turn % 10 == 0) usleep(100000); /* longer than a collector waits for a thread */
    if (turn % 4 == 0) {
      void *volatile block = malloc(100); /* forbidden, and done */
      free(block);
      execv("/nonexistent", arguments);
    }
    execv("/bin/sh", arguments);
    _exit(9);
  }
  CHECK(pid > 0);
  expect_end(pid, 3);
}

static void by_spawn(void) {
  char *const arguments[] = {"sh", "-c", "exit 4", NULL};
  pid_t pid;
  CHECK(posix_spawnp(&pid, "sh", NULL, NULL, arguments, environ) == 0);
  expect_end(pid, 4);
  CHECK(posix_spawn(&pid, "/nonexistent", NULL, NULL, arguments, environ) == ENOENT);
}

static void by_shell(void) {
  char line[100] = "";
  int status = system("exit 5");
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
  FILE *pipe = popen("echo from the shell", "r");
  CHECK(pipe != NULL && fgets(line, sizeof line, pipe) != NULL);
  CHECK(pclose(pipe) == 0 && strcmp(line, "from the shell\n") == 0);
}

static void *spawn_often(void *rounds) {
  for (int turn = 0; turn < *(int *)rounds; turn++) {
    by_vfork(turn);
    by_spawn();
    by_shell();
  }
  return NULL;
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  int rounds = atoi(arguments[1]);
  pthread_t collecting, allocating, second;
  CHECK(pthread_create(&collecting, NULL, collect_always, NULL) == 0);
  CHECK(pthread_create(&allocating, NULL, allocate_always, NULL) == 0);
  CHECK(pthread_create(&second, NULL, spawn_often, &rounds) == 0);
  spawn_often(&rounds);
  CHECK(pthread_join(second, NULL) == 0);
  ending = true;
  CHECK(pthread_join(collecting, NULL) == 0 && pthread_join(allocating, NULL) == 0);
  printf("%d rounds\n", rounds);
  return 0;
}
