/* groups.c: what is read of control groups. A directory stands for /sys/fs/cgroup. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <sys/stat.h>

#include "ports/linux/groups.h"

static char mount[] = "/tmp/reclaim-groups-XXXXXX", list[sizeof mount + 8];
static const struct port_groups groups = {list, mount};

static void write_file(const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", mount, name);
  FILE *file = fopen(path, "w");
  cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static void start(void) {
  cr_assert(mkdtemp(mount) != NULL);
  snprintf(list, sizeof list, "%s/list", mount);
  char path[128];
  snprintf(path, sizeof path, "%s/a", mount);
  cr_assert_eq(mkdir(path, 0755), 0);
  snprintf(path, sizeof path, "%s/a/b", mount);
  cr_assert_eq(mkdir(path, 0755), 0);
  write_file("list", "4:memory:/elsewhere\n0::/a/b\n");
}

static void end(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -r '%s'", mount);
  cr_expect_eq(system(command), 0);
}

TestSuite(groups, .init = start, .fini = end, .timeout = 30);

static void note(struct group *group, void *context) {
  char *paths = context;
  *group->end = 0;
  strcat(strcat(paths, group->path + strlen(mount)), ":");
}

static void expect_visited(const char *content, const char *paths) {
  char visited[200] = "";
  write_file("list", content);
  groups_visit(&groups, note, visited);
  cr_expect_str_eq(visited, paths, "%s: %s", content, visited);
}

Test(groups, visits_its_own_and_those_above) {
  expect_visited("0::/a/b\n", "/a/b:/a::");
  expect_visited("9:name=systemd:/x\n0::/a\n", "/a::");
  expect_visited("0::/\n", ":");
  expect_visited("4:memory:/x\n", "");
  expect_visited("", "");
}

Test(groups, a_name_too_long_is_no_other) {
  char content[2000] = "0::/";
  memset(content + 4, 'x', 1000);
  expect_visited(content, "");
}

static struct port_memory left(void) {
  struct port_memory memory;
  bool limited = port_memory_left(&groups, &memory);
  cr_expect_eq(limited, memory.limit != SIZE_MAX);
  return memory;
}

Test(groups, no_limit_is_none) {
  cr_expect_eq(left().left, SIZE_MAX);
  write_file("a/memory.max", "max\n");
  write_file("a/memory.high", "max\n");
  write_file("a/memory.current", "4096\n");
  cr_expect_eq(left().left, SIZE_MAX);
  write_file("a/memory.max", "");
  cr_expect_eq(left().left, SIZE_MAX);
}

Test(groups, one_whose_use_is_unknown_is_none) {
  write_file("a/memory.max", "1000000\n");
  cr_expect_eq(left().left, SIZE_MAX);
}

Test(groups, the_lesser_of_max_and_high) {
  write_file("a/b/memory.max", "1000000\n");
  write_file("a/b/memory.high", "max\n");
  write_file("a/b/memory.current", "400000\n");
  cr_expect_eq(left().limit, 1000000);
  cr_expect_eq(left().left, 600000);
  write_file("a/b/memory.high", "900000\n");
  cr_expect_eq(left().limit, 900000);
  cr_expect_eq(left().left, 500000);
  write_file("a/b/memory.current", "950000\n");
  cr_expect_eq(left().left, 0);
}

Test(groups, the_one_with_the_least_left) {
  write_file("a/b/memory.max", "1000000\n");
  write_file("a/b/memory.current", "400000\n");
  write_file("a/memory.max", "3000000\n");
  write_file("a/memory.current", "2900000\n");
  cr_expect_eq(left().limit, 3000000);
  cr_expect_eq(left().left, 100000);
  write_file("memory.max", "9000000\n");
  write_file("memory.current", "8990000\n");
  cr_expect_eq(left().limit, 9000000);
}

Test(groups, cached_files_are_given_up_first_but_for_shared_memory) {
  write_file("a/b/memory.max", "1000000\n");
  write_file("a/b/memory.current", "900000\n");
  write_file("a/b/memory.stat", "anon 100000\nfile 700000\nkernel 5\nshmem 200000\n");
  cr_expect_eq(left().left, 600000);
}

Test(groups, a_long_file_is_read_as_far_as_it_matters) {
  char stat[3000] = "anon 100000\nfile 700000\nshmem 200000\n";
  memset(stat + strlen(stat), 'x', 2500);
  write_file("a/b/memory.max", "1000000\n");
  write_file("a/b/memory.current", "900000\n");
  write_file("a/b/memory.stat", stat);
  cr_expect_eq(left().left, 600000);
}

Test(groups, processors_by_the_least_quota) {
  unsigned free = port_processors(&groups);
  write_file("a/cpu.max", "max 100000\n");
  cr_expect_eq(port_processors(&groups), free);
  write_file("a/cpu.max", "50000 100000\n");
  cr_expect_eq(port_processors(&groups), 1);
}
