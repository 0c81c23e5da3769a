/* pressure.c: limits on memory, much of it, and deep, wide or sparse structures. pressure CASE

   limit       RLIMIT_AS is set while the program runs, raised and lowered again
   data        RLIMIT_DATA: what leaks fits under it, what does not leak gets NULL and ENOMEM
   no-memory   what leaked since the last collection is there when malloc would return NULL
   locked      mlockall(MCL_FUTURE), where the kernel gives no memory back: calloc reads zero
   recycled    calloc of memory that was used before reads zero
   moves       large blocks that grow in turns leave few mappings behind
   mappings    the number of mappings stays small under heavy use
   usable      what malloc_usable_size promises may hold a pointer, and realloc keeps it
   stale       what was read after free mostly is what was there
   walked      a list whose nodes are freed before the next is asked of them, under collections
   walked-alone   the same where memory goes back to the kernel
   closed-stacks  blocks that are freed with a page closed
   mapped-over what the program made of a large block's pages ends with the block
   given-back  memory that was freed goes back to the kernel
   steady      a program that frees what it allocates is not collected
   growing     a program that only grows is collected less and less often
   queue       a linked queue whose popped nodes leak stays as large as it is
   dead-stack  pointers that deep calls left below the stack pointer keep nothing
   adjacent    a stack whose mapping the kernel has merged with the one below it
   bits        large blocks of random bits are scanned, soon enough and without a crash
   deep        a list of two million nodes
   wide        blocks with a million pointers, when there is no memory for the mark stack
   sparse      a large block that was hardly touched is not touched by the scan either */
#include "program.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The beginning of reclaim.h's statistics. */
struct stats {
  uint64_t cycles, skipped, reclaimed_bytes, reclaimed_objects;
};
static struct stats statistics(void) {
  struct stats stats = {0};
  int (*ask)(struct stats *, size_t) =
      (int (*)(struct stats *, size_t))dlsym(RTLD_DEFAULT, "reclaim_stats");
  if (ask != NULL) CHECK(ask(&stats, sizeof stats) == 0);
  return stats;
}

static void set_limit(int resource, rlim_t limit) {
  struct rlimit limits;
  CHECK(getrlimit(resource, &limits) == 0);
  limits.rlim_cur = limit;
  CHECK(setrlimit(resource, &limits) == 0);
}

/* Allocates many times the limit and drops it. */
NOINLINE static void drop_much(size_t mib) {
  for (size_t i = 0; i < mib; i++) {
    char *block = malloc(1 << 20);
    if (block == NULL) fail("malloc failed after %zu MiB were dropped", i);
    memset(block, 1, 1 << 20);
  }
}

/* Keeps what it gets until there is no more, then frees it. The MiB; `most` if there was more. */
NOINLINE static size_t keep_all(size_t most) {
  void **list = NULL, **block;
  size_t count = 0;
  errno = 0;
  while (count < most * 10 && (block = malloc((1 << 20) / 10)) != NULL) {
    memset(block, 1, (1 << 20) / 10);
    *block = list;
    list = block;
    count++;
  }
  if (count < most * 10) CHECK(errno == ENOMEM);
  while (list != NULL) {
    void **next = *list;
    free(list);
    list = next;
  }
  return count / 10;
}

/* Under plain malloc nothing comes back, so there less is dropped. */
static size_t much(size_t mib) { return collector != NULL ? mib : 16; }

