/* operations.h: bytes as a program that lives on the malloc family. The first byte says how many
   threads share the rest, each a piece of it; every four bytes from there are one operation.
   What an input leaves behind it frees or drops at its end. */
#ifndef TESTS_FUZZ_OPERATIONS_H
#define TESTS_FUZZ_OPERATIONS_H

#include <stddef.h>
#include <stdint.h>

struct counts {
  uint64_t operations;
  uint64_t dropped; /* blocks that the program lost, for the collector to find */
  uint64_t kept;    /* blocks that were freed and kept nevertheless */
};

void operations_init(void);
void operations_run(const unsigned char *bytes, size_t size);
/* Of all inputs so far. */
struct counts operations_counts(void);
/* Which thread is at which operation, for whoever ends the program. Async-signal-safe. */
size_t operations_where(char *text, size_t size);

#endif
