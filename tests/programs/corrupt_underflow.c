/* corrupt_underflow.c: the sixteen bytes before a block are written, where others keep its size.
 * See corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) {
  (void)block, (void)size;
  victim.damages = true;
}

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  memset(opaque(block) - 16, 'u', 16);
}