static void limit(void) {
  void *before = malloc(3000);
  fill_pattern(before, 3000, 1);
  set_limit(RLIMIT_AS, (rlim_t)512 << 20);
  drop_much(much(700));
  void *mapping = mmap(NULL, 16 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(mapping != MAP_FAILED); /* the program's own share */
  CHECK(munmap(mapping, 16 << 20) == 0);
  size_t kept = keep_all(512);
  if (kept < 150 || kept >= 512) fail("%zu MiB under a limit of 512", kept);
  set_limit(RLIMIT_AS, (rlim_t)1 << 30);
  drop_much(much(300));
  set_limit(RLIMIT_AS, (rlim_t)400 << 20);
  drop_much(much(300));
  kept = keep_all(400);
  if (kept < 80 || kept >= 400) fail("%zu MiB under a limit of 400", kept);
  set_limit(RLIMIT_AS, RLIM_INFINITY);
  CHECK(pattern_holds(before, 3000, 1));
}

static void data(void) {
  set_limit(RLIMIT_DATA, (rlim_t)128 << 20);
  drop_much(much(500));
  size_t kept = keep_all(128);
  if (kept < 60 || kept >= 128) fail("%zu MiB under a limit of 128", kept);
  set_limit(RLIMIT_DATA, (rlim_t)256 << 20);
  kept = keep_all(256);
  if (kept < 130 || kept >= 256) fail("%zu MiB under a limit of 256", kept);
}

static size_t data_kib(void) {
  char line[256];
  size_t kib = 0;
  FILE *file = fopen("/proc/self/status", "r");
  if (file == NULL) not_possible("no /proc");
  while (fgets(line, sizeof line, file) != NULL) sscanf(line, "VmData: %zu", &kib);
  fclose(file);
  return kib;
}

static void no_memory(void) {
  enum { KEPT = 100 };
  void **kept[KEPT];
  for (int i = 0; i < KEPT; i++) memset(kept[i] = malloc(1 << 20), 1, 1 << 20);
  collect(); /* the next is due when half as much again is filled */
  set_limit(RLIMIT_DATA, ((rlim_t)data_kib() << 10) + (24 << 20));
  drop_much(much(300));
  for (int i = 0; i < KEPT; i++) CHECK(((char *)kept[i])[777777] == 1);
}

NOINLINE static void use_and_free(size_t size, bool leaking) {
  enum { BLOCKS = 8 };
  unsigned char *blocks[BLOCKS];
  for (int i = 0; i < BLOCKS; i++) memset(blocks[i] = malloc(size), 0xff, size);
  for (int i = 0; i < BLOCKS && !leaking; i++) free(blocks[i]);
  memset(blocks, 0, sizeof blocks);
}

static void check_zeroes(size_t least, size_t most, bool trim) {
  for (int turn = 0; turn < 6; turn++)
    for (size_t size = least; size <= most; size *= 3) {
      use_and_free(size, turn % 2 == 1);
      if (trim) malloc_trim(0); /* asks for all that is free to go back to the kernel */
      if (turn % 2 == 1) {
        wipe_stack();
        collect();
      }
      unsigned char *blocks[16];
      for (int i = 0; i < 16; i++) {
        blocks[i] = calloc(1, size);
        CHECK(blocks[i] != NULL);
        if (!all_zero(blocks[i], size)) fail("calloc of %zu bytes is not zero", size);
      }
      for (int i = 0; i < 16; i++) free(blocks[i]);
    }
}

static void locked(void) {
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) not_possible("no mlockall");
  check_zeroes(40000, 4000000, true);
}

static void recycled(void) { check_zeroes(8, 3000000, false); }

static size_t mappings_now(void) {
  size_t lines = 0;
  int c;
  FILE *file = fopen("/proc/self/maps", "r");
  if (file == NULL) not_possible("no /proc");
  while ((c = getc(file)) != EOF) lines += c == '\n';
  fclose(file);
  return lines;
}

/* By more than twofold at each step, so that a block has to move whatever room it was given behind
   it, and each by another distance, so that no two meet as they met before. */
static void moves(void) {
  enum { BLOCKS = 24 };
  unsigned char *blocks[BLOCKS];
  size_t sizes[BLOCKS], before = mappings_now();
  uint64_t random = 3;
  for (int turn = 0; turn < 12; turn++) {
    for (unsigned i = 0; i < BLOCKS; i++)
      fill_pattern(blocks[i] = malloc(sizes[i] = 1100000), 5000, i);
    for (int step = 0; step < 4; step++)
      for (unsigned n = 0; n < BLOCKS; n++) {
        uint64_t r = next_random(&random);
        unsigned i = (unsigned)(r % BLOCKS);
        sizes[i] = sizes[i] / 10 * (21 + (r >> 32) % 9);
        if (sizes[i] > (size_t)60 << 20) sizes[i] = 1100000;
        CHECK((blocks[i] = realloc(blocks[i], sizes[i])) != NULL);
        blocks[i][sizes[i] - 1] = 1;
        CHECK(pattern_holds(blocks[i], 5000, i));
      }
    for (unsigned i = 0; i < BLOCKS; i++) free(blocks[i]);
  }
  size_t after = mappings_now();
  if (after > before + 600) fail("%zu mappings have become %zu", before, after);
}

