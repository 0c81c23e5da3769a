/* log.c: where the lines of log= go. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "report/report.h"

static char directory[64];

static void start(void) {
  options_default(&options);
  strcpy(directory, "/tmp/reclaim-unit-XXXXXX");
  cr_assert(mkdtemp(directory));
}

static void clean_up(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", directory);
  cr_expect_eq(system(command), 0);
}

TestSuite(log, .init = start, .fini = clean_up, .timeout = 30);

static void log_to(const char *name) {
  snprintf(options.log, sizeof options.log, "%s/%s", directory, name);
}

static void say(const char *string) {
  struct text text = {(char *)string, (char *)string + strlen(string), NULL};
  log_text(&text);
}

static const char *content(const char *name) {
  static char text[65536];
  char path[128];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  long length = port_read_file(path, text, sizeof text - 1);
  text[length > 0 ? length : 0] = 0;
  return text;
}

static const char *line(const char *string) {
  static char text[4096];
  snprintf(text, sizeof text, "reclaim[%d] %s\n", getpid(), string);
  return text;
}

Test(log, none_is_wanted_by_default) {
  cr_expect(!log_wanted());
  say("nobody listens");
}

Test(log, lines_are_appended) {
  log_to("log");
  cr_expect(log_wanted());
  say("one");
  cr_expect_str_eq(content("log"), line("one"));
  say("two");
  char both[256];
  snprintf(both, sizeof both, "reclaim[%d] one\nreclaim[%d] two\n", getpid(), getpid());
  cr_expect_str_eq(content("log"), both);
}

Test(log, what_stood_in_the_file_stays) {
  log_to("log");
  FILE *file = fopen(options.log, "w");
  fputs("before\n", file);
  fclose(file);
  say("after");
  cr_expect(strstr(content("log"), "before\nreclaim["));
}

Test(log, percent_p_is_the_process) {
  log_to("log.%p.%p.%");
  say("here");
  char name[64];
  snprintf(name, sizeof name, "log.%d.%d.%%", getpid(), getpid());
  cr_expect_str_eq(content(name), line("here"));
  pid_t child = fork();
  if (child == 0) {
    say("there");
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  snprintf(name, sizeof name, "log.%d.%d.%%", child, child);
  cr_expect(strstr(content(name), "there"));
}

Test(log, a_file_that_cannot_be_opened_is_no_trouble) {
  static const char *const names[] = {"missing/log", ".", "log/"};
  for (int i = 0; i < 3; i++) {
    log_to(names[i]);
    errno = 77;
    say("lost");
    cr_expect_eq(errno, 77);
  }
  log_to("log");
  say("found");
  cr_expect_str_eq(content("log"), line("found"), "the next line has its chance");
}

Test(log, a_path_of_the_greatest_length) {
  memset(options.log, 'x', sizeof options.log - 1);
  memcpy(options.log, "%p%p%p%p", 8);
  say("lost");
}

Test(log, no_descriptor_stays_open) {
  log_to("log");
  int before = dup(0);
  close(before);
  for (int i = 0; i < 50; i++) say("x");
  int after = dup(0);
  cr_expect_eq(after, before);
  close(after);
}

Test(log, standard_error_gets_one_write_a_line) {
  int pair[2];
  char packet[4096];
  cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
  dup2(pair[1], 2);
  strcpy(options.log, "stderr");
  say("one");
  say("two");
  ssize_t length = recv(pair[0], packet, sizeof packet - 1, MSG_DONTWAIT);
  packet[length > 0 ? length : 0] = 0;
  cr_expect_str_eq(packet, line("one"));
  length = recv(pair[0], packet, sizeof packet - 1, MSG_DONTWAIT);
  packet[length > 0 ? length : 0] = 0;
  cr_expect_str_eq(packet, line("two"));
}

Test(log, a_long_line_is_cut_but_ends) {
  log_to("log");
  static char longest[5000];
  memset(longest, 'y', sizeof longest - 1);
  say(longest);
  const char *got = content("log");
  cr_expect_eq(strlen(got), 2048);
  cr_expect_eq(got[2047], '\n');
  cr_expect_eq(strchr(got, '\n'), got + 2047);
}
