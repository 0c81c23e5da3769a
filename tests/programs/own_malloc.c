/* own_malloc.c: a program that brings a whole malloc family, as one with jemalloc or tcmalloc
   linked in. Its definitions come before those of any preloaded library. */
#include "own_malloc.h"

void *malloc(size_t size) { return own_make(16, size); }
void free(void *block) { own_free(block); }
void *calloc(size_t count, size_t size) { return own_make(16, count * size); } /* fresh: zero */
void *realloc(void *block, size_t size) { return own_resize(block, size); }
void *memalign(size_t alignment, size_t size) { return own_make(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return own_make(alignment, size); }
void *valloc(size_t size) { return own_make(4096, size); }
void *pvalloc(size_t size) { return own_make(4096, (size + 4095) & ~(size_t)4095); }
size_t malloc_usable_size(void *block) { return block == NULL ? 0 : own_size(block); }

int posix_memalign(void **result, size_t alignment, size_t size) {
  *result = own_make(alignment, size);
  return *result == NULL ? ENOMEM : 0;
}

int main(void) {
  own_program();
  return 0;
}
