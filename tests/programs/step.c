/* step.c: malloc, free and realloc, held at every instruction. step handler|collect|jump [ROUNDS]

   The parent traces the child. Thread A of the child announces each operation by a breakpoint
   instruction; from there the parent single-steps it to the operation's end. At each boundary in
   the executable mapping that malloc comes from it delivers SIGUSR2 and lets the handler run
   freely; a breakpoint instruction at the handler's end gives the parent the thread back. In the
   first run the handler itself allocates, writes and frees. In the second it waits until thread B
   has run a collection: A is then stopped by the collector, with the interrupted operation half
   done beneath. In the third the handler of the first leaves by siglongjmp: the operation is
   abandoned where it stood, and the next begins. To bound the time each address is held only the
   first EACH times it is reached.

   What must hold: no block handed out while it is live (a table of live blocks says so), contents
   unharmed, and the allocator working at the end. */
#include "program.h"

#include <setjmp.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

enum { LIVE = 512, EACH = 4, MOST_HOLDS = 60000 };

struct shared {
  volatile int stepping;            /* thread A is between its marks */
  volatile int traced;              /* the parent is there */
  volatile unsigned long low, high; /* the executable mapping of malloc */
  volatile unsigned long handled, operations;
  volatile int finished;
};
static struct shared *shared;
static bool with_collection, with_jumps;
static sigjmp_buf next_operation;

/* The table of live blocks. Only thread A writes it, the handler included: entries a handler
   made are gone when it ends, so that A's own view is never torn. */
struct entry {
  unsigned char *block;
  size_t size;
  unsigned seed;
};
static struct entry live[LIVE];
static uint64_t random_state = 88172645463325252u;

static void check_apart(const void *block, size_t size) {
  uintptr_t low = (uintptr_t)block, high = low + size;
  for (int i = 0; i < LIVE; i++)
    if (live[i].block != NULL && (uintptr_t)live[i].block < high &&
        low < (uintptr_t)live[i].block + live[i].size)
      fail("%p of %zu overlaps the live block %p of %zu", block, size, (void *)live[i].block,
           live[i].size);
}

static atomic_ulong wanted_collections, finished_collections;

static void *thread_b(void *unused) {
  (void)unused;
  unsigned long seen = 0;
  while (!shared->finished) {
    if (atomic_load(&wanted_collections) == seen) {
      __asm__ volatile("pause");
      struct timespec nap = {0, 20000};
      nanosleep(&nap, NULL);
      continue;
    }
    seen = atomic_load(&wanted_collections);
    collect();
    atomic_store(&finished_collections, seen);
  }
  return NULL;
}

static void on_signal(int number) {
  int saved = errno;
  (void)number;
  if (with_collection) {
    unsigned long mine = atomic_fetch_add(&wanted_collections, 1) + 1;
    while (atomic_load(&finished_collections) < mine) {
      struct timespec nap = {0, 20000};
      nanosleep(&nap, NULL);
    }
  } else {
    static unsigned turn;
    unsigned char *blocks[3];
    size_t size = 16u << (turn++ % 8);
    for (int i = 0; i < 3; i++) {
      blocks[i] = malloc(size);
      if (blocks[i] == NULL) fail("malloc in the handler: NULL");
      check_apart(blocks[i], size);
      memset(blocks[i], 0x11 * (i + 1), size);
    }
    for (int i = 0; i < 3; i++) {
      if (blocks[i][0] != 0x11 * (i + 1) || blocks[i][size - 1] != 0x11 * (i + 1))
        fail("two blocks of one handler overlap");
      free(blocks[i]);
    }
  }
  shared->handled++;
  errno = saved;
  if (with_jumps) shared->stepping = 0;
  __asm__ volatile("int3" ::: "memory");
  if (with_jumps) siglongjmp(next_operation, 1);
}

static void verify(const struct entry *entry) {
  if (!pattern_holds(entry->block, entry->size, entry->seed))
    fail("the block %p of %zu lost its contents", (void *)entry->block, entry->size);
}

/* Between these two the parent steps through the thread. */
#define BEGIN_STEPPING                                                                             \
  do {                                                                                             \
    shared->stepping = shared->traced;                                                             \
    if (shared->traced) __asm__ volatile("int3" ::: "memory");                                     \
  } while (0)
#define END_STEPPING (shared->stepping = 0)

/* One operation of thread A; only the call itself is stepped through. */
static NOINLINE void operate(void) {
  uint64_t r = next_random(&random_state);
  struct entry *entry = &live[r % LIVE];
  size_t size = r % 64 == 0 ? 40000 : 1 + (r >> 32) % (r % 8 == 0 ? 3000 : 200);
  unsigned char *block;
  if (entry->block == NULL) {
    BEGIN_STEPPING;
    block = malloc(size);
    END_STEPPING;
    CHECK(block != NULL);
    check_apart(block, size);
    *entry = (struct entry){block, size, (unsigned)r};
  } else if (r >> 60 < 4) {
    size_t kept = size < entry->size ? size : entry->size;
    verify(entry);
    block = entry->block;
    /* While it moves the block belongs to realloc, contents and all. */
    struct entry moving = *entry;
    entry->block = NULL;
    BEGIN_STEPPING;
    block = realloc(block, size);
    END_STEPPING;
    CHECK(block != NULL && pattern_holds(block, kept, moving.seed));
    check_apart(block, size);
    *entry = (struct entry){block, size, (unsigned)r};
  } else {
    verify(entry);
    block = entry->block;
    entry->block = NULL;
    BEGIN_STEPPING;
    free(block);
    END_STEPPING;
    shared->operations++;
    return;
  }
  fill_pattern(entry->block, entry->size, entry->seed);
  shared->operations++;
}

