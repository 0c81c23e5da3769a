/* free_runs.c: see free_runs.h. */
#include "heap/free_runs.h"

#include "base/remedy.h"
#include "heap/page_heap.h"
#include "ports/port.h"

enum {
  EXACT_LISTS = 64,    /* list n holds runs of n pages, n < 64 */
  LISTS = 64 + 4 * 22, /* then four a doubling, up to 2^28 pages */
  LIST_WORDS = (LISTS + 63) / 64,
  MOST_LOOKS = 32, /* at runs of a list whose runs differ: good enough, and bounded */
};

enum kind { DIRTY, CLEAN, KINDS }; /* in the order in which they are handed out */

static struct {
  struct page *list[LISTS];
  uint64_t filled[LIST_WORDS]; /* lists that are not empty */
} kinds[KINDS];

#define counts page_heap_counts

static unsigned list_of(size_t pages) {
  if (pages < EXACT_LISTS) return (unsigned)pages;
  unsigned log = 63 - (unsigned)__builtin_clzll(pages); /* at least 6 */
  unsigned list = EXACT_LISTS + (log - 6) * 4 + ((pages >> (log - 2)) & 3);
  return list < LISTS ? list : LISTS - 1;
}

static enum kind kind_of(const struct page *run) {
  return run->dirty * 2ull >= run->run ? DIRTY : CLEAN;
}

static void set_ends(struct page *run, bool free) {
  struct page *last = run + run->run - 1;
  last->run = run->run;
  run->free = last->free = free;
}

static void enlist(struct page *run) {
  enum kind kind = kind_of(run);
  unsigned list = list_of(run->run);
  struct page **head = &kinds[kind].list[list];
  run->previous = NULL;
  run->next = *head;
  if (*head) (*head)->previous = run;
  *head = run;
  kinds[kind].filled[list / 64] |= 1ull << (list % 64);
  set_ends(run, true);
  atomic_set(&counts.dirty_free, counts.dirty_free + run->dirty);
}

void free_runs_remove(struct page *run) {
  enum kind kind = kind_of(run);
  unsigned list = list_of(run->run);
  if (run->previous) run->previous->next = run->next;
  else kinds[kind].list[list] = run->next;
  if (run->next) run->next->previous = run->previous;
  if (!kinds[kind].list[list]) kinds[kind].filled[list / 64] &= ~(1ull << (list % 64));
  run->next = run->previous = NULL;
  set_ends(run, false);
  atomic_set(&counts.dirty_free, counts.dirty_free - run->dirty);
}

void free_runs_add(struct page *run) {
  size_t first = page_index(run), end = first + run->run;
  if (end < heap.top && heap.pages[end].free) {
    struct page *behind = &heap.pages[end];
    free_runs_remove(behind);
    run->run += behind->run;
    run->dirty += behind->dirty;
  }
  if (heap.pages[first - 1].free) { /* page 0 is never free */
    struct page *before = &heap.pages[first - heap.pages[first - 1].run];
    free_runs_remove(before);
    before->run += run->run;
    before->dirty += run->dirty;
    run = before;
  }
  enlist(run);
}

void free_runs_split(struct page *run, size_t pages) {
  if (run->run == pages) return;
  struct page *rest = run + pages;
  rest->run = run->run - (uint32_t)pages;
  rest->dirty = free_runs_dirty_part(run, rest->run);
  run->dirty = free_runs_dirty_part(run, pages);
  run->run = (uint32_t)pages;
  rest[-1].free = 0;
  free_runs_add(rest);
}

/* The first list from this one on that holds anything, LISTS: none does. */
static unsigned filled_from(enum kind kind, unsigned list) {
  if (list >= LISTS) return LISTS;
  unsigned word = list / 64;
  uint64_t bits = kinds[kind].filled[word] & ~0ull << (list % 64);
  while (!bits) {
    if (++word == LIST_WORDS) return LISTS;
    bits = kinds[kind].filled[word];
  }
  return word * 64 + (unsigned)__builtin_ctzll(bits);
}

/* The shortest of a list that is long enough, of those the first in the heap. */
static struct page *best_of(struct page *run, size_t pages) {
  struct page *best = NULL;
  for (int looks = 0; run && looks < MOST_LOOKS; run = run->next, looks++) {
    if (run->run < pages) continue;
    if (!best || run->run < best->run || (run->run == best->run && run < best)) best = run;
  }
  return best;
}

struct page *free_runs_find(size_t pages) {
  for (enum kind kind = 0; kind < KINDS; kind++) {
    unsigned list = filled_from(kind, list_of(pages));
    for (; list < LISTS; list = filled_from(kind, list + 1)) {
      struct page *run = kinds[kind].list[list];
      if (list >= EXACT_LISTS) run = best_of(run, pages);
      if (run) return run;
    }
  }
  return NULL;
}

/* The kernel pages that lie wholly inside. All zero: nothing lives here. */
static void purge_inner(const void *begin, const void *end) {
  uintptr_t from = round_up((uintptr_t)begin, KERNEL_PAGE),
            to = (uintptr_t)end & ~(KERNEL_PAGE - 1ul);
  if (from < to) port_purge((void *)from, to - from);
}

static size_t purge_run(struct page *run) {
  uintptr_t address = page_address(run);
  size_t size = (size_t)run->run * HEAP_PAGE;
  if (!port_purge((void *)address, size)) return 0;
  size_t first = page_index(run), end = first + run->run;
  for (unsigned t = 0; t < STATE_TABLES; t++)
    purge_inner(heap.state[t] + (first * HEAP_PAGE >> state_shifts[t]),
                heap.state[t] + (end * HEAP_PAGE >> state_shifts[t]));
  if (heap.pads) purge_inner(heap.pads + first * PAGE_GRANULES, heap.pads + end * PAGE_GRANULES);
  purge_inner(heap.allocated[first], heap.allocated[end]);
  purge_inner(heap.marked[first], heap.marked[end]);
  for (size_t i = 0; i < run->run; i++) run[i].unwiped = 0;
  free_runs_remove(run);
  run->dirty = 0;
  enlist(run);
  return size;
}

size_t free_runs_purge(size_t keep) {
  size_t purged = 0;
  if (WITHOUT(give_back)) return 0;
  for (enum kind kind = 0; kind < KINDS; kind++)
    for (unsigned list = LISTS; list-- > 1 && counts.dirty_free > keep;)
      for (struct page *run = kinds[kind].list[list], *next; run && counts.dirty_free > keep;
           run = next) {
        next = run->next;
        if (run->dirty) purged += purge_run(run);
      }
  return purged;
}
