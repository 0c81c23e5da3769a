/* corruption.h: what the programs of one memory bug each have in common (corrupt_*.c).

     corrupt_BUG small|page|large same|other [used]

   Blocks of one size are made. What has to be right before the bug is done by the main thread, the
   bug itself by it or by another one. With `used` libc's own allocator has blocks as well. Then the
   allocator is put to the test: new blocks, made by two threads in several rounds with a collection
   between, overlap neither each other nor what is still in use, and keep their contents.

   Says "ran on" and exits with 0, or says "exploitable: ..." and exits with 3. Whether the bug was
   reported is for others to see (preload/corruption.c). */
#ifndef TESTS_CORRUPTION_H
#define TESTS_CORRUPTION_H

#include "program.h"

#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"
#pragma GCC diagnostic ignored "-Wuse-after-free"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

/* To be defined by each program. */
static void prepare(char *block, size_t size);
static void corrupt(char *block, size_t size);

enum { NEIGHBOURS = 40, MOST_MADE = 1000, ROUNDS = 2, EXPLOITABLE = 3 };

static struct victim {
  char *block; /* the one that the bug is about */
  size_t size;
  bool given_up; /* it is not the program's any more: set by prepare or corrupt */
  bool damages;  /* the bug writes into other blocks, whose contents are then not judged */
  char *neighbours[NEIGHBOURS]; /* made before and after it, in use all the time */
  int neighbour_count;
} victim;

struct piece {
  char *begin;
  size_t size;
  unsigned seed;
};
static struct piece pieces[NEIGHBOURS + 1 + 2 * MOST_MADE];
static int piece_count;

/* What the compiler must not see through. */
PROGRAM_UNUSED static inline char *opaque(void *pointer) {
  char *result = pointer;
  __asm__ volatile("" : "+r"(result) : : "memory");
  return result;
}

/* Takes back what no word is left to, and what was freed under quarantine. */
PROGRAM_UNUSED static void collect_lost(void) {
  for (int i = 0; i < 5; i++) {
    wipe_stack();
    collect();
  }
}

/* What prepare does where the bug comes after a free(). */
PROGRAM_UNUSED static void give_up(char *block, size_t size) {
  (void)size;
  free(block);
  victim.given_up = true;
}

static _Noreturn void exploitable(const char *what) {
  printf("exploitable: %s\n", what);
  fflush(stdout);
  _exit(EXPLOITABLE);
}

static int by_address(const void *a, const void *b) {
  const struct piece *p = a, *q = b;
  return p->begin < q->begin ? -1 : p->begin > q->begin;
}

static void check_pieces(void) {
  static struct piece sorted[sizeof pieces / sizeof *pieces];
  memcpy(sorted, pieces, (size_t)piece_count * sizeof *pieces);
  qsort(sorted, (size_t)piece_count, sizeof *sorted, by_address);
  for (int i = 1; i < piece_count; i++) {
    if (sorted[i].begin == sorted[i - 1].begin) exploitable("one block was handed out twice");
    if (sorted[i].begin < sorted[i - 1].begin + sorted[i - 1].size)
      exploitable("a block overlaps another");
  }
  for (int i = 0; i < piece_count; i++)
    if (!pattern_holds(pieces[i].begin, pieces[i].size, pieces[i].seed))
      exploitable("a block lost its contents");
}

static void add_piece(char *begin, size_t size, bool filled) {
  unsigned seed = filled ? 1 : (unsigned)piece_count + 2;
  if (!filled) fill_pattern(begin, size, seed);
  pieces[piece_count++] = (struct piece){begin, size, seed};
}

static int blocks_a_round(void) {
  return victim.size < 1000 ? MOST_MADE : victim.size < 100000 ? 250 : 3;
}

static void *make_pieces(void *unused) {
  for (int i = 0; i < blocks_a_round(); i++) {
    char *block = malloc(victim.size);
    CHECK(block != NULL && (uintptr_t)block % 16 == 0);
    add_piece(block, victim.size, false);
  }
  return unused;
}

static void audit(void) {
  pthread_t thread;
  for (int i = 0; i < victim.neighbour_count; i++) {
    if (victim.damages) fill_pattern(victim.neighbours[i], victim.size, 1);
    add_piece(victim.neighbours[i], victim.size, true);
  }
  if (!victim.given_up) {
    if (victim.damages) fill_pattern(victim.block, victim.size, 1);
    add_piece(victim.block, victim.size, true);
  }
  int kept = piece_count;
  for (int round = 0; round < ROUNDS; round++) {
    make_pieces(NULL);
    CHECK(pthread_create(&thread, NULL, make_pieces, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    check_pieces();
    while (piece_count > kept) free(pieces[--piece_count].begin);
    collect();
  }
  check_pieces();
}

static void *run_corrupt(void *unused) {
  corrupt(victim.block, victim.size);
  return unused;
}

/* What a thread needs of the heap is kept by libc for the next: a later one finds it there, and
   allocates nothing where the bug is. */
static void *do_nothing(void *unused) { return unused; }
static void warm_up(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, do_nothing, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void use_libc(void) {
  static void *volatile blocks[3];
  void *(*make)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_malloc");
  if (make == NULL) not_possible("libc does not show its malloc");
  for (int i = 0; i < 3; i++) memset(blocks[i] = make(1000), 'l', 1000);
}

int main(int count, char **arguments) {
  CHECK(count == 3 || count == 4);
  const char *size = arguments[1];
  victim.size = strcmp(size, "small") == 0 ? 8 : strcmp(size, "page") == 0 ? 4096 : 3000000;
  victim.neighbour_count = victim.size < 100000 ? NEIGHBOURS : 4;
  warm_up();
  if (count == 4) use_libc();
  for (int i = 0; i < victim.neighbour_count; i++) {
    if (i == victim.neighbour_count / 2)
      fill_pattern(victim.block = malloc(victim.size), victim.size, 1);
    fill_pattern(victim.neighbours[i] = malloc(victim.size), victim.size, 1);
  }
  prepare(victim.block, victim.size);
  if (strcmp(arguments[2], "other") == 0) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run_corrupt, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  } else {
    run_corrupt(NULL);
  }
  audit();
  puts("ran on");
  return 0;
}

#endif
