/* corrupt_static_free.c: variables, a literal and code of the program are freed. See corruption.h.
 */
#include "corruption.h"

static _Alignas(16) char variable[64] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", zeros[64];
int main(int count, char **arguments);

static void prepare(char *block, size_t size) { (void)block, (void)size; }

static void corrupt(char *block, size_t size) {
  (void)block, (void)size;
  free(opaque(variable) + 16);
  free(opaque(zeros) + 16);
  free(opaque((void *)(uintptr_t) "a literal that is long enough"));
  free(opaque((void *)main));
  if (variable[0] != 'x' || zeros[0] != 0) exploitable("a variable was written to");
}
