/* daemon.c: becomes a daemon as programs do (two forks, a new session, all descriptors closed),
   and collects there. The first process waits until the daemon has written its verdict to the
   file "verdict" in the working directory. */
#include "program.h"

#include <fcntl.h>
#include <sys/stat.h>

static char *kept[200];

static _Noreturn void serve(int result) {
  unsigned lost = 0;
  for (int turn = 0; turn < 30; turn++) {
    for (int i = 0; i < 200; i++) {
      lost += !pattern_holds(kept[i], 400, (unsigned)i);
      if (turn % 2) free(kept[i]); /* the others are leaked */
      kept[i] = malloc(400);
      fill_pattern(kept[i], 400, (unsigned)i);
    }
    wipe_stack();
    collect();
  }
  if (dprintf(result, lost ? "lost %u\n" : "whole\n", lost) < 0) _exit(1);
  exit(0);
}

int main(void) {
  for (int i = 0; i < 200; i++) fill_pattern(kept[i] = malloc(400), 400, (unsigned)i);
  collect();
  pid_t first = fork();
  CHECK(first >= 0);
  if (first == 0) {
    CHECK(setsid() >= 0);
    pid_t second = fork();
    CHECK(second >= 0);
    if (second > 0) _exit(0);
    for (int fd = 0; fd < 1024; fd++) close(fd);
    serve(open("verdict", O_WRONLY | O_CREAT | O_TRUNC, 0644));
  }
  for (int i = 0; i < 400; i++) {
    char text[64] = {0};
    usleep(25000);
    int fd = open("verdict", O_RDONLY);
    if (fd < 0) continue;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) continue;
    usleep(100000); /* the daemon's exit line */
    printf("%s", text);
    return strcmp(text, "whole\n") != 0;
  }
  fail("no verdict");
}
