/* last_thread.c: a process ends with its last thread, as if that called exit, whichever it is: with
   status 0, exit handlers and what stdio still holds. The program runs itself, for every case of

   exits         main leaves first, or all leave at once, or main is alone, or has joined the others
   unannounced   the same in children by _Fork and by a raw clone; but where the parent had other
                 threads libc still counts them, and the child ends without handlers
   unseen        a thread has left by a raw system call: libc never sees a last one

   last_thread GROUP, last_thread CASE FD */
#include "program.h"

#include <sys/syscall.h>
#include <sys/wait.h>

enum { THREADS = 4, ROUNDS = 5, ROUNDS_OF_EXITS = 15 }; /* where threads race */
static pthread_barrier_t together;
static int report[2];

static void *leave_later(void *unused) {
  for (int i = 0; i < 200; i++) free(malloc(1000));
  usleep(20000);
  return unused;
}

static void *leave_together(void *unused) {
  for (int i = 0; i < 200; i++) free(malloc(1000));
  pthread_barrier_wait(&together);
  return unused;
}

static void at_exit(void) { CHECK(write(report[1], "h", 1) == 1); }

static void start(pthread_t *thread, void *(*function)(void *)) {
  CHECK(pthread_create(thread, NULL, function, NULL) == 0);
}

static void main_first(void) {
  pthread_t thread;
  start(&thread, leave_later);
  pthread_exit(NULL);
}

static void all_at_once(void) {
  pthread_t threads[THREADS];
  CHECK(pthread_barrier_init(&together, NULL, THREADS + 1) == 0);
  for (int i = 0; i < THREADS; i++) start(&threads[i], leave_together);
  pthread_barrier_wait(&together);
  pthread_exit(NULL);
}

static void alone(void) { pthread_exit(NULL); }

static void joins_then_leaves(void) {
  pthread_t thread;
  start(&thread, leave_later);
  CHECK(pthread_join(thread, NULL) == 0);
  pthread_exit(NULL);
}

static void expect_child(pid_t child) {
  int status;
  CHECK(child > 0);
  CHECK(waitpid(child, &status, 0) == child);
  _exit(status == 0 ? 0 : 98);
}

static void child_alone(void) {
  pid_t child = _Fork();
  if (child == 0) pthread_exit(NULL);
  expect_child(child);
}

static void child_main_first(void) {
  pid_t child = _Fork();
  if (child == 0) main_first();
  expect_child(child);
}

static void child_by_clone(void) {
  pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
  if (child == 0) pthread_exit(NULL);
  expect_child(child);
}

static void child_of_threads(void) {
  pthread_t thread;
  start(&thread, leave_later);
  child_alone();
}

static void *leave_unseen(void *unused) {
  free(malloc(1000));
  syscall(SYS_exit, 0);
  return unused;
}

static void unseen_first(void) {
  pthread_t thread;
  start(&thread, leave_unseen);
  usleep(1000);
  pthread_exit(NULL);
}

static void all_unseen(void) {
  pthread_t thread;
  start(&thread, leave_unseen);
  syscall(SYS_exit, 0);
}

static const struct {
  const char *group;
  void (*function)(void);
  const char *written;
} cases[] = {{"exits", main_first, "hs"},
             {"exits", all_at_once, "hs"},
             {"exits", alone, "hs"},
             {"exits", joins_then_leaves, "hs"},
             {"unannounced", child_alone, "hs"},
             {"unannounced", child_main_first, "hs"},
             {"unannounced", child_by_clone, "hs"},
             {"unannounced", child_of_threads, ""},
             {"unseen", unseen_first, ""},
             {"unseen", all_unseen, ""}};
enum { CASES = sizeof cases / sizeof *cases };

/* The program once more: it writes "h" in a handler of exit, "s" from a stream's buffer. */
static void run_case(int number, int descriptor) {
  report[1] = descriptor;
  atexit(at_exit);
  FILE *stream = fdopen(report[1], "w");
  CHECK(stream != NULL && fputc('s', stream) == 's');
  usleep(3000);
  cases[number].function();
}

static void expect_end(int number) {
  char found[3] = "", text[2][16];
  int status;
  ssize_t got = 0, more;
  CHECK(pipe(report) == 0);
  snprintf(text[0], sizeof *text, "%d", number);
  snprintf(text[1], sizeof *text, "%d", report[1]);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    execl("/proc/self/exe", "last_thread", text[0], text[1], (char *)NULL);
    _exit(99);
  }
  CHECK(close(report[1]) == 0);
  while ((more = read(report[0], found + got, sizeof found - (size_t)got)) > 0) got += more;
  CHECK(waitpid(child, &status, 0) == child);
  if (status != 0) fail("case %d: status %x", number, (unsigned)status);
  if ((size_t)got != strlen(cases[number].written) || strcmp(found, cases[number].written) != 0)
    fail("case %d: exit wrote %zd bytes: %.3s", number, got, found);
  CHECK(close(report[0]) == 0);
}

int main(int count, char **arguments) {
  if (count == 3) run_case(atoi(arguments[1]), atoi(arguments[2]));
  CHECK(count == 2);
  int rounds = strcmp(arguments[1], "exits") == 0 ? ROUNDS_OF_EXITS : ROUNDS;
  for (int round = 0; round < rounds; round++)
    for (int number = 0; number < CASES; number++)
      if (strcmp(cases[number].group, arguments[1]) == 0) expect_end(number);
  collect();
  printf("held\n");
  return 0;
}
