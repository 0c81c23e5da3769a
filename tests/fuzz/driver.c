/* driver.c: runs inputs of the fuzzer without a fuzzer.

     fuzz seed SEED COUNT         random inputs, COUNT of them; the seed decides all but how threads
                                  meet
     fuzz time SECONDS SEED       the same for so long
     fuzz replay FILE|FOLDER...   what stands in files
     fuzz shrink FILE             a failing input made smaller as long as it fails: FILE.small

   Whoever fails says at which operation of which input, and leaves one that is in no file in the
   file `finding` of the working directory. The heap goes on from one input to the next: what one
   input alone does not repeat, its seed with the inputs before it may.

   Exit status as of all test programs; the last line counts for whoever judges. */
#include "operations.h"

#include "program.h"
#include "reclaim.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { LARGEST = 1 << 16, SHORTEST_RANDOM = 64, LONGEST_RANDOM = 4096 };

static struct {
  char name[300];
  unsigned char bytes[LARGEST];
  size_t size;
  bool in_file;
} input;

/* --- failing --- */

static void leave_finding(void) {
  char text[700], where[100];
  operations_where(where, sizeof where);
  int length = snprintf(text, sizeof text, "fuzz: %s, %s%s\n", input.name, where,
                        input.in_file ? "" : "; the input is in ./finding");
  if (write(2, text, (size_t)length) < 0) _exit(2);
  if (input.in_file) return;
  int file = open("finding", O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file < 0 || write(file, input.bytes, input.size) < 0) _exit(2);
  close(file);
}

/* Two threads may fail at once: the first tells, and ends the process when it has. */
static void at_failure(int number) {
  static pid_t failing;
  pid_t nobody = 0, self = gettid();
  if (__atomic_compare_exchange_n(&failing, &nobody, self, false, __ATOMIC_SEQ_CST,
                                  __ATOMIC_SEQ_CST))
    leave_finding();
  else if (nobody != self) /* who it is now; the same one failed in telling */
    sleep(5);              /* who tells may wait for this one, if that is the collector */
  signal(number, SIG_DFL);
  raise(number); /* as it would have ended */
}

static void watch_failures(void) {
  static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  struct sigaction action = {.sa_handler = at_failure};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    CHECK(sigaction(numbers[i], &action, NULL) == 0);
}

/* --- inputs --- */

static void run_random(uint64_t seed) {
  uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
  for (int i = 0; i < 4; i++) next_random(&random);
  snprintf(input.name, sizeof input.name, "seed %llu", (unsigned long long)seed);
  input.size = SHORTEST_RANDOM + next_random(&random) % (LONGEST_RANDOM - SHORTEST_RANDOM);
  for (size_t i = 0; i < input.size; i++)
    input.bytes[i] = (unsigned char)(next_random(&random) * 0x9e3779b97f4a7c15u >> 56);
  operations_run(input.bytes, input.size);
}

static void read_input(const char *path) {
  int file = open(path, O_RDONLY);
  ssize_t size = file < 0 ? -1 : read(file, input.bytes, sizeof input.bytes);
  if (size < 0) fail("%s: %s", path, strerror(errno));
  close(file);
  input.size = (size_t)size;
  input.in_file = true;
  snprintf(input.name, sizeof input.name, "%s", path);
}

static void run_path(const char *path);

static void run_folder(const char *path) {
  struct dirent **entries;
  int count = scandir(path, &entries, NULL, alphasort);
  if (count < 0) fail("%s: %s", path, strerror(errno));
  for (int i = 0; i < count; i++) {
    char file[600];
    snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
    if (entries[i]->d_name[0] != '.') run_path(file);
    free(entries[i]);
  }
  free(entries);
}

static void run_path(const char *path) {
  struct stat about;
  if (stat(path, &about) != 0) fail("%s: %s", path, strerror(errno));
  if (S_ISDIR(about.st_mode)) {
    run_folder(path);
    return;
  }
  read_input(path);
  operations_run(input.bytes, input.size);
}

/* --- shrinking: Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (IEEE
   Transactions on Software Engineering 28, 2002), with the complements alone --- */

enum { TRIES = 3, OPERATION = 4 };

static bool fails(const char *program, const char *path, const unsigned char *bytes, size_t size) {
  for (int i = 0; i < TRIES; i++) { /* threads meet as they like */
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666), status;
    CHECK(file >= 0 && write(file, bytes, size) == (ssize_t)size && close(file) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      int null = open("/dev/null", O_WRONLY);
      dup2(null, 1);
      dup2(null, 2);
      alarm(20);
      execl(program, program, "replay", path, (char *)NULL);
      _exit(126);
    }
    while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
    if (WIFSIGNALED(status) || WEXITSTATUS(status) == 1) return true;
    CHECK(WEXITSTATUS(status) != 126);
  }
  return false;
}

static void shrink(const char *program, const char *path) {
  static unsigned char shorter[LARGEST];
  char small[600];
  read_input(path);
  snprintf(small, sizeof small, "%s.small", path);
  if (!fails(program, small, input.bytes, input.size)) fail("%s: it does not fail alone", path);
  for (size_t piece = input.size / 2 / OPERATION * OPERATION; piece >= OPERATION;) {
    bool any = false;
    for (size_t at = 1; at + piece <= input.size;) {
      memcpy(shorter, input.bytes, at);
      memcpy(shorter + at, input.bytes + at + piece, input.size - at - piece);
      if (fails(program, small, shorter, input.size - piece)) {
        input.size -= piece;
        memcpy(input.bytes, shorter, input.size);
        any = true;
      } else {
        at += piece;
      }
    }
    if (!any) piece = piece / 2 / OPERATION * OPERATION;
  }
  CHECK(fails(program, small, input.bytes, input.size));
  printf("%zu operations in %s\n", (input.size - 1) / OPERATION, small);
}

/* --- what came of it --- */

static void tell(void) {
  struct reclaim_stats stats = {0};
  int (*get)(struct reclaim_stats *, size_t) =
      (int (*)(struct reclaim_stats *, size_t))dlsym(RTLD_DEFAULT, "reclaim_stats");
  if (get != NULL) CHECK(get(&stats, sizeof stats) == 0);
  struct counts counts = operations_counts();
  printf("operations %llu dropped %llu kept %llu collections %llu reclaimed %llu\n",
         (unsigned long long)counts.operations, (unsigned long long)counts.dropped,
         (unsigned long long)counts.kept, (unsigned long long)stats.cycles,
         (unsigned long long)stats.reclaimed_objects);
}

int main(int count, char **arguments) {
  if (count < 3) fail("fuzz seed SEED COUNT | time SECONDS SEED | replay PATH... | shrink FILE");
  const char *what = arguments[1];
  if (strcmp(what, "shrink") == 0) {
    shrink("/proc/self/exe", arguments[2]);
    return 0;
  }
  operations_init();
  watch_failures();
  if (strcmp(what, "replay") == 0) {
    for (int i = 2; i < count; i++) run_path(arguments[i]);
  } else {
    CHECK(count == 4);
    bool timed = strcmp(what, "time") == 0;
    CHECK(timed || strcmp(what, "seed") == 0);
    uint64_t seed = strtoull(arguments[timed ? 3 : 2], NULL, 10);
    uint64_t inputs = timed ? UINT64_MAX : strtoull(arguments[3], NULL, 10);
    double end = timed ? seconds_now() + strtod(arguments[2], NULL) : 0;
    for (uint64_t i = 0; i < inputs && (!timed || seconds_now() < end); i++) run_random(seed + i);
  }
  if (collector != NULL) {
    wipe_stack();
    collect();
    collect();
  }
  tell();
  return 0;
}
