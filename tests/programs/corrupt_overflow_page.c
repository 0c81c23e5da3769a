/* corrupt_overflow_page.c: the first byte behind the last page of a block is written. See
 * corruption.h. */
#include "corruption.h"

static void prepare(char *block, size_t size) {
  (void)block, (void)size;
  victim.damages = true;
}

static void corrupt(char *block, size_t size) {
  uintptr_t end = ((uintptr_t)block + size) / 4096 * 4096 + 4096;
  *opaque((char *)end) = 'o';
}
