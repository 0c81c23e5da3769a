/* pace.c: see pace.h. */
#include "collect/pace.h"

#include "base/option.h"
#include "base/remedy.h"
#include "mutator/pages.h"

enum { LEAST_STEP = 32 << 20, IDLE_STEP = 1 << 20, LARGEST_BACK_OFF = 3, EMPTIED_PARTS = 50 };

struct pace pace = {.due_pages = SIZE_MAX,
                    .overdue_pages = SIZE_MAX,
                    .attention_pages = SIZE_MAX,
                    .limit_pages = SIZE_MAX};

/* `step`: bytes to grow by before the next cycle, from so many heap pages; `least`: the same where
   the limit is near. */
static void set(size_t step, size_t least, size_t from) {
  size_t filled = page_heap_filled(), used = page_heap_used();
  size_t grown = step / HEAP_PAGE, limit = SIZE_MAX;
  if (options.limit) { /* leave a quarter of what room is left */
    size_t most = options.limit / HEAP_PAGE, room = most > used ? most - used : 0;
    limit = used + size_min(size_max(room / 4 * 3, least / HEAP_PAGE), grown);
  }
  atomic_set(&pace.limit_pages, limit);
  size_t due = size_max(from + grown, filled + grown / 4);
  atomic_set(&pace.due_pages, due);
  atomic_set(&pace.overdue_pages, due + grown / 4);
  atomic_set(&pace.attention_pages, filled + IDLE_STEP / HEAP_PAGE);
}

void pace_init(void) {
  pace.fruitless = 0;
  set(LEAST_STEP, MIB, page_heap_filled());
}

void pace_done(size_t left, size_t live, size_t reclaimed, size_t suspect, uint64_t now) {
  if (reclaimed + suspect >= live / 100 + 64 * KIB || WITHOUT(back_off)) pace.fruitless = 0;
  else if (pace.fruitless < LARGEST_BACK_OFF) pace.fruitless++;
  size_t step = size_max(live / 100 * options.growth, LEAST_STEP);
  size_t most = size_max(live, LEAST_STEP << LARGEST_BACK_OFF);
  step = size_max(step, size_min(step << pace.fruitless, most));
  /* Suspects are likely garbage: what they hold is taken off what the heap may grow by, so that
     confirmation costs collections rather than memory, four times as many at most. */
  set(size_max(step - size_min(step, suspect), step / 4),
      size_max(live / 16, MIB) << pace.fruitless, left);
  if (suspect >= IDLE_STEP) atomic_set(&pace.attention_pages, page_heap_filled());
  pace.last = now;
}

void pace_skipped(uint64_t now) {
  set(LEAST_STEP / 4, MIB, page_heap_filled());
  pace.last = now;
}

bool pace_idle_due(uint64_t now) {
  if (!options.idle) return false;
  uint64_t idle = now - pace.last;
  if (pace_attention_due() && idle >= (uint64_t)options.idle * 1000000000u) return true;
  if (!atomic_get(&mutator_pages_emptied)) return false;
  uint64_t parts = idle / EMPTIED_PARTS, pages = page_heap_filled();
  return parts >= pace.took || parts * pace.took_pages >= pace.took * pages;
}
