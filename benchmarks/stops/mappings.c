/* mappings.c: what a cycle costs in a process with very many mappings, next to none of which holds
   anything. mappings STACKS FILES GIB COLLECTIONS

   STACKS threads wait for a condition, on stacks of the usual size. FILES private mappings of a
   file lie beside each other; every second one is closed to writing, and all begin at the same
   place of the file, so that the kernel merges none. GIB gibibytes are reserved in four pieces,
   readable and writable, and one page in each 64 MiB of them is touched. Each stack, each mapping
   and each touched page holds the only pointer to a block. Then the main thread asks for so many
   collections; the times stand in the collector's log.

   Prints what the collections made resident: the process's resident set before and after, from when
   the collector has made what it needs itself, and from the very beginning the pages present in the
   reservations, the files and the stacks, by the pagemap, which tells of the page of zeroes too,
   where a read of an absent page ends up. Fails when a block is lost: those of the same size that
   are made after the collections are written to, all held ones are compared; and when fewer than
   nine in ten blocks without a pointer came back, for then nothing could be lost.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/reclaim.h"

enum {
  PAGE = 4096,
  FILE_SIZE = 4 * PAGE,
  PIECES = 4,
  APART = 64 << 20, /* from one touched page of a reservation to the next */
  BLOCK = 1000,
  LOST = 4000, /* blocks that nothing holds */
};

struct place { /* of a pointer to a block */
  uint64_t **at;
  uint64_t number; /* what its block is filled with */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static bool ending;
static atomic_size_t started, wrong;

/* In memory of its own that is no part of any heap; it holds no pointers to blocks itself. */
static struct {
  struct place *places;
  size_t count;
  char *files, *pieces[PIECES];
  size_t files_size, piece_size;
  uintptr_t *stacks; /* an address in each */
} made;

static _Noreturn void give_up(const char *why) {
  fprintf(stderr, "mappings: %s\n", why);
  exit(1);
}

static void *map(size_t size, int flags) {
  void *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (memory == MAP_FAILED) give_up("no memory to map");
  return memory;
}

static uint64_t *make_block(uint64_t number) {
  uint64_t *block = malloc(BLOCK);
  if (!block) give_up("out of memory");
  for (size_t i = 0; i < BLOCK / 8; i++) block[i] = number;
  return block;
}

static bool holds(const uint64_t *block, uint64_t number) {
  for (size_t i = 0; i < BLOCK / 8; i++)
    if (block[i] != number) return false;
  return true;
}

static __attribute__((noinline)) void hold_at(void *where) {
  uint64_t number = made.count + 1;
  *(uint64_t **)where = make_block(number);
  made.places[made.count++] = (struct place){where, number};
}

static void *wait_for_end(void *argument) {
  uintptr_t *stack = argument;
  uint64_t number = (uint64_t)1 << 40 | started;
  uint64_t *volatile held = make_block(number);
  *stack = (uintptr_t)&held;
  pthread_mutex_lock(&mutex);
  started++;
  while (!ending) pthread_cond_wait(&ended, &mutex);
  pthread_mutex_unlock(&mutex);
  if (!holds(held, number)) wrong++;
  return NULL;
}

/* One after the other: a thread's number is how many began before it. */
static void start_threads(pthread_t *threads, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (pthread_create(&threads[i], NULL, wait_for_end, &made.stacks[i]) != 0)
      give_up("no thread could be made");
    while (started <= i) usleep(10);
  }
}

static void map_files(size_t count) {
  const char *folder = getenv("TMPDIR");
  char path[4096];
  snprintf(path, sizeof path, "%s/reclaim-mappings-XXXXXX", folder ? folder : "/tmp");
  int file = mkstemp(path);
  if (file < 0 || unlink(path) != 0 || ftruncate(file, FILE_SIZE) != 0)
    give_up("no file could be made");
  made.files_size = count * FILE_SIZE;
  made.files = map(made.files_size + PAGE, MAP_NORESERVE); /* to lie in */
  for (size_t i = 0; i < count; i++) {
    char *at = made.files + i * FILE_SIZE;
    if (mmap(at, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0) != at)
      give_up("a file could not be mapped");
    hold_at(at + PAGE);
    if (i % 2 && mprotect(at, FILE_SIZE, PROT_READ) != 0) give_up("mprotect failed");
  }
  close(file);
}

static void reserve(size_t bytes) {
  made.piece_size = bytes / PIECES;
  for (int i = 0; i < PIECES; i++) {
    char *piece = made.pieces[i] = map(made.piece_size, MAP_NORESERVE);
    madvise(piece, made.piece_size, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < made.piece_size; at += APART) hold_at(piece + at + 8);
  }
}

/* Not in the caller's frame, and turned over: no word leads to them. */
static __attribute__((noinline)) void lose_blocks(void) {
  for (int i = 0; i < LOST; i++) make_block(0);
}

/* --- what is resident --------------------------------------------------------------------------
 */

static uint64_t buffer[32768]; /* not on a stack, not from a heap, and resident from the start */

