/* hidden.c: hides a pointer where no collector can find it, lets collections pass and then uses the
   block. hidden free|realloc|usable|write: what a condemn oracle must report. */
#include "program.h"

static uintptr_t hidden;

NOINLINE static void hide_block(size_t size) {
  void *block = malloc(size);
  CHECK(block != NULL);
  memset(block, 0x44, size);
  hidden = ~(uintptr_t)block;
}

enum { BLOCKS = 9 }; /* one of them tends to stay visible on the stack */

int main(int count, char **arguments) {
  CHECK(count == 2);
  const char *use = arguments[1];
  bool writes = strcmp(use, "write") == 0; /* seen by the next collection, without a call */
  uintptr_t all[BLOCKS];
  for (int i = 0; i < BLOCKS; i++) {
    hide_block(writes ? 400000 : 1000);
    all[i] = hidden;
  }
  for (int i = 0; i < 4; i++) {
    wipe_stack();
    collect();
  }
  for (int i = 0; i < BLOCKS; i++) {
    unsigned char *block = (unsigned char *)~all[i];
    if (strcmp(use, "free") == 0) free(block);
    if (strcmp(use, "realloc") == 0) CHECK(realloc(block, 5000) != NULL);
    if (strcmp(use, "usable") == 0) CHECK(malloc_usable_size(block) >= 1000);
    if (writes) block[200000] = 1;
  }
  collect();
  puts("used");
  return 0;
}
