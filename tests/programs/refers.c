/* refers.c: a program that is not position-independent and holds the addresses of malloc and free
   in its code. The linker gives it an entry for each, through which all others find it too;
   it is not the one that defines them. */
#include "program.h"

static void *(*volatile make)(size_t);
static void (*volatile drop)(void *);

int main(void) {
  make = malloc;
  drop = free;
  for (int i = 0; i < 300; i++) {
    for (int j = 0; j < 1000; j++) {
      char *block = make(100);
      CHECK(block != NULL);
      memset(block, j, 100);
      CHECK(block[j % 100] == (char)j);
      drop(block);
    }
    collect();
  }
  return 0;
}