static void mappings(void) {
  static unsigned char *blocks[20000];
  uint64_t random = 7;
  size_t before = mappings_now();
  for (int i = 0; i < 300000; i++) {
    uint64_t r = next_random(&random);
    size_t n = r % 20000, size = 1 + (r >> 32) % (r % 1000 == 0 ? 4000000
                                                  : r % 50 == 0 ? 60000
                                                                : 900);
    if (r >> 60 != 0) free(blocks[n]); /* else it leaks */
    blocks[n] = malloc(size);
    blocks[n][0] = blocks[n][size - 1] = 1;
    if (i % 50000 == 0) collect();
  }
  size_t after = mappings_now();
  if (after > before + 200 || after > 1000) fail("%zu mappings have become %zu", before, after);
}

NOINLINE static uintptr_t put_behind(void **block, size_t usable) {
  void **hidden = malloc(777);
  fill_pattern(hidden, 777, 3);
  block[usable / sizeof *block - 1] = hidden;
  return ~(uintptr_t)hidden;
}

static void usable(void) {
  for (size_t size = 8; size < 200000; size = size * 3 / 2 + 1) {
    void **block = malloc(size);
    size_t room = malloc_usable_size(block);
    CHECK(room >= size && room == malloc_usable_size(block));
    memset(block, 0, room);
    uintptr_t hidden = put_behind(block, room);
    wipe_stack();
    collect();
    for (int i = 0; i < 100; i++) free(memset(malloc(777), 0x44, 777));
    CHECK(pattern_holds((void *)~hidden, 777, 3));
    block = realloc(block, room * 2);
    CHECK(block[room / sizeof *block - 1] == (void *)~hidden);
    free((void *)~hidden), free(block);
  }
}

static void stale(void) {
  enum { SIZE = 1000, COUNT = 200 };
  unsigned char *volatile blocks[COUNT];
  for (unsigned i = 0; i < COUNT; i++) fill_pattern(blocks[i] = malloc(SIZE), SIZE, i);
  void *last = malloc(SIZE); /* so that nothing merges with what lies behind */
  for (unsigned i = 0; i < COUNT; i += 2) free(blocks[i]);
  size_t same = 0;
  for (unsigned i = 0; i < COUNT; i += 2) {
    unsigned char expected[SIZE];
    fill_pattern(expected, SIZE, i);
    for (size_t at = 0; at < SIZE; at++) same += blocks[i][at] == expected[at];
  }
  free(last);
  collect();
  if (same < (size_t)SIZE * COUNT / 2 * 9 / 10) fail("%zu of %d bytes", same, SIZE * COUNT / 2);
}

/* The rest of the list hangs on a freed node alone, for as long as a collection takes and more. */
struct link {
  void *where_glibc_writes[4];
  struct link *next;
  unsigned char pattern[];
};

/* The last to be made is the first. */
NOINLINE static struct link *make_links(size_t count, size_t size) {
  struct link *list = NULL;
  for (size_t i = count; i-- > 0;) {
    struct link *node = malloc(sizeof *node + size);
    node->next = list;
    fill_pattern(node->pattern, size, (unsigned)i);
    list = node;
  }
  return list;
}

/* The compiler is not to know that it was freed. */
static struct link *unknown(uintptr_t word) {
  __asm__ volatile("" : "+r"(word));
  return (struct link *)word;
}

static volatile size_t visited;

static void *free_list(void *size) {
  uintptr_t at = (uintptr_t)make_links(300, (size_t)size);
  wipe_stack();
  for (unsigned i = 0; at; at = (uintptr_t)unknown(at)->next, i++) {
    CHECK(pattern_holds(unknown(at)->pattern, (size_t)size, i));
    free(unknown(at));
    visited++;
    double end = seconds_now() + 0.001;
    while (seconds_now() < end) continue;
  }
  return NULL;
}

