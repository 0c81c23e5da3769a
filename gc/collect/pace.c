/* pace.c: see pace.h. */
#include "collect/pace.h"

#include "base/option.h"

enum { LEAST_STEP = 32 << 20, IDLE_STEP = 1 << 20, LARGEST_BACK_OFF = 3 };

struct pace pace = {.due_pages = SIZE_MAX, .overdue_pages = SIZE_MAX, .attention_pages = SIZE_MAX};

static void set(size_t step) {
  size_t used = page_heap_counts.used;
  pace.base_pages = used;
  size_t due = used + step / HEAP_PAGE;
  if (options.limit) { /* near the limit: leave a quarter of what room is left, at least a page */
    size_t limit = options.limit / HEAP_PAGE;
    size_t room = limit > used ? limit - used : 0;
    due = size_min(due, used + size_max(room * 3 / 4, 16));
  }
  atomic_set(&pace.due_pages, due);
  atomic_set(&pace.overdue_pages, due + (due - used) / 4);
  atomic_set(&pace.attention_pages, used + IDLE_STEP / HEAP_PAGE);
}

void pace_init(void) {
  pace.fruitless = 0;
  set(LEAST_STEP);
}

void pace_done(size_t live, size_t reclaimed, uint64_t now) {
  if (reclaimed >= live / 100 + 64 * KIB) pace.fruitless = 0;
  else if (pace.fruitless < LARGEST_BACK_OFF) pace.fruitless++;
  size_t step = size_max(live / 100 * options.growth, LEAST_STEP);
  set(step << pace.fruitless);
  pace.last = now;
}

void pace_skipped(uint64_t now) {
  set(LEAST_STEP / 4);
  pace.last = now;
}

bool pace_idle_due(uint64_t now) {
  return options.idle && page_heap_counts.used >= pace.attention_pages &&
         now - pace.last >= (uint64_t)options.idle * 1000000000u;
}
