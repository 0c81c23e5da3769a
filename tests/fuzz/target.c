/* target.c: the entry that libFuzzer calls. The fuzzer is one more program that lives on our
   malloc: it is linked with a library that counts which of its code runs. See fuzz.test. */
#include "operations.h"

#include <stdlib.h>

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerInitialize(int *count, char ***arguments) {
  (void)count, (void)arguments;
  operations_init();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  operations_run(bytes, size);
  return 0;
}
