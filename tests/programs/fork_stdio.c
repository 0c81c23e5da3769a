/* fork_stdio.c: fork while another thread allocates inside stdio. fork_stdio FORKS

   fflush(NULL) holds the list of all streams while it writes each of them; a stream of the
   program's own (fopencookie) allocates when it is written. fork takes that list too. */
#include "program.h"

#include <sys/wait.h>

static ssize_t write_cookie(void *cookie, const char *data, size_t size) {
  static void *blocks[300];
  static unsigned next;
  (void)cookie, (void)data;
  for (int i = 0; i < 20; i++) { /* sizes of which a few fill a heap page */
    free(blocks[next % 300]);
    blocks[next % 300] = malloc(9000 + next % 7 * 9000);
    next++;
  }
  return (ssize_t)size;
}

static volatile bool ending;

static void *flush_always(void *unused) {
  FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_cookie});
  CHECK(stream != NULL);
  while (!ending) {
    fputc('x', stream);
    fflush(NULL);
  }
  fclose(stream);
  return unused;
}

int main(int count, char **arguments) {
  int forks = count > 1 ? atoi(arguments[1]) : 2000;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, flush_always, NULL) == 0);
  for (int i = 0; i < forks; i++) {
    if (i % 16 == 0) collect();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      void *volatile block = malloc(40000);
      free(block);
      fflush(NULL);
      _exit(0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  ending = true;
  CHECK(pthread_join(thread, NULL) == 0);
  puts("no fork waited for ever");
  return 0;
}
