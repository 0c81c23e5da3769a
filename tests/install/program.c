/* program.c: built by installcheck the way a user would, with the flags of pkg-config. Leaks far
   more than it may keep and looks whether its memory stayed bounded. */
#include <reclaim.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  size_t leaked = 0;
  while (leaked < (size_t)2 << 30) {
    void *volatile block = malloc(4000);
    if (block == NULL) return 1;
    memset(block, 1, 4000);
    leaked += 4000;
  }
  reclaim_collect();

  struct reclaim_stats stats;
  FILE *statm = fopen("/proc/self/statm", "r");
  unsigned long pages, resident;
  if (statm == NULL || fscanf(statm, "%lu %lu", &pages, &resident) != 2) return 1;
  if (reclaim_stats(&stats, sizeof stats) != 0) return 1;
  printf("leaked %zu MiB, %lu MiB resident after %llu collections\n", leaked >> 20, resident >> 8,
         (unsigned long long)stats.cycles);
  return stats.cycles == 0 || resident > 256UL << 8;
}