static void walked(void) {
  static const size_t sizes[] = {16, 100, 600, 4000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    pthread_t thread;
    visited = 0;
    CHECK(pthread_create(&thread, NULL, free_list, (void *)sizes[i]) == 0);
    while (visited < 300) {
      collect();
      void *others[100];
      for (int n = 0; n < 100; n++) memset(others[n] = malloc(sizes[i]), 0x55, sizes[i]);
      for (int n = 0; n < 100; n++) free(others[n]);
    }
    CHECK(pthread_join(thread, NULL) == 0);
  }
}

/* Blocks that glibc keeps as well: pages go back to the kernel meanwhile, but not those. */
static void walked_alone(void) {
  static const size_t sizes[] = {33000, 120000, 4000, 600};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t count = (50 << 20) / sizes[i], visits = 0;
    uintptr_t at = (uintptr_t)make_links(count, sizes[i]);
    void *last = malloc(100000); /* so that nothing merges with what lies behind */
    for (; at; at = (uintptr_t)unknown(at)->next, visits++) free(unknown(at));
    CHECK(visits == count);
    free(last);
  }
}

/* glibc's large blocks are mappings of their own. */
enum { MAPPED = 1 << 20, INSIDE = MAPPED - 8192 };

static char *whole_pages_of(char *block) {
  return (char *)(((uintptr_t)block + 4095) & ~(uintptr_t)4095);
}

static void use_again(void) {
  char *blocks[20];
  for (int i = 0; i < 20; i++) memset(blocks[i] = malloc(MAPPED), 2, MAPPED);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    int same = 0;
    for (int i = 0; i < 20; i++)
      for (int at = 0; at < MAPPED; at += 4096) same += blocks[i][at] == 2;
    _exit(same == 20 * (MAPPED / 4096) ? 0 : 1);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  for (int i = 0; i < 20; i++) free(blocks[i]);
}

