/* harness.c: see harness.h.

   The child is made by fork in the Criterion worker, becomes leader of a process group of its own
   and execs. The parent polls for its end, so that a program that hangs costs a timeout and not
   the suite, then kills what is left of the group: a test must not leave servers behind. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef TEST_LIBRARY
#define TEST_LIBRARY "build/.libs/libreclaim.so"
#endif
#ifndef TEST_WITHOUT
#define TEST_WITHOUT "build/.libs/libwithout.so"
#endif
#ifndef TEST_PROGRAMS
#define TEST_PROGRAMS "build/tests/programs"
#endif
#ifndef TEST_INPUTS
#define TEST_INPUTS "tests/preload/inputs"
#endif

static const char *absolute(const char *variable, const char *fallback, char *buffer) {
  const char *value = getenv(variable);
  if (value == NULL || *value == '\0') value = fallback;
  if (realpath(value, buffer) == NULL)
    cr_assert_fail("%s: no such file: %s (set %s)", variable, value, variable);
  return buffer;
}

const char *library_path(void) {
  static char path[PATH_MAX];
  return *path ? path : absolute("RECLAIM_TEST_LIBRARY", TEST_LIBRARY, path);
}

const char *library_without_path(void) {
  static char path[PATH_MAX];
  return *path ? path : absolute("RECLAIM_TEST_WITHOUT", TEST_WITHOUT, path);
}

static const char *programs_path(void) {
  static char path[PATH_MAX];
  return *path ? path : absolute("RECLAIM_TEST_PROGRAMS", TEST_PROGRAMS, path);
}

const char *inputs_path(void) {
  static char path[PATH_MAX];
  return *path ? path : absolute("RECLAIM_TEST_INPUTS", TEST_INPUTS, path);
}

const char *program_path(const char *name) {
  static char path[PATH_MAX + 64];
  if (strchr(name, '/') != NULL) return name;
  const char *const folders[] = {programs_path(), "/usr/bin", "/bin"};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    snprintf(path, sizeof path, "%s/%s", folders[i], name);
    if (access(path, X_OK) == 0) return path;
  }
  cr_assert_fail("no such program: %s", name);
  return NULL;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The child */

static void redirect(const char *path, int flags, int descriptor) {
  int fd = open(path, flags, 0666);
  if (fd < 0 || dup2(fd, descriptor) < 0) _exit(125);
  if (fd != descriptor) close(fd);
}

static _Noreturn void become(const struct command *command, const struct run *run,
                             char *const arguments[], char *const environment[], const char *path) {
  char name[256];
  setpgid(0, 0);
  char input[PATH_MAX + 64] = "/dev/null";
  if (command->input) snprintf(input, sizeof input, "%s/%s", inputs_path(), command->input);
  redirect(input, O_RDONLY, 0);
  snprintf(name, sizeof name, "%s/out", run->directory);
  redirect(name, O_WRONLY | O_CREAT | O_TRUNC, 1);
  snprintf(name, sizeof name, "%s/err", run->directory);
  redirect(name, O_WRONLY | O_CREAT | O_TRUNC, 2);
  for (int fd = 3; fd < 256; fd++) close(fd);
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  umask(0); /* a server that drops root goes on in the log that it began as root */
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (command->address_space) {
    struct rlimit limit = {command->address_space, command->address_space};
    setrlimit(RLIMIT_AS, &limit);
  }
  if (chdir(command->directory ? command->directory : run->directory) != 0) _exit(125);
  execve(path, arguments, environment);
  _exit(126);
}

/* The log */

static const char *field(const char *line, const char *key) {
  size_t length = strlen(key);
  for (const char *p = line; (p = strstr(p, key)) != NULL; p += length)
    if (p > line && p[-1] == ' ' && p[length] == '=') return p + length + 1;
  return NULL;
}

static unsigned long long number_of(const char *line, const char *key) {
  const char *value = field(line, key);
  return value ? strtoull(value, NULL, 10) : 0;
}

