/* chaos_processes.c: fork, vfork, posix_spawn, exec, and ids that change in all threads at once. */
#include "chaos.h"

#include <spawn.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

static void reap(pid_t child, const char *how) {
  int status;
  while (waitpid(child, &status, 0) < 0) CHAOS_CHECK(errno == EINTR);
  if (WIFSIGNALED(status))
    chaos_fail("a child of %s was killed by signal %d", how, WTERMSIG(status));
  if (WEXITSTATUS(status) != 0)
    chaos_fail("a child of %s ended with status %d", how, WEXITSTATUS(status));
}

static void arguments_for(char *arguments[4], char *seed, size_t size, uint64_t random) {
  snprintf(seed, size, "%lu", (unsigned long)random);
  arguments[0] = "chaos";
  arguments[1] = "child";
  arguments[2] = seed;
  arguments[3] = NULL;
}

static void *work_in_child(void *pointer) {
  uint64_t random = (uintptr_t)pointer | 1;
  struct chain *volatile place;
  uint32_t seed = chain_make(&place, &random);
  meanwhile(&random);
  chain_end(&place, seed, "a thread of a child", &random);
  return NULL;
}

/* What a new program does, and a fork child without exec. */
int process_child(uint64_t seed) {
  uint64_t random = seed | 1;
  struct chain *volatile place;
  pthread_t thread;
  uint32_t mine = chain_make(&place, &random);
  collect();
  CHAOS_CHECK(pthread_create(&thread, NULL, work_in_child, (void *)(uintptr_t)random) == 0);
  for (int turn = 0; turn < 5; turn++) meanwhile(&random);
  collect();
  CHAOS_CHECK(pthread_join(thread, NULL) == 0);
  chain_end(&place, mine, "a child", &random);
  return 0;
}

static _Noreturn void in_child(struct chain *volatile *place, uint32_t seed, uint64_t random) {
  char text[32], *arguments[4];
  alarm(50); /* a child that hangs is ended, and told by its signal */
  collect();
  meanwhile(&random);
  chain_verify(place, seed, "a fork child");
  if (random % 4 == 0) {
    arguments_for(arguments, text, sizeof text, random);
    execv("/proc/self/exe", arguments);
    chaos_fail("exec: %s", strerror(errno));
  }
  if (random % 4 == 1) process_child(random);
  chain_end(place, seed, "a fork child", &random);
  _exit(0);
}

static void forks(struct actor *actor) {
  struct chain *volatile place;
  uint32_t seed = chain_make(&place, &actor->random);
  uint64_t random = new_random(&actor->random);
  pid_t child = fork();
  CHAOS_CHECK(child >= 0);
  if (child == 0) in_child(&place, seed, random);
  meanwhile(&actor->random);
  reap(child, "fork");
  chain_end(&place, seed, "over a fork", &actor->random);
}

static void vforks(struct actor *actor) {
  struct chain *volatile place;
  char text[32], *arguments[4];
  uint32_t seed = chain_make(&place, &actor->random);
  bool execs = next_random(&actor->random) % 4 == 0;
  arguments_for(arguments, text, sizeof text, new_random(&actor->random));
  pid_t child = vfork();
  CHAOS_CHECK(child >= 0);
  if (child == 0) {
    if (execs) execve("/proc/self/exe", arguments, environ);
    _exit(execs);
  }
  meanwhile(&actor->random);
  reap(child, "vfork");
  chain_end(&place, seed, "over a vfork", &actor->random);
}

static void spawns(struct actor *actor) {
  struct chain *volatile place;
  char text[32], *arguments[4];
  uint32_t seed = chain_make(&place, &actor->random);
  pid_t child;
  arguments_for(arguments, text, sizeof text, new_random(&actor->random));
  int error = posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ);
  if (error != 0) chaos_fail("posix_spawn: %s", strerror(error));
  meanwhile(&actor->random);
  reap(child, "posix_spawn");
  chain_end(&place, seed, "over a spawn", &actor->random);
}

/* Execs that fail, through the whole search path. */
static void failing_execs(struct actor *actor) {
  struct chain *volatile place;
  char text[32], *arguments[4];
  uint32_t seed = chain_make(&place, &actor->random);
  arguments_for(arguments, text, sizeof text, 1);
  for (int i = 0; i < 3; i++) {
    CHAOS_CHECK(execvp("no-such-program", arguments) < 0 && (errno == ENOENT || errno == EACCES));
    meanwhile(&actor->random);
  }
  chain_end(&place, seed, "over an exec", &actor->random);
}

static atomic_uint id_changes; /* odd: under way */

/* glibc 2.36 hangs in setresuid when a cancelled thread ends meanwhile, with any malloc. */
pthread_rwlock_t ids_or_cancellation = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

static void set_ids(uid_t real, uid_t effective, uid_t saved) {
  CHAOS_CHECK(pthread_rwlock_wrlock(&ids_or_cancellation) == 0);
  atomic_fetch_add(&id_changes, 1);
  CHAOS_CHECK(setresuid(real, effective, saved) == 0);
  atomic_fetch_add(&id_changes, 1);
  CHAOS_CHECK(pthread_rwlock_unlock(&ids_or_cancellation) == 0);
}

/* The signal that tells threads of new ids interrupts calls, with any malloc. */
unsigned ids_mark(void) { return atomic_load(&id_changes); }
bool ids_changed_since(unsigned mark) { return mark % 2 != 0 || ids_mark() != mark; }

/* glibc signals every thread, with the number that stops them too. Nobody's rights change, but
   root's, which are given up for a moment and taken back. */
static void ids(struct actor *actor) {
  static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
  struct chain *volatile place;
  uint32_t seed = chain_make(&place, &actor->random);
  uid_t real, effective, saved;
  CHAOS_CHECK(pthread_mutex_lock(&one_at_a_time) == 0);
  CHAOS_CHECK(getresuid(&real, &effective, &saved) == 0);
  for (unsigned turns = next_random(&actor->random) % 8; turns > 0; turns--)
    set_ids(real, effective, saved);
  struct stat here; /* the modules must stay in reach */
  bool drops = effective == 0 && stat(".", &here) == 0 && (here.st_mode & S_IXOTH) != 0;
  if (drops && next_random(&actor->random) % 8 == 0) {
    set_ids((uid_t)-1, 65534, (uid_t)-1);
    pthread_mutex_unlock(&one_at_a_time);
    meanwhile(&actor->random);
    CHAOS_CHECK(pthread_mutex_lock(&one_at_a_time) == 0);
    set_ids((uid_t)-1, 0, (uid_t)-1);
  }
  pthread_mutex_unlock(&one_at_a_time);
  meanwhile(&actor->random);
  chain_end(&place, seed, "over setresuid", &actor->random);
}

const struct ingredient process_ingredients[] = {
    {"fork", forks}, {"vfork", vforks}, {"spawn", spawns}, {"failing-exec", failing_execs},
    {"ids", ids},    {NULL, NULL},
};
