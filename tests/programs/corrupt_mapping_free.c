/* corrupt_mapping_free.c: memory is freed that the program mapped itself: new, used, shared,
 * closed, and gone. See corruption.h. */
#include "corruption.h"

#include <sys/mman.h>

enum { LENGTH = 65536 };

static char *map(int protection, int kind) {
  char *memory = mmap(NULL, LENGTH, protection, kind | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  int closed = PROT_NONE, open = PROT_READ | PROT_WRITE;
  char *gone = map(open, MAP_PRIVATE);
  CHECK(munmap(gone, LENGTH) == 0);
  free(opaque(gone) + 4096);
  free(opaque(map(open, MAP_PRIVATE)));
  free(opaque(map(open, MAP_PRIVATE)) + 4096);
  free(opaque(map(open, MAP_SHARED)) + 4096);
  free(opaque(map(closed, MAP_PRIVATE)) + 4096);
  char *used = map(open, MAP_PRIVATE);
  memset(used, 'm', LENGTH);
  free(opaque(used) + 4096);
  for (int i = 0; i < LENGTH; i++)
    if (used[i] != 'm') exploitable("a mapping was written to");
}