static double decimal_of(const char *line, const char *key) {
  const char *value = field(line, key);
  return value ? strtod(value, NULL) : 0;
}

static void count_reason(struct cycle_totals *totals, const char *line) {
  const char *value = field(line, "why");
  if (value == NULL) value = "unnamed";
  char word[64] = {0}, key[80];
  for (size_t i = 0; i + 1 < sizeof word && value[i] > ' '; i++) word[i] = value[i];
  snprintf(key, sizeof key, "%s:", word);
  char rebuilt[sizeof totals->reasons + 100] = {0};
  bool found = false;
  char *copy = strdup(totals->reasons), *rest = copy, *part;
  while ((part = strsep(&rest, " ")) != NULL) {
    if (*part == '\0') continue;
    size_t used = strlen(rebuilt);
    if (strncmp(part, key, strlen(key)) == 0) {
      found = true;
      snprintf(rebuilt + used, sizeof rebuilt - used, "%s%d ", key, atoi(part + strlen(key)) + 1);
    } else {
      snprintf(rebuilt + used, sizeof rebuilt - used, "%s ", part);
    }
  }
  free(copy);
  if (!found) snprintf(rebuilt + strlen(rebuilt), sizeof rebuilt - strlen(rebuilt), "%s1 ", key);
  snprintf(totals->reasons, sizeof totals->reasons, "%.*s", (int)sizeof totals->reasons - 1,
           rebuilt);
}

static void larger(unsigned long long *figure, const char *line, const char *key) {
  unsigned long long value = number_of(line, key);
  if (value > *figure) *figure = value;
}

/* One file holds the lines of one process. The counters in it are cumulative: their largest value
   is the last one. Cycles are counted by their lines, not by the numbers in them. */
static void read_log(struct cycle_totals *totals, const char *path) {
  FILE *file = fopen(path, "re");
  if (file == NULL) return;
  char *line = NULL;
  size_t size = 0;
  unsigned long long findings = 0, counted = 0, reclaimed_sum = 0, cells_sum = 0;
  unsigned long long reclaimed = 0, cells = 0, dropped = 0, recovered = 0, condemned = 0;
  bool exited = false;
  totals->processes++;
  while (getline(&line, &size, file) > 0) {
    if (strncmp(line, "reclaim[", 8) != 0) continue;
    larger(&dropped, line, "dropped");
    larger(&recovered, line, "recovered");
    larger(&condemned, line, "condemned");
    larger(&counted, line, "false");
    if (strstr(line, "] exit ") != NULL) {
      exited = true;
      reclaimed = number_of(line, "reclaimed");
      cells = number_of(line, "cells");
    } else if (strstr(line, "] false-reclaim ") != NULL) {
      findings++;
      if (*totals->first_false == '\0')
        snprintf(totals->first_false, sizeof totals->first_false, "%s", line);
    } else if (strstr(line, " result=done") != NULL) {
      totals->done++;
      double pause = decimal_of(line, "pause");
      totals->summed_pause += pause;
      if (pause > totals->longest_pause) totals->longest_pause = pause;
      reclaimed_sum += number_of(line, "reclaimed");
      cells_sum += number_of(line, "cells");
    } else if (strstr(line, " result=skipped") != NULL) {
      totals->skipped++;
      count_reason(totals, line);
    }
  }
  free(line);
  fclose(file);
  totals->exits += exited;
  totals->reclaimed += exited ? reclaimed : reclaimed_sum;
  totals->cells += exited ? cells : cells_sum;
  totals->dropped += dropped;
  totals->recovered += recovered;
  totals->condemned += condemned;
  totals->false_reclaims += findings > counted ? findings : counted;
}

