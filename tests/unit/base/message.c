/* message.c: one line, one write. A socket that keeps packets apart stands in for stderr. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/message.h"

static int reading_end;

static void start(void) {
  int pair[2];
  cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
  cr_assert_eq(dup2(pair[1], 2), 2);
  close(pair[1]);
  reading_end = pair[0];
}

/* What one write wrote. */
static const char *packet(void) {
  static char text[4096];
  ssize_t length = recv(reading_end, text, sizeof text - 1, MSG_DONTWAIT);
  text[length > 0 ? length : 0] = 0;
  return text;
}

TestSuite(message, .init = start, .timeout = 30);

Test(message, a_line_is_one_write) {
  message_line("the heap is made of straw");
  cr_expect_str_eq(packet(), "reclaim: the heap is made of straw\n");
  cr_expect_str_eq(packet(), "");
}

Test(message, an_empty_line) {
  message_line("");
  cr_expect_str_eq(packet(), "reclaim: \n");
}

Test(message, a_text_need_not_be_terminated) {
  char buffer[16] = "0123456789abcdef";
  struct text text = text_in(buffer, sizeof buffer);
  text.end = text.begin + 4;
  message_text(&text);
  cr_expect_str_eq(packet(), "reclaim: 0123\n");
}

Test(message, a_long_line_is_cut_but_ends) {
  char line[3000];
  memset(line, 'y', sizeof line);
  line[sizeof line - 1] = 0;
  message_line(line);
  const char *got = packet();
  cr_expect_eq(strlen(got), 1024);
  cr_expect_eq(got[1023], '\n');
  cr_expect_eq(got[1022], 'y');
}

Test(message, nobody_listens) {
  close(2);
  message_line("into the void");
}

Test(message, a_failed_check_says_what_and_where) {
  pid_t child = fork();
  if (child == 0) check_failed("pigs == flying", "sky.c", 77);
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  cr_expect_str_eq(packet(), "reclaim: internal check failed: pigs == flying at sky.c:77\n");
}
