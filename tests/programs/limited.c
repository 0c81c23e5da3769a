/* limited.c: keeps so much and leaks the more. limited LIVE_MIB LEAKED_MIB small|large|mixed

   A table of blocks is filled up to LIVE_MIB; then random entries are replaced, and of those that
   go three in four are forgotten and one is freed, until LEAKED_MIB are forgotten. Contents are
   verified as they go. Prints by how many KiB the resident set at its highest was above what it
   was at the start. */
#include "program.h"

#include <sys/resource.h>

enum { LARGEST = 512 << 10 };
struct block {
  uint32_t size, seed;
};
static struct block **blocks;
static size_t capacity, count;

static size_t size_for(const char *mix, uint64_t r) {
  bool large = mix[0] == 'l' || (mix[0] == 'm' && r % 256 == 0);
  r >>= 8;
  return large ? (40 << 10) + r % LARGEST : sizeof(struct block) + r % 1000;
}

NOINLINE static struct block *make(size_t size, uint32_t seed) {
  struct block *block = malloc(size);
  CHECK(block != NULL);
  memset(block, (int)(seed & 0x7f), size);
  *block = (struct block){(uint32_t)size, seed};
  return block;
}

static void verify(const struct block *block) {
  const char *bytes = (const char *)block;
  if (block->size > sizeof *block) CHECK(bytes[block->size - 1] == (char)(block->seed & 0x7f));
}

static long peak_kib(void) {
  struct rusage usage;
  CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
  return usage.ru_maxrss;
}

int main(int n, char **arguments) {
  CHECK(n == 4);
  size_t live = strtoul(arguments[1], NULL, 10) << 20, leak = strtoul(arguments[2], NULL, 10) << 20;
  uint64_t random = 12345;
  capacity = (live >> 9) + 1;
  long before = resident_kib();
  blocks = calloc(capacity, sizeof *blocks);
  CHECK(blocks != NULL);
  uint32_t seed = 0;
  size_t kept = capacity * sizeof *blocks;
  while (kept < live && count < capacity) {
    size_t size = size_for(arguments[3], next_random(&random));
    blocks[count++] = make(size, seed++);
    kept += size;
  }
  for (size_t leaked = 0; leaked < leak;) {
    uint64_t r = next_random(&random);
    struct block **place = &blocks[(r >> 32) % count], *old = *place;
    verify(old);
    size_t size = size_for(arguments[3], next_random(&random));
    if (kept + size > live + old->size) size = sizeof *old + size % 64;
    kept = kept - old->size + size;
    *place = NULL;
    if (r % 4 == 0) free(old);
    else leaked += old->size;
    *place = make(size, seed++);
  }
  for (size_t i = 0; i < count; i++) verify(blocks[i]);
  printf("%ld KiB\n", peak_kib() - before);
  return 0;
}
