/* descriptors.c: a program that has used up its descriptors, closes all it knows nothing of, or
   expects the next one to have a certain number. descriptors CASE

   full     every descriptor the limit allows is in use
   closed   closefrom(3), as daemons do, between collections and while they run
   numbers  the collector has none of its own: the lowest free number is always the program's, and
            a listing of /proc/self/fd shows the program's only */
#include "reclaimed.h"
#include "roots.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>

static void full(void) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = limit.rlim_max < 100 ? limit.rlim_max : 100;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  while (dup(0) >= 0) continue;
  CHECK(errno == EMFILE);
  expect_garbage_back();
  expect_garbage_back();
  CHECK(dup(0) < 0 && errno == EMFILE); /* and the limit is what it was */
  struct rlimit now;
  CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0);
  CHECK(now.rlim_cur == limit.rlim_cur && now.rlim_max == limit.rlim_max);
}

static void closed(void) {
  pthread_t collecting;
  expect_garbage_back();
  closefrom(3);
  expect_garbage_back();
  CHECK(pthread_create(&collecting, NULL, collect_until_end, NULL) == 0);
  double end = seconds_now() + 0.5;
  while (seconds_now() < end) closefrom(3);
  collections_end = true;
  CHECK(pthread_join(collecting, NULL) == 0);
  expect_garbage_back();
}

static int count_open(void) {
  DIR *directory = opendir("/proc/self/fd");
  if (directory == NULL) not_possible("no /proc");
  int count = 0;
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  return count;
}

static void numbers(void) {
  int lowest = open("/dev/null", O_RDONLY), before = count_open();
  CHECK(lowest >= 0 && close(lowest) == 0);
  for (int i = 0; i < 50; i++) {
    collect();
    int got = open("/dev/null", O_RDONLY);
    if (got != lowest) fail("descriptor %d, not %d", got, lowest);
    CHECK(count_open() == before && close(got) == 0);
  }
}

static const struct root_case cases[] = {
    {"full", full}, {"closed", closed}, {"numbers", numbers}, {NULL, NULL}};

int main(int count, char **arguments) { return count == 2 ? run_case(cases, arguments[1]) : 2; }
