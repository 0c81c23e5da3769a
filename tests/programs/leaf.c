/* leaf.c: blocks without pointers (reclaim_malloc_leaf). leaf lost|kept|resized|bad

   lost     what only leaves point to comes back, as it does where the block was made larger
   kept     leaves live, with their contents, as long as they are pointed to, and then come back
   resized  the same after realloc, in place and elsewhere
   bad      a leaf is freed once */
#include "reclaimed.h"

enum { LEAVES = 1000 };

static void *(*make_leaf)(size_t size);
static void **leaves[LEAVES];

static size_t size_of(int i) { return i % 100 == 0 ? 200000 : i % 10 == 0 ? 5000 : 40; }

NOINLINE static void fill(bool with_pointers, bool resize) {
  for (int i = 0; i < LEAVES; i++) {
    size_t size = size_of(i);
    leaves[i] = make_leaf(size);
    CHECK(leaves[i]);
    fill_pattern(leaves[i], size, (unsigned)i);
    if (resize) {
      leaves[i] = realloc(leaves[i], size * (1 + (size_t)i % 3));
      CHECK(leaves[i] && pattern_holds(leaves[i], size, (unsigned)i));
    }
    if (with_pointers) *leaves[i] = memset(malloc(10000), 1, 10000);
  }
}

static void expect_lost(bool resize) {
  size_t before = bytes_in_objects();
  fill(true, resize);
  wipe_stack();
  for (int i = 0; i < 3; i++) collect();
  size_t grown = bytes_in_objects() - before, own = 0;
  for (int i = 0; i < LEAVES; i++) own += malloc_usable_size(leaves[i]) + 1;
  CHECK(!collector || grown < own + 10000 * LEAVES / 50);
}

static void expect_kept(void) {
  size_t before = bytes_in_objects();
  fill(false, false);
  for (int i = 0; i < 3; i++) collect();
  for (int i = 0; i < LEAVES; i++) CHECK(pattern_holds(leaves[i], size_of(i), (unsigned)i));
  size_t all = bytes_in_objects();
  for (int i = 0; i < LEAVES; i += 2) free(leaves[i]);
  memset(leaves, 0, sizeof leaves);
  wipe_stack();
  for (int i = 0; i < 3; i++) collect();
  CHECK(!collector ||
        bytes_in_objects() < before + (all - before) / 5); /* a word may keep a large one */
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  make_leaf = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "reclaim_malloc_leaf");
  CHECK(!collector || make_leaf);
  if (!make_leaf) make_leaf = malloc;
  const char *what = arguments[1];
  if (strcmp(what, "lost") == 0) {
    expect_lost(false);
  } else if (strcmp(what, "kept") == 0) {
    expect_kept();
  } else if (strcmp(what, "resized") == 0) {
    expect_lost(true);
  } else {
    void *volatile leaf = make_leaf(100);
    free(leaf);
    if (collector) free(leaf);
    void *one = make_leaf(100), *two = make_leaf(100);
    CHECK(one != two);
  }
  puts("ran on");
  return 0;
}
