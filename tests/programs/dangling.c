/* dangling.c: a block is freed and a pointer to it kept: free=quarantine. dangling HOW SIZE

   HOW, by whom or how it is freed
     free       by its own thread
     thread     by another thread
     handler    in a signal handler
     beside     while another thread collects without end
     realloc    realloc moves it
     shrink     realloc makes it smaller: what was cut off is the dangling block
     aligned    it was aligned to 4096 bytes
     chain      the only pointer to it lies in another freed block
     odd        between calls that cannot be served: malloc(-1) and the like
   A million blocks of its size are then made and freed by three threads, fewer where they are
   large; none may lie over it. Then it is written to all over by the dangling pointer: no other
   block changes, and all goes on. At last the pointer is dropped, and within a few collections the
   memory serves again. SIZE is in bytes. */
#include "program.h"

enum { THREADS = 3, OTHERS = 400, LIVE = 200 };

static size_t size, cut; /* the dangling block is [cut, size) of what was made */
static uintptr_t hidden; /* the complement of its address */
static bool aligned;
static char *volatile kept;     /* what realloc made of it */
static void *volatile dangling; /* NULL where the only pointer lies elsewhere */
static volatile size_t collided, made;

/* Without the address itself, which a thread could leave on its stack. */
static bool meets(const void *block, size_t length) {
  uintptr_t ahead = ~(uintptr_t)block - hidden; /* the dangling block's address less this one's */
  return ahead < length || -ahead < size - cut;
}

static void *make_one(void) { return aligned ? aligned_alloc(4096, size) : malloc(size); }

static void *make_many(void *number) {
  uint64_t random = (uintptr_t)number + 7;
  void *blocks[OTHERS] = {NULL};
  size_t count = size > 100000 ? 2000 : size > 4000 ? 20000 : 1000000 / THREADS;
  for (size_t i = 0; i < count; i++) {
    size_t k = next_random(&random) % OTHERS;
    free(blocks[k]);
    blocks[k] = make_one();
    CHECK(blocks[k]);
    *(size_t *)blocks[k] = i;
    if (meets(blocks[k], size)) collided++;
    made++;
  }
  for (size_t k = 0; k < OTHERS; k++) free(blocks[k]);
  memset(blocks, 0, sizeof blocks);
  return NULL;
}

static void make_many_in_threads(void) {
  pthread_t threads[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++)
    CHECK(pthread_create(&threads[i], NULL, make_many, (void *)i) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void *free_it(void *block) {
  free(block);
  return NULL;
}

static void free_in_handler(int signal) {
  (void)signal;
  free(dangling);
}

static volatile bool enough;
static void *collect_on(void *unused) {
  while (!enough) collect();
  return unused;
}

static void try_odd_sizes(void) {
  int unused = 0;
  for (int i = 0; i < 5; i++) {
    volatile size_t most = SIZE_MAX - (size_t)i, half = PTRDIFF_MAX - (size_t)i;
    CHECK(!malloc(most) && !calloc(most, 16) && !malloc(half) && !aligned_alloc(64, most));
    CHECK(!realloc(malloc(8), most));
    unused += malloc_trim(0);
  }
  CHECK(unused >= 0);
}

NOINLINE static void make_and_free(const char *how) {
  aligned = strcmp(how, "aligned") == 0;
  if (aligned) size = (size + 4095) / 4096 * 4096;
  char *block = make_one();
  CHECK(block);
  memset(block, 0x33, size);
  dangling = block;
  hidden = ~(uintptr_t)block;
  if (strcmp(how, "thread") == 0) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, free_it, block) == 0 && pthread_join(thread, NULL) == 0);
  } else if (strcmp(how, "handler") == 0) {
    signal(SIGUSR1, free_in_handler);
    raise(SIGUSR1);
  } else if (strcmp(how, "beside") == 0) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, collect_on, NULL) == 0);
    for (int i = 0; i < 2000; i++) free(malloc(size));
    free(block);
    for (int i = 0; i < 2000; i++) free(malloc(size));
    enough = true;
    CHECK(pthread_join(thread, NULL) == 0);
  } else if (strcmp(how, "realloc") == 0) {
    kept = realloc(block, size * 4);
    CHECK(kept && kept[size - 1] == 0x33);
    if ((uintptr_t)kept == ~hidden) { /* it grew in place */
      free(kept);
      kept = NULL;
    }
  } else if (strcmp(how, "shrink") == 0) {
    cut = size / 2; /* at least so much of the old block is free then, or stays unused */
    dangling = block + cut;
    kept = realloc(block, size / 8);
    CHECK(kept);
  } else if (strcmp(how, "chain") == 0) {
    static void **volatile first; /* a dangling pointer to a block that holds the other one */
    first = malloc(64);
    first[3] = block;
    free(block);
    free(first);
    dangling = NULL;
  } else {
    if (strcmp(how, "odd") == 0) try_odd_sizes();
    free(block);
    if (strcmp(how, "odd") == 0) try_odd_sizes();
  }
  hidden -= cut;
}

/* Through the dangling pointer. */
static void write_all_over(void) {
  static char *live[LIVE];
  for (int i = 0; i < LIVE; i++) {
    live[i] = malloc(size);
    fill_pattern(live[i], size, (unsigned)i);
  }
  if (dangling) memset(dangling, 0xff, size - cut);
  for (int i = 0; i < LIVE; i++) CHECK(pattern_holds(live[i], size, (unsigned)i));
  for (int i = 0; i < LIVE; i++) {
    free(live[i]);
    live[i] = NULL;
  }
}

/* All the free memory of the class is asked for before anything is given up. */
NOINLINE static bool comes_again(void) {
  enum { MOST = 1 << 20 };
  static void *blocks[MOST];
  size_t count = 0, most = ((size_t)(size > 100000 ? 4096 : 128) << 20) / size;
  bool again = false;
  while (count < most && count < MOST && !again) {
    blocks[count] = make_one();
    CHECK(blocks[count]);
    again = meets(blocks[count++], size);
  }
  while (count) {
    free(blocks[--count]);
    blocks[count] = NULL;
  }
  return again;
}

int main(int count, char **arguments) {
  CHECK(count == 3);
  size = (size_t)atol(arguments[2]);
  CHECK(size >= 8);
  make_and_free(arguments[1]);
  const char *options = getenv("RECLAIM");
  if (options && strstr(options, "zero=on")) CHECK(all_zero(dangling, size - cut));
  wipe_stack();
  for (int i = 0; i < 3; i++) {
    make_many_in_threads();
    collect();
  }
  if (collided) fail("the block came %zu times among %zu while a pointer was left", collided, made);
  write_all_over();
  make_many_in_threads();
  if (collided) fail("the block came after it was written to");
  if (strcmp(arguments[1], "shrink") != 0 && strcmp(arguments[1], "chain") != 0) {
    dangling = NULL;
    bool again = false;
    for (int i = 0; i < 8 && !again; i++) {
      wipe_stack();
      collect();
      again = comes_again();
    }
    if (!again) fail("the block never came again once its pointer was gone");
  }
  puts("held");
  return 0;
}
