/* settle.c: whether memory goes back to the kernel when a peak is over: memory alone.

   A program holds 20 MB, needs 100 MB more for a while, frees all of that and then does nothing
   for a second: no call of its own helps the allocator. What counts is what stays resident of the
   peak. Blocks of the base and of the peak have sizes of 16 bytes to 20 KB, small ones being the
   common ones; the base is made first, and again a part of it while the peak is there. */
#include "micro.h"

#include <unistd.h>

enum { BASE = 20000000, PEAK = 100000000, LEAST = 16, MOST = 20000, SECOND = 1000000 };

struct link {
  struct link *next;
  uint64_t size;
};

static struct { uint64_t state, live, sum; } heap = {.state = 1};

/* A list of blocks of that many bytes in all. */
static struct link *make(uint64_t bytes) {
  struct link *list = NULL;
  for (uint64_t done = 0; done < bytes;) {
    uint64_t size = random_skewed(&heap.state, LEAST, random_below(&heap.state, 4) ? 400 : MOST);
    struct link *link = get(size);
    memset(link, 1, size);
    link->next = list;
    link->size = size;
    list = link;
    done += size;
    heap.live += size;
  }
  return list;
}

static void drop(struct link *list) {
  while (list != NULL) {
    struct link *next = list->next;
    heap.sum = heap.sum * 31 + list->size;
    heap.live -= list->size;
    free(list);
    list = next;
  }
}

uint64_t run_settle(unsigned threads, unsigned percent) {
  (void)threads;
  struct link *base = make(share_of(BASE, percent, 1) * 3 / 4);
  show_step("base", heap.live);
  struct link *peak = make(share_of(PEAK, percent, 1));
  struct link *more = make(share_of(BASE, percent, 1) / 4);
  show_step("peak", heap.live);
  drop(peak);
  show_step("freed", heap.live);
  usleep(SECOND);
  show_step("second-later", heap.live);
  drop(base);
  drop(more);
  return heap.sum;
}