static void count_served(struct run *run) {
  char path[256];
  snprintf(path, sizeof path, "%s/served", run->directory);
  FILE *file = fopen(path, "re");
  int process;
  for (bool first = true; file != NULL && fscanf(file, "%d", &process) == 1; first = false) {
    struct cycle_totals one = {0};
    snprintf(path, sizeof path, "%s/cycles.%d", run->directory, process);
    read_log(&one, path);
    if (first || one.done < run->cycles.least_served) run->cycles.least_served = one.done;
  }
  if (file != NULL) fclose(file);
}

static void read_logs(struct run *run, pid_t first) {
  DIR *directory = opendir(run->directory);
  struct dirent *entry;
  while (directory != NULL && (entry = readdir(directory)) != NULL)
    if (strncmp(entry->d_name, "cycles.", 7) == 0) {
      char path[512];
      snprintf(path, sizeof path, "%s/%s", run->directory, entry->d_name);
      unsigned before = run->cycles.done;
      read_log(&run->cycles, path);
      if (atoi(entry->d_name + 7) != first) run->cycles.below += run->cycles.done - before;
    }
  if (directory != NULL) closedir(directory);
  count_served(run);
}

static char *contents(const struct run *run, const char *name, size_t *size) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", run->directory, name);
  FILE *file = fopen(path, "re");
  char *text = NULL;
  size_t length = 0;
  if (file != NULL) {
    fseek(file, 0, SEEK_END);
    length = (size_t)ftell(file);
    rewind(file);
  }
  text = malloc(length + 1);
  length = file ? fread(text, 1, length, file) : 0;
  text[length] = '\0';
  *size = length;
  if (file != NULL) fclose(file);
  return text;
}

/* The run */

/* The lines of a thread's file in /proc that begin with one of those words, all without any. */
static void note_file(FILE *notes, int process, const char *thread, const char *name,
                      const char *const *words) {
  char path[512], line[256];
  snprintf(path, sizeof path, "/proc/%d/task/%s/%s", process, thread, name);
  FILE *file = fopen(path, "re");
  if (file == NULL) return; /* it has ended meanwhile */
  while (fgets(line, sizeof line, file) != NULL) {
    bool wanted = *words == NULL;
    for (const char *const *word = words; *word != NULL && !wanted; word++)
      wanted = strncmp(line, *word, strlen(*word)) == 0;
    if (wanted) fprintf(notes, " %.*s", (int)strcspn(line, "\n"), line);
  }
  fclose(file);
}

/* What the threads of a process that does not end are at, a line each, into `threads` beside its
   output: their states, signals pending and blocked, how often they ran, and the system call that
   they wait in. */
static void note_threads(const struct run *run, pid_t process) {
  static const char *const status[] = {"Name",   "State",  "SigQ",   "SigPnd", "ShdPnd",
                                       "SigBlk", "volunt", "nonvol", NULL};
  static const char *const all[] = {NULL};
  char path[256];
  struct dirent *task;
  snprintf(path, sizeof path, "/proc/%d/task", process);
  DIR *tasks = opendir(path);
  snprintf(path, sizeof path, "%s/threads", run->directory);
  FILE *notes = fopen(path, "we");
  while (tasks != NULL && notes != NULL && (task = readdir(tasks)) != NULL) {
    if (*task->d_name == '.') continue;
    fprintf(notes, "%s", task->d_name);
    note_file(notes, process, task->d_name, "status", status);
    fputs(" syscall", notes);
    note_file(notes, process, task->d_name, "syscall", all);
    fputc('\n', notes);
  }
  if (notes != NULL) fclose(notes);
  if (tasks != NULL) closedir(tasks);
}

static void wait_for_end(struct run *run, pid_t child, unsigned seconds) {
  double start = now(), limit = start + (seconds ? seconds : 60);
  struct rusage usage;
  useconds_t nap = 200;
  for (;;) {
    pid_t ended = wait4(child, &run->status, WNOHANG, &usage);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR) cr_assert_fail("wait4: %s", strerror(errno));
    if (now() > limit && !run->timed_out) {
      run->timed_out = true;
      note_threads(run, child);
      kill(-child, SIGKILL);
    }
    usleep(nap);
    if (nap < 10000) nap *= 2;
  }
  run->seconds = now() - start;
  run->peak_kib = usage.ru_maxrss;
  kill(-child, SIGKILL);
}

