/* static.c: linked statically, so that nothing can be preloaded into it. It has to say so itself:
   the usual lines of a program that allocates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  char *text = malloc(100000);
  if (text == NULL) return 1;
  memset(text, 'x', 99999);
  text[99999] = '\0';
  size_t length = strlen(text);
  free(text);
  printf("whole, %zu\n", length);
  return 0;
}
