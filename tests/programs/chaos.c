/* chaos.c: everything at once. chaos SECONDS SEED [grows] [+NAME...] [-NAME...]

   Eight threads run ingredients in random order: they open and close libraries, fork, exec, change
   masks and alternate stacks, switch coroutines, cancel, map, move and unmap memory, start threads,
   block, change ids. Each ingredient keeps verified blocks whose only pointer lies in its chaotic
   place (chaos.h). -NAME leaves an ingredient out, +NAME runs only those named. The seed decides
   what each thread does; how the threads meet is the machine's business.

   A process of its own watches: when a thread has not finished an ingredient for STALL seconds, it
   says which, where the kernel has it, and ends the program. Of what the threads make, one chain
   in eight is dropped: the resident set shows whether that comes back, unless "grows" says that it
   must not (the condemn oracle). */
#include "chaos.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { STALL = 60, TABLE = 512, LINKS = 4, MOST = 64 };

/* Shared with the watching process. */
static struct beats {
  struct beat {
    atomic_ulong turns;
    atomic_int task;
    _Atomic(const char *) name;
  } of[ACTORS];
  atomic_bool done;
} * beats;

static const struct ingredient *chosen[MOST];
static unsigned chosen_count;
static atomic_bool ending;
static atomic_ulong made, freed, dropped;
static _Atomic(struct chain *) table[TABLE]; /* given to other threads */
static uint64_t run_seed;

void chaos_fail(const char *format, ...) {
  char text[400];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  fail("chaos: seed %lu, task %d of %d: %s", (unsigned long)run_seed, gettid(), getpid(), text);
}

/* --- chains --- */

uint64_t new_random(uint64_t *random) { return next_random(random) * 0x9e3779b97f4a7c15u | 1; }

static NOINLINE struct chain *make_link(uint64_t *random, uint32_t seed) {
  uint64_t r = next_random(random);
  size_t size = sizeof(struct chain) + (r >> 20) % (r % 512 == 0  ? 150000
                                                    : r % 32 == 0 ? 5000
                                                                  : 300);
  struct chain *link = r & 0x10000 ? malloc(size) : calloc(1, size);
  CHAOS_CHECK(link != NULL);
  link->next = NULL;
  link->size = (uint32_t)size;
  link->seed = seed;
  fill_pattern(link->bytes, size - sizeof *link, seed);
  atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
  return link;
}

NOINLINE uint32_t chain_make(struct chain *volatile *place, uint64_t *random) {
  uint32_t seed = (uint32_t)next_random(random) | 1;
  struct chain *head = NULL;
  for (uint32_t i = 0; i < LINKS; i++) {
    struct chain *link = make_link(random, seed + i);
    link->next = head;
    head = link;
  }
  *place = head;
  return seed;
}

/* A seed of 0: whatever the head says. */
static NOINLINE void verify(const struct chain *link, uint32_t seed, const char *where) {
  if (seed == 0 && link != NULL) seed = link->seed - (LINKS - 1);
  for (uint32_t i = LINKS; i-- > 0; link = link->next)
    if (link == NULL || link->seed != seed + i || link->size < sizeof *link ||
        link->size > 160000 || !pattern_holds(link->bytes, link->size - sizeof *link, link->seed))
      chaos_fail("%s: link %u of the chain is lost or overwritten: %p", where, LINKS - 1 - i,
                 (const void *)link);
  if (link != NULL) chaos_fail("%s: the chain has no end: %p", where, (const void *)link);
}

NOINLINE void chain_verify(struct chain *volatile *place, uint32_t seed, const char *where) {
  verify(*place, seed, where);
}

static NOINLINE void free_chain(struct chain *link) {
  while (link != NULL) {
    struct chain *next = link->next;
    link->seed = 0;
    free(link);
    atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
    link = next;
  }
}

