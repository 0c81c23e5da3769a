/* bad_free.c: frees what must not be freed. bad_free double|interior|misaligned|stack|static|large

   Says "ran on" if the library let it live, and then that the allocator still works: no block may
   come twice, which is what a double free leads to. */
#include "program.h"

#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"
#pragma GCC diagnostic ignored "-Wuse-after-free"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

static char in_data[64];

int main(int count, char **arguments) {
  char on_stack[64];
  CHECK(count == 2);
  const char *kind = arguments[1];
  char *volatile block = malloc(strcmp(kind, "large") == 0 ? 3000000 : 100);
  char *volatile bad = strcmp(kind, "interior") == 0     ? block + 48
                       : strcmp(kind, "misaligned") == 0 ? block + 3
                       : strcmp(kind, "stack") == 0      ? on_stack + 16
                       : strcmp(kind, "static") == 0     ? in_data + 16
                                                         : block;
  memset(block, 'x', 100);
  if (bad == block) free(block);
  free(bad);
  if (bad != block) CHECK(block[0] == 'x' && block[99] == 'x');
  static char *blocks[2000];
  for (int i = 0; i < 2000; i++) {
    blocks[i] = malloc(100);
    fill_pattern(blocks[i], 100, (unsigned)i);
  }
  for (int i = 0; i < 2000; i++) CHECK(pattern_holds(blocks[i], 100, (unsigned)i));
  puts("ran on");
  return 0;
}
