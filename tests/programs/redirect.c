/* redirect.c: a program of one thread counts on descriptor numbers: it closes one and opens another
   file, which takes the lowest number free, or duplicates one to where it was, as a shell does for
   each redirection. Whatever is opened beside it must not come in between. redirect ROUNDS */
#include "program.h"

#include <fcntl.h>

static void write_whole(int fd, const char *text) {
  CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

int main(int count, char **arguments) {
  int rounds = count > 1 ? atoi(arguments[1]) : 10000;
  char text[64], found[64];
  free(malloc(100));
  for (int i = 0; i < rounds; i++) {
    int saved = fcntl(1, F_DUPFD, 10);
    CHECK(saved >= 10);
    close(1);
    /* Not truncated: file systems write such a file to the disk when it is closed. */
    if (open("file", O_WRONLY | O_CREAT, 0666) != 1) fail("round %d: another number", i);
    int length = snprintf(text, sizeof text, "round %08d\n", i);
    write_whole(1, text);
    close(1);
    if (dup2(saved, 1) != 1) fail("round %d: dup2", i);
    CHECK(close(saved) == 0);
    int back = open("file", O_RDONLY);
    CHECK(back >= 0);
    if (read(back, found, sizeof found) != length || memcmp(found, text, (size_t)length) != 0)
      fail("round %d: the file does not hold what was written", i);
    if (close(back) != 0) fail("round %d: it was closed by another", i);
  }
  printf("%d rounds\n", rounds);
  return 0;
}
