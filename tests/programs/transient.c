/* transient.c: a program that for a moment hides its only pointer to a block, again and again.

   transient HOW hold COLLECTIONS    so many collections fall into each moment; the blocks must hold
   transient HOW use COLLECTIONS     the same, but then the blocks are measured, resized and freed
   transient HOW leak COLLECTIONS    the control: after so many the blocks must be gone
   transient HOW count HIDDEN VISIBLE
                                     hidden for so many milliseconds, then visible for so many,
   while collections come by themselves; says how many blocks were lost HOW: complement (an encoded
   pointer), pipe, socket (on their way through the kernel) or file.

   A block is lost when its contents changed: what is reclaimed is overwritten with zeros. */
#include "program.h"

#include <sys/socket.h>

enum { BLOCKS = 9 /* one of them tends to stay visible on the stack */, SIZE = 1000, ROUNDS = 3 };

static int ends[2];
static uintptr_t words[BLOCKS]; /* pointers, or their complements while hidden */
static bool complementing;

static void open_way(const char *how) {
  complementing = strcmp(how, "complement") == 0;
  if (strcmp(how, "pipe") == 0) CHECK(pipe(ends) == 0);
  if (strcmp(how, "socket") == 0) CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  if (strcmp(how, "file") == 0) {
    FILE *file = tmpfile();
    CHECK(file != NULL);
    ends[0] = ends[1] = fileno(file);
  }
  CHECK(complementing || ends[1] != 0);
}

NOINLINE static void hide(void) {
  for (int i = 0; i < BLOCKS; i++) words[i] = ~words[i];
  if (complementing) return;
  for (int i = 0; i < BLOCKS; i++) words[i] = ~words[i];
  CHECK(write(ends[1], words, sizeof words) == sizeof words);
  memset(words, 0, sizeof words);
}

NOINLINE static void reveal(void) {
  if (complementing) {
    for (int i = 0; i < BLOCKS; i++) words[i] = ~words[i];
    return;
  }
  if (ends[0] == ends[1]) CHECK(lseek(ends[0], 0, SEEK_SET) == 0);
  CHECK(read(ends[0], words, sizeof words) == sizeof words);
  if (ends[0] == ends[1]) CHECK(lseek(ends[0], 0, SEEK_SET) == 0);
}

NOINLINE static void make_blocks(void) {
  for (int i = 0; i < BLOCKS; i++) {
    void *block = malloc(SIZE);
    CHECK(block != NULL);
    fill_pattern(block, SIZE, (unsigned)i);
    words[i] = (uintptr_t)block;
  }
}

static int lost(void) {
  int count = 0;
  for (int i = 0; i < BLOCKS; i++) count += !pattern_holds((void *)words[i], SIZE, (unsigned)i);
  return count;
}

NOINLINE static void collect_times(int collections) {
  for (int i = 0; i < collections; i++) {
    wipe_stack();
    collect();
  }
}

static void use_blocks(void) {
  for (int i = 0; i < BLOCKS; i++) {
    CHECK(malloc_usable_size((void *)words[i]) >= SIZE);
    if (i % 3 == 0) words[i] = (uintptr_t)realloc((void *)words[i], 4 * SIZE);
    if (i % 3 == 1) words[i] = (uintptr_t)realloc((void *)words[i], SIZE - 8);
    CHECK(pattern_holds((void *)words[i], SIZE - 8, (unsigned)i));
    free((void *)words[i]);
  }
}

/* malloc's mistake is not ours to repeat: a block that is lost may be handed out a second time, so
   those of a bad round are left alone. */
static void count_lost(long hidden, long visible) {
  int all = 0, bad = 0;
  double end = seconds_now() + 4;
  make_blocks();
  while (seconds_now() < end) {
    hide();
    wipe_stack();
    usleep((useconds_t)hidden * 1000);
    reveal();
    int now = lost();
    all += BLOCKS;
    bad += now;
    if (now != 0) make_blocks();
    usleep((useconds_t)visible * 1000);
  }
  printf("%d of %d\n", bad, all);
}

int main(int count, char **arguments) {
  CHECK(count >= 4);
  open_way(arguments[1]);
  int collections = atoi(arguments[3]);
  if (strcmp(arguments[2], "count") == 0) {
    CHECK(count == 5);
    count_lost(collections, atoi(arguments[4]));
    return 0;
  }
  bool leaking = strcmp(arguments[2], "leak") == 0, using = strcmp(arguments[2], "use") == 0;
  for (int round = 0; round < ROUNDS; round++) {
    make_blocks();
    hide();
    collect_times(collections);
    reveal();
    if (!leaking && lost() != 0) fail("%d of %d blocks were reclaimed", lost(), BLOCKS);
    if (leaking && collector != NULL && lost() < BLOCKS - 2)
      fail("%d of %d blocks were reclaimed", lost(), BLOCKS);
    collect_times(1); /* seen in between: the next moment counts anew */
    if (!leaking) {
      hide();
      collect_times(collections);
      reveal();
      CHECK(lost() == 0);
    }
    if (using) use_blocks();
  }
  puts("done");
  return 0;
}