NOINLINE void chain_end(struct chain *volatile *place, uint32_t seed, const char *where,
                        uint64_t *random) {
  verify(*place, seed, where);
  struct chain *chain = *place;
  uint64_t r = next_random(random);
  *place = NULL;
  if (r % 8 == 0) {
    atomic_fetch_add_explicit(&dropped, LINKS, memory_order_relaxed);
  } else if (r % 8 < 4) {
    chain = atomic_exchange(&table[(r >> 8) % TABLE], chain);
    if (chain == NULL) return;
    verify(chain, 0, "a chain of another thread");
    free_chain(chain);
  } else {
    free_chain(chain);
  }
}

static NOINLINE void wipe(void) {
  volatile char room[12 * 1024];
  for (size_t i = 0; i < sizeof room; i++) room[i] = 0;
}

NOINLINE void meanwhile(uint64_t *random) {
  void *blocks[16] = {0};
  uint64_t r = next_random(random);
  wipe();
  for (unsigned turns = r % 128; turns > 0; turns--) {
    uint64_t n = next_random(random);
    size_t size = 16 + (n >> 20) % (n % 512 == 0 ? 150000 : 400);
    free(blocks[n % 16]);
    blocks[n % 16] = malloc(size);
    CHAOS_CHECK(blocks[n % 16] != NULL);
    memset(blocks[n % 16], 0x5a, size);
  }
  for (int i = 0; i < 16; i++) free(blocks[i]);
  if ((r >> 8) % 16 == 0) collect();
  else if ((r >> 8) % 4 == 0) usleep((useconds_t)((r >> 16) % 2000));
}

/* --- the threads --- */

static void *act(void *pointer) {
  struct actor *actor = pointer;
  struct beat *beat = &beats->of[actor->number];
  atomic_store(&beat->task, gettid());
  while (!atomic_load_explicit(&ending, memory_order_relaxed)) {
    const struct ingredient *next = chosen[next_random(&actor->random) % chosen_count];
    atomic_store(&beat->name, next->name);
    next->run(actor);
    atomic_fetch_add(&beat->turns, 1);
  }
  atomic_store(&beat->name, NULL);
  return NULL;
}

/* --- the watching process --- */

static void tell_file(pid_t process, const char *task, const char *name) {
  char path[300], text[600];
  snprintf(path, sizeof path, "/proc/%d/task/%s/%s", process, task, name);
  int file = open(path, O_RDONLY);
  ssize_t length = file >= 0 ? read(file, text, sizeof text - 1) : -1;
  if (file >= 0) close(file);
  if (length <= 0) return;
  text[length] = '\0';
  text[strcspn(text, "\n")] = '\0';
  dprintf(2, "  %s %s: %.140s\n", task, name, text);
}

static void tell_tasks(pid_t process) {
  char path[64];
  struct dirent *entry;
  snprintf(path, sizeof path, "/proc/%d/task", process);
  DIR *tasks = opendir(path);
  while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
    if (entry->d_name[0] == '.') continue;
    tell_file(process, entry->d_name, "stat");
    tell_file(process, entry->d_name, "wchan");
    tell_file(process, entry->d_name, "syscall");
    tell_file(process, entry->d_name, "children");
  }
  if (tasks != NULL) closedir(tasks);
}

/* Where each thread is in its code: a thread that spins shows in nothing the kernel tells. */
static void tell_stacks(pid_t process) {
  const char *debugger = getenv("CHAOS_DEBUGGER");
  char command[200];
  if (debugger == NULL) debugger = "timeout 30 gdb -q -batch -ex 'thread apply all bt 16' -p";
  snprintf(command, sizeof command, "%s %d </dev/null >&2", debugger, process);
  unsetenv("LD_PRELOAD");
  if (system(command) != 0) dprintf(2, "no debugger\n");
}