static size_t present_in(int pagemap, const void *memory, size_t size) {
  size_t present = 0, pages = size / PAGE, first = (uintptr_t)memory / PAGE;
  for (size_t done = 0, some; done < pages; done += some) {
    some = pages - done < sizeof buffer / 8 ? pages - done : sizeof buffer / 8;
    if (pread(pagemap, buffer, some * 8, (off_t)((first + done) * 8)) != (ssize_t)(some * 8))
      give_up("the pagemap cannot be read");
    for (size_t i = 0; i < some; i++) present += buffer[i] >> 63;
  }
  return present;
}

/* Of a waiting thread's stack the lowest mebibytes: nothing but a collector has a use for them. */
static size_t present_in_stacks(int pagemap) {
  enum { BELOW = 4 << 20, LEFT_OUT = 256 << 10 };
  size_t present = 0;
  for (size_t i = 0; i < started; i++) {
    uintptr_t end = made.stacks[i] / PAGE * PAGE - LEFT_OUT;
    present += present_in(pagemap, (void *)(end - BELOW), BELOW);
  }
  return present;
}

struct resident {
  size_t rss; /* of the process, in KiB */
  size_t reserved, files, stacks;
};

static struct resident resident_now(int pagemap) {
  struct resident now = {0, 0, present_in(pagemap, made.files, made.files_size),
                         present_in_stacks(pagemap)};
  for (int i = 0; i < PIECES; i++)
    now.reserved += present_in(pagemap, made.pieces[i], made.piece_size);
  int rollup = open("/proc/self/smaps_rollup", O_RDONLY);
  char *text = (char *)buffer, *line;
  ssize_t length = rollup < 0 ? -1 : read(rollup, text, sizeof buffer - 1);
  if (length > 0) text[length] = 0;
  if (length <= 0 || !(line = strstr(text, "Rss:")) || sscanf(line, "Rss: %zu", &now.rss) != 1)
    give_up("/proc/self/smaps_rollup cannot be read");
  close(rollup);
  return now;
}

/* --- judging ----------------------------------------------------------------------------------
 */

static size_t count_lost(pthread_t *threads, size_t thread_count) {
  for (size_t i = 0; i < 2 * (made.count + LOST); i++) make_block(0);
  for (size_t i = 0; i < made.count; i++)
    if (!holds(*made.places[i].at, made.places[i].number)) wrong++;
  pthread_mutex_lock(&mutex);
  ending = true;
  pthread_cond_broadcast(&ended);
  pthread_mutex_unlock(&mutex);
  for (size_t i = 0; i < thread_count; i++) pthread_join(threads[i], NULL);
  return wrong;
}

int main(int count, char **arguments) {
  long numbers[4] = {0};
  for (int i = 1; i < count && i <= 4; i++) numbers[i - 1] = strtol(arguments[i], NULL, 10);
  size_t threads = (size_t)numbers[0], files = (size_t)numbers[1], gib = (size_t)numbers[2];
  if (count != 5 || numbers[0] < 0 || numbers[1] < 1 || numbers[2] < 1 || numbers[3] < 1) {
    fprintf(stderr, "usage: mappings STACKS FILES GIB COLLECTIONS\n");
    return 2;
  }
  void (*collect)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "reclaim_collect");
  int (*stats)(struct reclaim_stats *, size_t) =
      (int (*)(struct reclaim_stats *, size_t))dlsym(RTLD_DEFAULT, "reclaim_stats");
  if (!collect || !stats) {
    fprintf(stderr, "mappings: Reclaim is not preloaded\n");
    return 2;
  }
  size_t most = files + (gib << 30) / APART;
  made.places = map(most * sizeof *made.places, 0);
  made.stacks = map((threads + 1) * sizeof *made.stacks, 0);
  pthread_t *ids = map((threads + 1) * sizeof *ids, 0);
  map_files(files);
  reserve(gib << 30);
  start_threads(ids, threads);
  lose_blocks();
  int pagemap = open("/proc/self/pagemap", O_RDONLY);
  if (pagemap < 0) give_up("the pagemap cannot be opened");
  struct resident before = resident_now(pagemap);
  for (int i = 0; i < 3; i++) collect(); /* brings in what it needs itself, once for all */
  before.rss = resident_now(pagemap).rss;
  for (long i = 0; i < numbers[3]; i++) {
    collect();
    usleep(1000);
  }
  struct resident after = resident_now(pagemap);
  printf("rss_kib=%zu>%zu reserved=%zu>%zu files=%zu>%zu stacks=%zu>%zu\n", before.rss, after.rss,
         before.reserved, after.reserved, before.files, after.files, before.stacks, after.stacks);
  struct reclaim_stats reached = {0};
  stats(&reached, sizeof reached);
  if (reached.reclaimed_objects < LOST * 9 / 10) give_up("what nothing holds did not come back");
  size_t lost = count_lost(ids, threads);
  if (lost) {
    fprintf(stderr, "mappings: %zu of %zu blocks were lost\n", lost, made.count + threads);
    return 1;
  }
  return 0;
}
