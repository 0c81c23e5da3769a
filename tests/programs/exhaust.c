/* exhaust.c: under a limited address space. exhaust leak: allocates many times the limit and
   drops it, which must not fail. exhaust keep: keeps all, until malloc must return NULL with
   ENOMEM; then frees and goes on. */
#include "program.h"

int main(int count, char **arguments) {
  CHECK(count == 2);
  if (strcmp(arguments[1], "leak") == 0) {
    for (int i = 0; i < 4096; i++) {
      char *block = malloc(1 << 20);
      if (block == NULL) fail("malloc failed after %d MiB were dropped", i);
      memset(block, 1, 1 << 20);
    }
    puts("4096 MiB dropped");
    return 0;
  }
  for (int turn = 0; turn < 3; turn++) {
    void **list = NULL, **block;
    size_t blocks = 0;
    errno = 0;
    while ((block = malloc(100000)) != NULL) {
      memset(block, (int)(blocks & 0x7f), 100000);
      *block = list;
      list = block;
      blocks++;
      CHECK(blocks < 10000);
    }
    CHECK(errno == ENOMEM);
    CHECK(blocks > 1000); /* of some 5000 that 512 MiB can hold */
    while (list != NULL) {
      void **next = *list;
      blocks--;
      CHECK(((char *)list)[99999] == (char)(blocks & 0x7f));
      free(list);
      list = next;
    }
  }
  void *small = malloc(100), *large = malloc(100 << 20);
  CHECK(small != NULL && large != NULL);
  puts("NULL and ENOMEM, then well again");
  return 0;
}
