/* hostile.c: runs under conditions that take from a collector what it likes to use. hostile CASE

   noproc      /proc is covered by an empty file system while the program runs (needs root)
   chroot      the root is an empty directory (needs root)
   files       every file descriptor the limit allows is in use
   setuid      privileges are dropped to another user (needs root); the process cannot be dumped
   setuid-gap  the same with a page of a file that cannot be read, as in the gaps that the loader
               leaves between the parts of some libraries
   setuid-hole the same with a block of which a part was unmapped: what lies after it counts
   nodump      PR_SET_DUMPABLE 0
   mainexit    the main thread has ended by pthread_exit
   setuid-mainexit  both
   limit       RLIMIT_AS set to 512 MiB while the program runs
   lockall     mlockall(MCL_CURRENT | MCL_FUTURE)
   none        nothing special, to compare with

   Under that condition two threads allocate, verify, free and leak, and collections are asked
   for. All blocks must stay whole. Prints the resident set on standard error. */
#include "program.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const char *condition;
static char *holed;

static bool is(const char *name) { return strcmp(condition, name) == 0; }

static void drop_privileges(void) {
  if (geteuid() != 0) not_possible("not root");
  CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
  CHECK(setuid(0) != 0);
}

static void make_condition(void) {
  if (is("noproc")) {
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/proc", "tmpfs", 0, NULL) != 0)
      not_possible("no private mount of /proc");
    CHECK(access("/proc/self/maps", F_OK) != 0);
  } else if (is("chroot")) {
    char name[] = "empty-root-XXXXXX";
    CHECK(mkdtemp(name) != NULL);
    if (chroot(name) != 0) not_possible("no chroot");
    CHECK(chdir("/") == 0);
  } else if (is("files") || is("files-hard")) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 200;
    if (is("files-hard")) limit.rlim_max = 200;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (dup(0) >= 0)
      ;
    CHECK(errno == EMFILE);
  } else if (is("setuid") || is("setuid-mainexit") || is("setuid-gap") || is("setuid-hole")) {
    if (is("setuid-hole")) {
      holed = aligned_alloc(4096, 1 << 20);
      CHECK(holed != NULL && munmap(holed + 8192, 4096) == 0);
      fill_pattern(*(void **)(holed + 16384) = malloc(700), 700, 7);
    }
    if (is("setuid-gap")) {
      int file = open("/proc/self/exe", O_RDONLY);
      CHECK(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE, file, 0) != MAP_FAILED);
    }
    drop_privileges();
  } else if (is("nodump")) {
    CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
  } else if (is("limit")) {
    struct rlimit limit = {512u << 20, 512u << 20};
    if (setrlimit(RLIMIT_AS, &limit) != 0) not_possible("no RLIMIT_AS");
  } else if (is("lockall")) {
    if (geteuid() != 0 || mlockall(MCL_CURRENT | MCL_FUTURE) != 0) not_possible("no mlockall");
  }
}

/* 48 MiB of leaks in each of two threads, in 512 turns, with blocks kept over many turns. */
static void *work(void *argument) {
  void *kept[200] = {0};
  uint64_t random = (uintptr_t)argument;
  for (int turn = 0; turn < 256; turn++) {
    for (int i = 0; i < 200; i++) {
      if (kept[i] != NULL) {
        CHECK(pattern_holds(kept[i], 1000, (unsigned)i));
        if (next_random(&random) % 2 == 0) free(kept[i]);
      }
      kept[i] = malloc(1000); /* each second old one is lost */
      CHECK(kept[i] != NULL);
      fill_pattern(kept[i], 1000, (unsigned)i);
    }
    if (turn % 8 == 0) collect();
  }
  for (int i = 0; i < 200; i++) {
    CHECK(pattern_holds(kept[i], 1000, (unsigned)i));
    free(kept[i]);
  }
  return NULL;
}

static void *work_and_end(void *threads) {
  pthread_t *main_and_worker = threads;
  if (is("mainexit") || is("setuid-mainexit")) CHECK(pthread_join(main_and_worker[0], NULL) == 0);
  work((void *)3);
  if (is("mainexit") || is("setuid-mainexit")) {
    CHECK(pthread_join(main_and_worker[1], NULL) == 0);
    puts("whole");
    exit(0);
  }
  return NULL;
}

int main(int count, char **arguments) {
  static pthread_t threads[3];
  CHECK(count == 2);
  condition = arguments[1];
  void *before = malloc(5000);
  fill_pattern(before, 5000, 1);
  make_condition();
  threads[0] = pthread_self();
  CHECK(pthread_create(&threads[1], NULL, work, (void *)5) == 0);
  CHECK(pthread_create(&threads[2], NULL, work_and_end, threads) == 0);
  if (is("mainexit") || is("setuid-mainexit")) pthread_exit(NULL);
  CHECK(pthread_join(threads[1], NULL) == 0 && pthread_join(threads[2], NULL) == 0);
  CHECK(pattern_holds(before, 5000, 1));
  CHECK(!holed || pattern_holds(*(void **)(holed + 16384), 700, 7));
  dprintf(2, "%ld KiB resident\n", resident_kib());
  puts("whole");
  return 0;
}