static void describe_command(const struct command *command, struct run *run) {
  char *text = run->command_line;
  size_t size = sizeof run->command_line, used = 0;
  if (command->options != NULL)
    used = (size_t)snprintf(text, size, "RECLAIM=%s ", command->options);
  if (command->without != NULL)
    used += (size_t)snprintf(text + used, size - used, "RECLAIM_WITHOUT=%s ", command->without);
  for (int i = 0; command->argv[i] != NULL && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, "%s ", command->argv[i]);
}

struct run run_command(const struct command *command) {
  struct run run = {.status = -1};
  const char *temporary = getenv("TMPDIR");
  snprintf(run.directory, sizeof run.directory, "%s/reclaim-test-XXXXXX",
           temporary && *temporary ? temporary : "/tmp");
  if (mkdtemp(run.directory) == NULL || chmod(run.directory, 0777) != 0)
    cr_assert_fail("%s: %s", run.directory, strerror(errno));
  describe_command(command, &run);

  char home[160], preload[PATH_MAX + 16], options[1024], path[PATH_MAX + 64], without[160];
  char *environment[24], *arguments[17];
  size_t n = 0;
  snprintf(home, sizeof home, "HOME=%s", run.directory);
  environment[n++] = home;
  environment[n++] = "PATH=/usr/bin:/bin:/usr/sbin:/sbin";
  environment[n++] = "LC_ALL=C.UTF-8";
  environment[n++] = "TZ=UTC";
  for (size_t i = 0; i < 8 && command->environment[i] != NULL; i++)
    environment[n++] = (char *)command->environment[i];
  if (command->options != NULL) {
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s",
             command->without != NULL ? library_without_path() : library_path());
    if (command->without != NULL) {
      snprintf(without, sizeof without, "RECLAIM_WITHOUT=%s", command->without);
      environment[n++] = without;
    }
    /* Garbage is not looked at twice, so that whatever is hidden for a moment shows. The last of
       two equal names wins: a test may ask for a log or a confirmation of its own. */
    snprintf(options, sizeof options, "RECLAIM=log=%s/cycles.%%p,confirm=1%s%s", run.directory,
             *command->options ? "," : "", command->options);
    environment[n++] = preload;
    environment[n++] = options;
  }
  environment[n] = NULL;
  for (n = 0; n < 16 && command->argv[n] != NULL; n++) {
    const char *argument = command->argv[n];
    if (strncmp(argument, "@INPUTS@", 8) == 0) {
      arguments[n] = malloc(PATH_MAX);
      snprintf(arguments[n], PATH_MAX, "%s%s", inputs_path(), argument + 8);
    } else {
      arguments[n] = (char *)argument;
    }
  }
  arguments[n] = NULL;
  snprintf(path, sizeof path, "%s", program_path(command->argv[0]));

  fflush(NULL);
  pid_t child = fork();
  if (child < 0) cr_assert_fail("fork: %s", strerror(errno));
  if (child == 0) become(command, &run, arguments, environment, path);
  wait_for_end(&run, child, command->seconds);
  run.output = contents(&run, "out", &run.output_size);
  run.errors = contents(&run, "err", &run.errors_size);
  read_logs(&run, child);
  if (run.timed_out) {
    size_t size;
    run.threads = contents(&run, "threads", &size);
  }
  return run;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk) {
  (void)status, (void)kind, (void)walk;
  return remove(path);
}

