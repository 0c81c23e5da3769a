/* exec_storm.c: programs that exec while another of their threads collects. exec_storm COUNT

   A stop signal queued to a thread that is inside execve stays pending across it, and then kills
   the new program. Each child starts a thread that collects without pause and one that allocates,
   and execs at a varying moment, by each of the functions in turn; a failed exec must leave the
   program able to collect. Run inside a thread for every third: exec then ends the others. */
#include "program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
static char program[4096];
static int turn;

static void *collect_always(void *unused) {
  (void)unused;
  for (;;)
    if (!collect()) usleep(1000);
  return NULL;
}

static void *allocate_always(void *unused) {
  (void)unused;
  for (;;) {
    void *volatile block = malloc(50);
    free(block);
  }
  return NULL;
}

static void *replace(void *unused) {
  char *arguments[] = {program, "end", NULL};
  (void)unused;
  execl("/nonexistent/program", "program", (char *)NULL); /* fails, and the rest goes on */
  void *volatile block = malloc(1000);
  free(block);
  switch (turn % 8) {
  case 0: execv(program, arguments); break;
  case 1: execve(program, arguments, environ); break;
  case 2: execvp(program, arguments); break;
  case 3: execvpe(program, arguments, environ); break;
  case 4: execl(program, program, "end", (char *)NULL); break;
  case 5: execle(program, program, "end", (char *)NULL, environ); break;
  case 6: execlp(program, program, "end", (char *)NULL); break;
  case 7: fexecve(open(program, O_RDONLY | O_CLOEXEC), arguments, environ); break;
  }
  fail("exec %d: %s", turn % 8, strerror(errno));
}

static void storm_child(void) {
  pthread_t threads[3];
  CHECK(pthread_create(&threads[0], NULL, collect_always, NULL) == 0);
  CHECK(pthread_create(&threads[1], NULL, allocate_always, NULL) == 0);
  usleep((useconds_t)(300 + turn * 37 % 2000));
  if (turn % 3 == 0) {
    CHECK(pthread_create(&threads[2], NULL, replace, NULL) == 0);
    for (;;) pause();
  }
  replace(NULL);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  if (strcmp(arguments[1], "end") == 0) return 0;
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  CHECK(length > 0);
  int wanted = atoi(arguments[1]), killed = 0, failed = 0, last = 0;
  for (turn = 0; turn < wanted; turn++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) storm_child();
    int status;
    while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
    killed += WIFSIGNALED(status);
    failed += WIFEXITED(status) && WEXITSTATUS(status) != 0;
    if (WIFSIGNALED(status)) last = WTERMSIG(status);
  }
  if (killed + failed > 0)
    fail("of %d: %d killed (last by signal %d), %d failed", wanted, killed, last, failed);
  printf("%d execs\n", wanted);
  return 0;
}