/* With jumps an operation may be abandoned; its block, if any, is lost. */
static void try_operation(void) {
  if (!with_jumps || sigsetjmp(next_operation, 1) == 0) operate();
}

/* The executable mapping that holds malloc. */
static void find_text(void) {
  uintptr_t address = (uintptr_t)dlsym(RTLD_DEFAULT, "malloc");
  FILE *file = fopen("/proc/self/maps", "r");
  char line[512];
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    unsigned long low, high;
    if (sscanf(line, "%lx-%lx", &low, &high) == 2 && address >= low && address < high) {
      shared->low = low;
      shared->high = high;
    }
  }
  fclose(file);
  CHECK(shared->high != 0);
}

static void child(unsigned rounds) {
  pthread_t b;
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  find_text();
  CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
  if (with_collection) CHECK(pthread_create(&b, NULL, thread_b, NULL) == 0);
  for (unsigned i = 0; i < 20000; i++)
    operate(); /* warm: the paths that run once are over, the fast ones are taken */
  CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
  raise(SIGSTOP);
  shared->traced = 1;
  for (unsigned i = 0; i < rounds; i++) try_operation();
  shared->traced = 0;
  shared->finished = 1;
  for (int i = 0; i < LIVE; i++)
    if (live[i].block != NULL) {
      verify(&live[i]);
      free(live[i].block);
      live[i].block = NULL;
    }
  for (unsigned i = 0; i < 20000; i++) operate();
  if (with_collection) pthread_join(b, NULL);
  printf("%lu operations, whole\n", (unsigned long)rounds);
  exit(0);
}

/* The parent */

static unsigned char *held; /* how often each address of the text was held */

static void end_of(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  fail(WIFSIGNALED(status) ? "the child was killed by signal %d" : "the child failed: %d",
       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* Lets the child go on in the given way until its next stop; false when it ended. A signal that is
   not ours (the collector's) is passed on at once. */
static int pending;

static bool advance(pid_t pid, enum __ptrace_request how, int *status) {
  do {
    CHECK(ptrace(how, pid, NULL, (void *)(intptr_t)pending) == 0);
    CHECK(waitpid(pid, status, __WALL) == pid);
    if (!WIFSTOPPED(*status)) return false;
    pending = WSTOPSIG(*status) == SIGTRAP ? 0 : WSTOPSIG(*status);
  } while (pending != 0);
  return true;
}

/* Delivers SIGUSR2 at this boundary and lets the thread run to the breakpoint instruction at the
   handler's end. Where the library holds signals off the handler runs when it lets them through,
   which must be before the operation ends. From there the stepping goes on, first through what the
   library puts around a handler. */
static bool hold(pid_t pid, int *status) {
  unsigned long before = shared->handled;
  pending = SIGUSR2;
  if (!advance(pid, PTRACE_CONT, status)) return false;
  if (shared->handled != before + 1) fail("the operation ended before the signal was handled");
  return true;
}

static void parent(pid_t pid) {
  int status;
  unsigned long steps = 0, holds = 0, places = 0;
  struct user_regs_struct registers;
  double end = seconds_now() + 15;
  CHECK(waitpid(pid, &status, __WALL) == pid);
  CHECK(WIFSTOPPED(status));
  held = calloc(1, shared->high - shared->low);
  CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL) == 0);
  while (advance(pid, shared->stepping && seconds_now() < end ? PTRACE_SINGLESTEP : PTRACE_CONT,
                 &status)) {
    if (!shared->stepping) continue;
    steps++;
    CHECK(ptrace(PTRACE_GETREGS, pid, NULL, &registers) == 0);
    unsigned long rip = registers.rip;
    if (rip < shared->low || rip >= shared->high) continue;
    unsigned char *count = &held[rip - shared->low];
    if (*count >= EACH || holds >= MOST_HOLDS) continue;
    places += *count == 0;
    (*count)++;
    holds++;
    if (!hold(pid, &status)) break;
  }
  end_of(status);
  dprintf(2, "%lu instructions stepped, held %lu times at %lu places, %lu handlers\n", steps, holds,
          places, (unsigned long)shared->handled);
  CHECK(shared->handled == holds && places >= 20);
}

int main(int count, char **arguments) {
  CHECK(count >= 2);
  with_collection = strcmp(arguments[1], "collect") == 0;
  with_jumps = strcmp(arguments[1], "jump") == 0;
  unsigned rounds = count > 2 ? (unsigned)atoi(arguments[2]) : 1000;
  shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) child(rounds);
  parent(pid);
  return 0;
}
