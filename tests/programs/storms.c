/* storms.c: threads and libraries that come and go while collections run. storms CASE

   exits      threads that end at once: a signal to one in its last steps is never answered, and the
              collector may not wait for it
   creations  threads that make threads, which move blocks about from their first step on
   libraries  a library with data, bss and thread-local storage is opened, used and closed */
#include "reclaimed.h"
#include "roots.h"

#include <sched.h>
#include <stdatomic.h>

enum { SECONDS = 1 };
static atomic_bool ending;

static void *end_at_once(void *unused) { return unused; }

static void *make_threads(void *unused) {
  pthread_attr_t detached;
  CHECK(pthread_attr_init(&detached) == 0);
  CHECK(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0);
  while (!ending) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
      if (pthread_create(&threads[i], &detached, end_at_once, NULL) != 0) usleep(100);
  }
  pthread_attr_destroy(&detached);
  return unused;
}

/* Collections are as quick as ever: one that waits for the dead takes most of a second. */
static void exits(void) {
  pthread_t makers[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&makers[i], NULL, make_threads, NULL) == 0);
  double end = seconds_now() + SECONDS;
  unsigned long asked = 0, before = given_up(NULL);
  double lost = 0;
  while (seconds_now() < end || asked < 50) {
    unsigned long failures = given_up(NULL);
    double begin = seconds_now();
    collect();
    if (given_up(NULL) != failures) lost += seconds_now() - begin;
    asked++;
    if (collector == NULL) usleep(1000);
  }
  ending = true;
  for (int i = 0; i < 3; i++) CHECK(pthread_join(makers[i], NULL) == 0);
  unsigned long skipped = given_up(NULL) - before;
  if (skipped * 20 > asked || (skipped > 1 && lost > 0.4 * SECONDS))
    fail("%lu of %lu collections were given up", skipped, asked);
}

/* A table of blocks; each thread takes one out, so that it alone holds it, verifies it, and puts
   another in its place. The table is large, so that marking takes its time. */
enum { SLOTS = 60000, BLOCK = 200, MOVES = 1000, MOST = 12 };
static _Atomic(unsigned char *) table[SLOTS];

static unsigned char *new_block(unsigned seed) {
  unsigned char *block = malloc(BLOCK);
  CHECK(block != NULL);
  fill_pattern(block, BLOCK, seed);
  memcpy(block, &seed, sizeof seed);
  return block;
}

static void expect_whole(const unsigned char *block) {
  unsigned seed;
  unsigned char whole[BLOCK];
  memcpy(&seed, block, sizeof seed);
  fill_pattern(whole, BLOCK, seed);
  if (memcmp(block + sizeof seed, whole + sizeof seed, BLOCK - sizeof seed) != 0)
    fail("a block was reclaimed and overwritten");
}

static atomic_int alive;

static void *move_blocks(void *number) {
  uint64_t random = (uintptr_t)number * 0x9e3779b97f4a7c15u + 1;
  for (int i = 0; i < MOVES; i++) {
    unsigned char *mine = atomic_exchange(&table[next_random(&random) % SLOTS], NULL);
    if (mine != NULL) expect_whole(mine);
    unsigned char *fresh = new_block((unsigned)next_random(&random));
    unsigned char *other = atomic_exchange(&table[next_random(&random) % SLOTS], fresh);
    if (other != NULL) expect_whole(other);
    free(other);
    free(mine);
  }
  alive--;
  return NULL;
}

/* As fast as they can be made: some always come while others are being stopped. */
static void *create_threads(void *unused) {
  static atomic_uintptr_t made;
  pthread_attr_t detached;
  CHECK(pthread_attr_init(&detached) == 0);
  CHECK(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0);
  CHECK(pthread_attr_setstacksize(&detached, 65536) == 0);
  while (!ending) {
    pthread_t thread;
    if (alive++ < MOST && pthread_create(&thread, &detached, move_blocks, (void *)++made) == 0)
      continue;
    alive--;
    sched_yield();
  }
  pthread_attr_destroy(&detached);
  return unused;
}

static void creations(void) {
  pthread_t makers[2];
  for (unsigned i = 0; i < SLOTS; i++) table[i] = new_block(i);
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&makers[i], NULL, create_threads, NULL) == 0);
  double end = seconds_now() + 2 * SECONDS;
  while (seconds_now() < end)
    if (!collect()) usleep(1000);
  ending = true;
  for (int i = 0; i < 2; i++) CHECK(pthread_join(makers[i], NULL) == 0);
  while (alive > 0) sched_yield();
  for (unsigned i = 0; i < SLOTS; i++)
    if (table[i] != NULL) expect_whole(table[i]);
}

/* The library of the program roots, which stands beside this one. */
static void *open_library(void) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 40);
  CHECK(length > 0);
  path[length] = '\0';
  char *slash = strrchr(path, '/');
  static const char *const places[] = {"/roots_module.so", "/.libs/roots_module.so",
                                       "/../roots_module.so", "/../.libs/roots_module.so"};
  void *library = NULL;
  for (size_t i = 0; i < 4 && library == NULL; i++) {
    strcpy(slash, places[i]);
    library = dlopen(path, RTLD_NOW);
  }
  CHECK(library != NULL);
  return library;
}

static void *use_libraries(void *unused) {
  for (unsigned turn = 0; !ending; turn++) {
    void *library = open_library();
    void **(*root)(int) = (void **(*)(int))dlsym(library, "module_root");
    CHECK(root != NULL);
    for (int kind = 0; kind < 3; kind++) *root(kind) = new_block(turn + (unsigned)kind);
    for (int i = 0; i < 20; i++) free(new_block(i));
    for (int kind = 0; kind < 3; kind++) {
      expect_whole(*root(kind));
      free(*root(kind));
    }
    CHECK(dlclose(library) == 0);
  }
  return unused;
}

static void libraries(void) {
  pthread_t user;
  CHECK(pthread_create(&user, NULL, use_libraries, NULL) == 0);
  double end = seconds_now() + 2 * SECONDS;
  unsigned long asked = 0, before = given_up(NULL);
  while (seconds_now() < end) {
    collect();
    asked++;
    usleep(300);
  }
  ending = true;
  CHECK(pthread_join(user, NULL) == 0);
  CHECK((given_up(NULL) - before) * 20 <= asked);
}

static const struct root_case cases[] = {
    {"exits", exits},
    {"creations", creations},
    {"libraries", libraries},
    {NULL, NULL},
};

int main(int count, char **arguments) { return count == 2 ? run_case(cases, arguments[1]) : 2; }