void run_discard(struct run *run) {
  const char *keep = getenv("RECLAIM_TEST_KEEP");
  if (keep == NULL || *keep == '\0') nftw(run->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
  free(run->output);
  free(run->errors);
  free(run->threads);
  run->output = run->errors = run->threads = NULL;
}

const char *run_describe(const struct run *run) {
  static char text[6144];
  const struct cycle_totals *c = &run->cycles;
  char end[64];
  if (run->timed_out) snprintf(end, sizeof end, "was killed: no end in time, or more than 6 GiB");
  else if (WIFSIGNALED(run->status))
    snprintf(end, sizeof end, "killed by signal %d", WTERMSIG(run->status));
  else snprintf(end, sizeof end, "exit status %d", WEXITSTATUS(run->status));
  size_t tail = run->errors_size > 700 ? run->errors_size - 700 : 0;
  snprintf(text, sizeof text,
           "\n  command: %s\n  %s after %.1f s, peak %ld KiB, files in %s\n"
           "  cycles: %u done, %u skipped (%s) in %u processes; reclaimed %llu, dropped %llu, "
           "recovered %llu, false %llu\n  oracle: %s\n  standard error: %s%s%.2000s",
           run->command_line, end, run->seconds, run->peak_kib, run->directory, c->done, c->skipped,
           c->reasons, c->processes, c->reclaimed, c->dropped, c->recovered, c->false_reclaims,
           *c->first_false ? c->first_false : "silent", run->errors ? run->errors + tail : "",
           run->threads ? "\n  its threads: " : "", run->threads ? run->threads : "");
  return text;
}

void expect_success(const struct run *run) {
  cr_assert(!run->timed_out && WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0, "%s",
            run_describe(run));
}

void expect_same_result(const struct run *plain, const struct run *collected) {
  cr_assert(!collected->timed_out, "%s", run_describe(collected));
  cr_assert_eq(plain->status, collected->status, "status %#x under plain malloc, %#x here%s",
               (unsigned)plain->status, (unsigned)collected->status, run_describe(collected));
  if (plain->output_size == collected->output_size &&
      memcmp(plain->output, collected->output, plain->output_size) == 0)
    return;
  size_t i = 0, start;
  while (i < plain->output_size && i < collected->output_size &&
         plain->output[i] == collected->output[i])
    i++;
  for (start = i; start > 0 && plain->output[start - 1] != '\n' && i - start < 100; start--)
    ;
  cr_assert(false,
            "output differs at byte %zu of %zu (here %zu): plain \"%.120s\", here \"%.120s\"%s", i,
            plain->output_size, collected->output_size, plain->output + start,
            collected->output + start, run_describe(collected));
}

void expect_cycles(const struct run *run, unsigned at_least) {
  cr_assert_geq(run->cycles.done, at_least, "%u cycles completed, %u wanted%s", run->cycles.done,
                at_least, run_describe(run));
}

void expect_no_false_reclaim(const struct run *run) {
  cr_assert_eq(run->cycles.false_reclaims, 0, "false reclaims%s", run_describe(run));
}

void expect_few_skipped(const struct run *run, double percent) {
  unsigned started = run->cycles.done + run->cycles.skipped;
  cr_assert(run->cycles.skipped * 100.0 < percent * started || run->cycles.skipped == 0,
            "%u of %u cycles skipped%s", run->cycles.skipped, started, run_describe(run));
}

static struct run run_listed(const char *options, unsigned seconds, const char *name,
                             va_list list) {
  struct command command = {.argv = {name}, .options = options, .seconds = seconds};
  for (int i = 1; i < 15 && (command.argv[i] = va_arg(list, const char *)) != NULL; i++)
    ;
  struct run run = run_command(&command);
  expect_success(&run);
  return run;
}

struct run run_program(const char *options, unsigned seconds, const char *name, ...) {
  va_list list;
  va_start(list, name);
  struct run plain = run_listed(NULL, seconds, name, list);
  va_end(list);
  run_discard(&plain);
  va_start(list, name);
  struct run run = run_listed(options, seconds, name, list);
  va_end(list);
  return run;
}

struct run run_collected(const char *options, unsigned seconds, const char *name, ...) {
  va_list list;
  va_start(list, name);
  struct run run = run_listed(options, seconds, name, list);
  va_end(list);
  return run;
}