/* Blocks too small for a mapping of their own, which are never freed. */
static void mapped_over_in_use(void) {
  enum { PAGES = 4096, SMALL = 16384 };
  static const size_t sizes[] = {SMALL, 49152};
  static char *kept[2][3]; /* to be found, and searched */
  for (int s = 0; s < 2; s++) {
    for (int i = 0; i < 3; i++) {
      CHECK(posix_memalign((void **)&kept[s][i], PAGES, sizes[s]) == 0);
      memset(kept[s][i], 1, sizes[s]);
    }
    CHECK(munmap(kept[s][0] + PAGES, PAGES) == 0);
    void *elsewhere = mmap(NULL, SMALL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(elsewhere != MAP_FAILED &&
          mremap(kept[s][1], SMALL, SMALL, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere) == elsewhere);
    CHECK(madvise(kept[s][2], SMALL, MADV_DONTFORK) == 0);
    collect();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      collect();
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
}

static void mapped_over(void) {
  mapped_over_in_use();
  mallopt(M_MMAP_THRESHOLD, 128 << 10); /* or glibc raises it by what is freed */
  for (int way = 0; way < 8; way++) {
    char *block = malloc(MAPPED), *pages = whole_pages_of(block);
    memset(block, 1, MAPPED);
    int file = memfd_create("file", 0), shared = way == 4 ? MAP_SHARED : MAP_PRIVATE;
    CHECK(file >= 0 && ftruncate(file, INSIDE) == 0);
    switch (way) {
    case 0: CHECK(mprotect(pages, INSIDE, PROT_READ) == 0); break;
    case 1: CHECK(mprotect(pages, INSIDE, PROT_NONE) == 0); break;
    case 2: CHECK(mprotect(pages + 65536, 65536, PROT_READ | PROT_EXEC) == 0); break;
    case 3:
    case 4:
      CHECK(mmap(pages, INSIDE, PROT_READ | PROT_WRITE, shared | MAP_FIXED, file, 0) == pages);
      memset(pages, 7, INSIDE);
      break;
    case 5: CHECK(madvise(pages, INSIDE, MADV_DONTFORK) == 0); break;
    case 6: CHECK(madvise(pages, INSIDE, MADV_WIPEONFORK) == 0); break;
    default: CHECK(munmap(pages + 131072, 65536) == 0);
    }
    collect();
    free(block);
    block = pages = NULL;
    use_again();
    wipe_stack();
    collect();
    use_again();
    static char read_back[INSIDE];
    CHECK(pread(file, read_back, INSIDE, 0) == INSIDE);
    for (int at = 0; at < INSIDE; at++) CHECK(read_back[at] == (way == 4 ? 7 : 0));
    close(file);
  }
}

/* As libraries for coroutines make their stacks, and free them. */
static void closed_stacks(void) {
  enum { COUNT = 6000, STACK = 256 << 10 };
  for (int i = 0; i < COUNT; i++) {
    char *stack = NULL;
    CHECK(posix_memalign((void **)&stack, 4096, STACK) == 0);
    CHECK(mprotect(stack, 4096, PROT_NONE) == 0);
    memset(stack + 4096, 1, 100);
    free(stack);
  }
  wipe_stack();
  for (int i = 0; i < 3; i++) collect();
  FILE *maps = fopen("/proc/self/maps", "r");
  CHECK(maps != NULL);
  int lines = 0;
  for (int c; (c = getc(maps)) != EOF;) lines += c == '\n';
  fclose(maps);
  if (collector && lines > 1000) fail("%d mappings", lines);
}

static void given_back(void) {
  enum { COUNT = 200000 };
  static void *blocks[COUNT];
  long before = resident_kib();
  for (int turn = 0; turn < 2; turn++) {
    for (int i = 0; i < COUNT; i++) memset(blocks[i] = malloc(700), 1, 700);
    void *large = malloc(64 << 20);
    memset(large, 1, 64 << 20);
    for (int i = 0; i < COUNT; i++) free(blocks[i]);
    free(large);
  }
  for (int i = 0; i < 20; i++) usleep(100000); /* what decays does so in a second or two */
  malloc_trim(0);
  long after = resident_kib();
  if (after > before + 40 * 1024) fail("%ld KiB before, %ld KiB after", before, after);
}

static void steady(void) {
  static void *blocks[5000];
  uint64_t random = 3;
  struct stats before = statistics();
  for (int i = 0; i < 3000000; i++) {
    size_t n = next_random(&random) % 5000;
    free(blocks[n]);
    blocks[n] = malloc(16 + random % 3000);
    *(char *)blocks[n] = 1;
  }
  uint64_t cycles = statistics().cycles - before.cycles;
  if (cycles > 2) fail("%llu cycles", (unsigned long long)cycles);
  collect();
}

static void growing(void) {
  enum { SIZE = 1000 };
  void **list = NULL;
  struct stats before = statistics();
  for (int i = 0; i < 500000; i++) { /* 500 MB; without back-off a cycle each half as much again */
    void **block = malloc(SIZE);
    memset(block, 0, SIZE);
    *block = list;
    list = block;
  }
  uint64_t cycles = statistics().cycles - before.cycles;
  if (cycles > 5) fail("%llu cycles", (unsigned long long)cycles);
  collect();
  size_t count = 0;
  for (; list != NULL; list = *list) count++;
  CHECK(count == 500000);
}

struct node {
  struct node *next;
  char data[240];
};

/* Pops by moving the head; what was popped is forgotten, and still points to what follows. A word
   that by chance keeps one popped node keeps all that came after it, until that word is gone. */
NOINLINE static void churn_queue(struct node **head, struct node **tail, int turns) {
  for (int i = 0; i < turns; i++) {
    struct node *node = malloc(sizeof *node);
    memset(node, 0, sizeof *node);
    (*tail)->next = node;
    *tail = node;
    *head = (*head)->next;
  }
}

NOINLINE static void begin_queue(struct node **head, struct node **tail) {
  *head = *tail = calloc(1, sizeof **head);
  for (int i = 0; i < 1000; i++) *tail = (*tail)->next = calloc(1, sizeof **tail);
}

static void queue(void) {
  enum { ROUNDS = 12, UNUSED = 50 };
  static struct node *head, *tail;              /* the first node is the first block of its page */
  static void *volatile unused[ROUNDS][UNUSED]; /* memory that is handed out and never written */
  long middle = 0;
  begin_queue(&head, &tail);
  for (int round = 0; round < ROUNDS; round++) {
    wipe_stack();
    churn_queue(&head, &tail, collector != NULL ? 200000 : 1000); /* 50 MB */
    wipe_stack();
    collect();
    for (int i = 0; i < UNUSED; i++) unused[round][i] = malloc(sizeof *head);
    if (round == ROUNDS / 2) middle = resident_kib();
  }
  long after = resident_kib();
  CHECK(unused[0][0] != NULL);
  if (after > middle + 32 * 1024) fail("%ld KiB in the middle, %ld KiB after", middle, after);
  size_t count = 0;
  for (struct node *node = head; node != NULL; node = node->next) count++;
  CHECK(count == 1001);
}

static size_t in_use(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

NOINLINE static void leave_pointers(int depth) {
  void *volatile here[16];
  for (int i = 0; i < 16; i++) memset(here[i] = malloc(1000), 1, 1000);
  if (depth > 0) leave_pointers(depth - 1);
  __asm__ volatile("" : : "r"(here) : "memory");
}

static void *leave_on_own_stack(void *unused) {
  (void)unused;
  collect();
  size_t before = in_use();
  leave_pointers(100);
  collect();
  collect();
  size_t after = in_use();
  if (collector != NULL && after > before + 200000)
    fail("%zu bytes in use, then %zu: dead frames keep %d blocks", before, after, 101 * 16);
  return NULL;
}

static void dead_stack(void) {
  leave_on_own_stack(NULL);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, leave_on_own_stack, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static char *adjacent_room;
enum { ADJACENT = 1 << 20 };

NOINLINE static void fill_adjacent(void) {
  void **slots = (void **)adjacent_room;
  for (unsigned i = 0; i < 100; i++) fill_pattern(slots[i * 8] = malloc(600), 600, i);
}

static void *wait_on_adjacent(void *unused) {
  (void)unused;
  fill_adjacent();
  wipe_stack();
  for (int turn = 0; turn < 3; turn++) {
    collect();
    for (int i = 0; i < 2000; i++) free(memset(malloc(600), 0x44, 600));
  }
  void **slots = (void **)adjacent_room;
  for (unsigned i = 0; i < 100; i++) CHECK(pattern_holds(slots[i * 8], 600, i));
  return NULL;
}

static void adjacent(void) {
  adjacent_room =
      mmap(NULL, 2 * ADJACENT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(adjacent_room != MAP_FAILED);
  pthread_attr_t attributes;
  pthread_t thread;
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstack(&attributes, adjacent_room + ADJACENT, ADJACENT) == 0);
  CHECK(pthread_create(&thread, &attributes, wait_on_adjacent, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void bits(void) {
  enum { COUNT = 4, WORDS = 4 << 20 };
  uint64_t random = 99, *blocks[COUNT];
  for (int i = 0; i < COUNT; i++) {
    blocks[i] = malloc(WORDS * sizeof *blocks[i]);
    for (size_t n = 0; n < WORDS; n++) blocks[i][n] = next_random(&random);
  }
  double begin = seconds_now();
  for (int turn = 0; turn < 3; turn++) collect();
  if (seconds_now() - begin > 60) fail("%.1f s for three collections", seconds_now() - begin);
  random = 99;
  for (int i = 0; i < COUNT; i++) {
    for (size_t n = 0; n < WORDS; n++) CHECK(blocks[i][n] == next_random(&random));
    free(blocks[i]);
  }
}

static void deep(void) {
  enum { NODES = 2000000 };
  struct link {
    struct link *next;
    size_t number;
  } *list = NULL;
  for (size_t i = 0; i < NODES; i++) {
    struct link *link = malloc(sizeof *link);
    *link = (struct link){list, i};
    list = link;
  }
  for (int turn = 0; turn < 2; turn++) {
    wipe_stack();
    collect();
    for (int i = 0; i < 100000; i++) free(memset(malloc(sizeof *list), 0x44, sizeof *list));
  }
  size_t left = NODES;
  for (; list != NULL; list = list->next) CHECK(list->number == --left);
  CHECK(left == 0);
}

static void wide(void) {
  enum { HUBS = 250, LEAVES = 4000 };
  void ***first =
      NULL; /* of the hubs: each ends with the next, which is marked before its leaves */
  for (size_t h = 0; h < HUBS; h++) {
    void ***hub = malloc((LEAVES + 1) * sizeof *hub);
    hub[LEAVES] = (void **)first;
    for (size_t i = 0; i < LEAVES; i++) { /* leaves point to one more block each */
      hub[i] = malloc(2 * sizeof *hub[i]);
      size_t *number = malloc(sizeof *number);
      *number = h * LEAVES + i;
      hub[i][0] = number;
      hub[i][1] = NULL;
    }
    first = hub;
  }
  wipe_stack();
  set_limit(RLIMIT_DATA, 1 << 20);       /* less than is in use: no page more becomes writable */
  for (int i = 0; i < 3; i++) collect(); /* what is missed must be missed again to be taken */
  set_limit(RLIMIT_DATA, RLIM_INFINITY);
  for (int i = 0; i < 100000; i++) free(memset(malloc(16), 0x44, 16));
  size_t left = HUBS;
  for (void ***hub = first; hub; hub = (void ***)hub[LEAVES]) {
    left--;
    for (size_t i = 0; i < LEAVES; i++) CHECK(*(size_t *)hub[i][0] == left * LEAVES + i);
  }
  CHECK(left == 0);
}

static size_t touched_pages(char *block, size_t size) {
  static unsigned char resident[(1 << 30) / 4096 + 1];
  char *begin = (char *)(((uintptr_t)block + 4095) & ~(uintptr_t)4095);
  size_t pages = size / 4096 - 1, count = 0;
  CHECK(mincore(begin, pages * 4096, resident) == 0);
  for (size_t i = 0; i < pages; i++) count += resident[i] & 1;
  return count;
}

static void sparse(void) {
  size_t size = (size_t)1 << 30;
  void **block = calloc(1, size);
  if (block == NULL) not_possible("no room for 1 GiB");
  void **places[] = {block, block + size / 16, block + size / 8 - 1};
  uintptr_t hidden[3];
  for (unsigned i = 0; i < 3; i++) {
    *places[i] = malloc(500);
    fill_pattern(*places[i], 500, i);
    hidden[i] = ~(uintptr_t)*places[i];
  }
  for (int turn = 0; turn < 3; turn++) {
    wipe_stack();
    collect();
    for (int i = 0; i < 1000; i++) free(memset(malloc(500), 0x44, 500));
  }
  for (unsigned i = 0; i < 3; i++)
    CHECK(*places[i] == (void *)~hidden[i] && pattern_holds(*places[i], 500, i));
  size_t touched = touched_pages((char *)block, size);
  if (touched > 2000) fail("%zu pages of a block with 3 words", touched);
}

static const struct {
  const char *name;
  void (*run)(void);
} cases[] = {{"limit", limit},
             {"data", data},
             {"no-memory", no_memory},
             {"locked", locked},
             {"recycled", recycled},
             {"moves", moves},
             {"mappings", mappings},
             {"usable", usable},
             {"stale", stale},
             {"given-back", given_back},
             {"walked", walked},
             {"walked-alone", walked_alone},
             {"mapped-over", mapped_over},
             {"closed-stacks", closed_stacks},
             {"steady", steady},
             {"growing", growing},
             {"queue", queue},
             {"dead-stack", dead_stack},
             {"adjacent", adjacent},
             {"bits", bits},
             {"deep", deep},
             {"wide", wide},
             {"sparse", sparse}};

int main(int count, char **arguments) {
  CHECK(count == 2);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (strcmp(arguments[1], cases[i].name) == 0) {
      cases[i].run();
      puts("held");
      return 0;
    }
  return 2;
}
