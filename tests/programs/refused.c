/* refused.c: goes on when memory is refused. refused once|ever

   Two threads, then a fork child and its parent work on tables of small, large, aligned, zeroed and
   growing blocks, some of which leak, with collections in between; each block's contents are
   verified when it goes and at the end. Where malloc returns NULL, errno must be ENOMEM and the
   work goes on without that block. "once": what is refused is had when it is asked for again at the
   end; "ever": nothing is. Prints how often that was, the child
   left out. */
#include "program.h"

#include <sys/wait.h>

enum { BLOCKS = 64, TURNS = 240 };
struct work {
  struct {
    unsigned char *block;
    size_t size;
    unsigned seed;
  } entries[BLOCKS];
  uint64_t random;
};
static struct work works[2];
static bool once;
static unsigned nulls;

static size_t size_for(uint64_t r) {
  switch (r % 16) {
  case 0: return 70000 + (r >> 8) % 200000;
  case 1:
  case 2: return 3000 + (r >> 8) % 30000;
  default: return 1 + (r >> 8) % 1500;
  }
}

/* A block, or NULL for a reason. */
NOINLINE static void *make(size_t size, unsigned kind) {
  errno = 0;
  void *block = NULL;
  if (kind % 4 == 0) {
    unsigned char *zeroed = calloc(1, size);
    for (size_t i = 0; zeroed != NULL && i < size; i++) CHECK(zeroed[i] == 0);
    block = zeroed;
  } else if (kind % 4 == 1) {
    block = aligned_alloc(256, size);
    CHECK(((uintptr_t)block & 255) == 0);
  } else {
    block = malloc(size);
  }
  if (block == NULL) {
    CHECK(errno == ENOMEM);
    __atomic_fetch_add(&nulls, 1, __ATOMIC_RELAXED);
  }
  return block;
}

static void verify(const struct work *work, unsigned n) {
  if (work->entries[n].block != NULL)
    CHECK(pattern_holds(work->entries[n].block, work->entries[n].size, work->entries[n].seed));
}

NOINLINE static void turn(struct work *work, unsigned count) {
  uint64_t r = next_random(&work->random);
  unsigned n = (unsigned)(r % BLOCKS), kind = (unsigned)(r >> 10) % 8;
  size_t size = size_for(next_random(&work->random));
  unsigned char *block = work->entries[n].block;
  verify(work, n);
  if (block != NULL && kind == 7) { /* one that cannot grow stays what it is */
    errno = 0;
    unsigned char *moved = realloc(block, size);
    CHECK(moved != NULL || errno == ENOMEM);
    if (moved == NULL) return;
    size_t kept = work->entries[n].size < size ? work->entries[n].size : size;
    CHECK(pattern_holds(moved, kept, work->entries[n].seed));
    block = moved;
  } else {
    if (kind != 6) free(block); /* else it leaks */
    work->entries[n].block = NULL;
    block = make(size, kind);
  }
  if (block != NULL) fill_pattern(block, size, count);
  work->entries[n].block = block;
  work->entries[n].size = size;
  work->entries[n].seed = count;
}

static void *run(void *argument) {
  struct work *work = argument;
  for (unsigned count = 0; count < TURNS; count++) {
    turn(work, count);
    if (count % 80 == 79) collect();
  }
  for (unsigned n = 0; n < BLOCKS; n++) verify(work, n);
  return NULL;
}

/* Arrays that grow until they are moved by their pages, since the next one lies behind. */
static void grow(void) {
  enum { ARRAYS = 3 };
  unsigned char *arrays[ARRAYS] = {NULL};
  size_t sizes[ARRAYS] = {0};
  for (size_t wanted = 500000; wanted < 4000000; wanted = wanted * 5 / 2)
    for (unsigned i = 0; i < ARRAYS; i++) {
      errno = 0;
      unsigned char *grown = realloc(arrays[i], wanted);
      CHECK(grown != NULL || errno == ENOMEM);
      if (grown != NULL) arrays[i] = grown;
      if (arrays[i] != NULL) CHECK(pattern_holds(arrays[i], sizes[i], i));
      if (grown != NULL) fill_pattern(grown, sizes[i] = wanted, i);
    }
  for (unsigned i = 0; i < ARRAYS; i++) free(arrays[i]);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  once = arguments[1][0] == 'o';
  works[0].random = 77, works[1].random = 99;
  pthread_t thread;
  bool threaded = pthread_create(&thread, NULL, run, &works[1]) == 0;
  if (!threaded) run(&works[1]);
  run(&works[0]);
  if (threaded) CHECK(pthread_join(thread, NULL) == 0);
  grow();
  pid_t child = fork();
  CHECK(child >= 0);
  run(&works[child == 0]);
  if (child == 0) _exit(0);
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  if (status != 0) fail("the child ended with %x", (unsigned)status);
  malloc_trim(0);
  for (int i = 0; i < 2; i++)
    for (unsigned n = 0; n < BLOCKS; n++) verify(&works[i], n);
  for (size_t size = 1; once && size < 10000000; size = size * 7 + 1) {
    void *block = malloc(size);
    CHECK(block != NULL);
    memset(block, 1, size);
    free(block);
  }
  dprintf(1, "held, %u times NULL\n", nulls); /* glibc formats that on the stack */
  return 0;
}