static _Noreturn void watch(pid_t process) {
  unsigned long seen[ACTORS] = {0};
  double since[ACTORS];
  for (int i = 0; i < ACTORS; i++) since[i] = seconds_now();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (!atomic_load(&beats->done) && getppid() == process) {
    usleep(100000);
    for (int i = 0; i < ACTORS; i++) {
      unsigned long turns = atomic_load(&beats->of[i].turns);
      const char *name = atomic_load(&beats->of[i].name);
      if (turns != seen[i] || name == NULL) since[i] = seconds_now();
      seen[i] = turns;
      if (seconds_now() - since[i] < STALL) continue;
      dprintf(2, "chaos: seed %lu: thread %d (task %d) stands still in %s\n",
              (unsigned long)run_seed, i, atomic_load(&beats->of[i].task), name);
      tell_tasks(process);
      tell_stacks(process);
      kill(process, SIGABRT);
      usleep(500000);
      kill(process, SIGKILL);
      _exit(1);
    }
  }
  _exit(0);
}

/* --- what is asked for --- */

static bool named(char **arguments, int count, char sign, const char *name) {
  for (int i = 3; i < count; i++)
    if (arguments[i][0] == sign && (name == NULL || strcmp(arguments[i] + 1, name) == 0))
      return true;
  return false;
}

static void choose(char **arguments, int count) {
  const struct ingredient *const lists[] = {memory_ingredients, signal_ingredients,
                                            process_ingredients, thread_ingredients};
  for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
    for (const struct ingredient *i = lists[l]; i->name != NULL; i++)
      if (!named(arguments, count, '-', i->name) &&
          (!named(arguments, count, '+', NULL) || named(arguments, count, '+', i->name)))
        chosen[chosen_count++] = i;
  if (chosen_count == 0) fail("no ingredient is left");
}

int main(int count, char **arguments) {
  CHECK(count >= 3);
  run_seed = strtoull(arguments[2], NULL, 10);
  if (strcmp(arguments[1], "child") == 0) return process_child(run_seed);
  double length = strtod(arguments[1], NULL), start = seconds_now();
  bool grows = collector == NULL;
  for (int i = 3; i < count; i++) grows |= strcmp(arguments[i], "grows") == 0;
  choose(arguments, count);
  memory_prepare();
  signals_prepare();
  beats = mmap(NULL, sizeof *beats, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(beats != MAP_FAILED);
  pid_t process = getpid(), watcher = fork();
  CHECK(watcher >= 0);
  if (watcher == 0) watch(process);

  static struct actor actors[ACTORS];
  pthread_t threads[ACTORS];
  uint64_t random = run_seed * 0x9e3779b97f4a7c15u + 1;
  for (unsigned i = 0; i < ACTORS; i++) {
    actors[i] = (struct actor){i, new_random(&random)};
    CHECK(pthread_create(&threads[i], NULL, act, &actors[i]) == 0);
  }
  while (seconds_now() - start < length / 2) usleep(5000);
  long half_way = resident_kib();
  while (seconds_now() - start < length) usleep(5000);
  atomic_store(&ending, true);
  for (int i = 0; i < ACTORS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  threads_finish();
  long at_end = resident_kib();
  atomic_store(&beats->done, true);
  while (waitpid(watcher, NULL, 0) < 0) CHECK(errno == EINTR);
  memory_clean();
  unsigned long turns = 0, given = 0;
  for (int i = 0; i < ACTORS; i++) turns += atomic_load(&beats->of[i].turns);
  for (int i = 0; i < TABLE; i++)
    if (table[i] != NULL) {
      verify(table[i], 0, "at the end");
      given += LINKS;
    }
  dprintf(2, "seed %lu: %lu turns, %lu blocks, %lu dropped, %ld KiB then %ld KiB\n",
          (unsigned long)run_seed, turns, (unsigned long)made, (unsigned long)dropped, half_way,
          at_end);
  if (made != freed + dropped + given)
    chaos_fail("%lu blocks made, %lu freed, %lu dropped, %lu left", (unsigned long)made,
               (unsigned long)freed, (unsigned long)dropped, given);
  if (!grows && at_end > half_way + half_way / 2 + 65536)
    chaos_fail("grew from %ld to %ld KiB in the second half", half_way, at_end);
  puts("all blocks accounted for");
  return 0;
}
