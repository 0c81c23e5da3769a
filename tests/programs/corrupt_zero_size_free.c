/* corrupt_zero_size_free.c: blocks of no bytes are freed twice, resized, and freed once more. See
 * corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block;
  char *one = malloc(0), *two = calloc(0, size), *three = realloc(NULL, 0);
  CHECK(one != NULL && two != NULL && three != NULL);
  if (one == two || two == three || one == three) exploitable("one block was handed out twice");
  free(one);
  char *moved = realloc(two, size);
  CHECK(moved != NULL);
  memset(moved, 'm', size);
  if (realloc(opaque(three), 0) != NULL) exploitable("a block of no bytes was resized to none");
  free(opaque(one));
  free(moved);
  free(opaque(three));
}
