/* corrupt_reused_free.c: a block is freed once more when its memory may be another's already. See
 * corruption.h. */
#include "corruption.h"

enum { COUNT = 3 };
static char *later[COUNT];

static void prepare(char *block, size_t size) {
  (void)block, (void)size;
  free(block);
  victim.given_up = true;
  for (int i = 0; i < COUNT; i++) fill_pattern(later[i] = malloc(size), size, 7);
}

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  free(opaque(block));
  for (int i = 0; i < COUNT; i++) {
    char *newer = malloc(size);
    for (int k = 0; k < COUNT; k++)
      if (newer == later[k]) exploitable("a block in use was handed out");
    fill_pattern(newer, size, 8);
  }
  for (int i = 0; i < COUNT; i++)
    if (!pattern_holds(later[i], size, 7)) exploitable("a block lost its contents");
}
