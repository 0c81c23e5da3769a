/* part_malloc.c: a program that brings only the four functions which libc itself calls. The rest of
   the family comes from whoever is next: what it makes must not meet the program's free. */
#include "own_malloc.h"

void *malloc(size_t size) { return own_make(16, size); }
void free(void *block) { own_free(block); }
void *calloc(size_t count, size_t size) { return own_make(16, count * size); } /* fresh: zero */
void *realloc(void *block, size_t size) { return own_resize(block, size); }

int main(void) {
  own_program();
  return 0;
}
