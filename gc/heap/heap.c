/* heap.c: the reservation and its layout; see heap.h. */
#include "heap/heap.h"

#include <string.h>

#include "base/lock.h"
#include "base/option.h"
#include "base/remedy.h"
#include "ports/port.h"

struct heap heap __attribute__((aligned(64)));

enum {
  CHUNK_PAGES = 32,         /* 2 MiB, so that huge pages can back the heap */
  LARGEST_STEP_PAGES = 1024 /* one commit makes at most 64 MiB usable */
};
#define SMALLEST_HEAP (16 * MIB)

/* Working memory: mutators, mark stack, buffers for maps. Only touched pages cost anything. */
static size_t metadata_size(size_t heap_size) {
  return size_min(heap_size / 16, 64 * GIB) + 32 * MIB;
}

static struct {
  struct lock lock;
  uintptr_t metadata, metadata_end; /* bump allocation */
  struct heap_range ranges[HEAP_RANGES];
  size_t range_count;
} state;

/* The tables, each with its bytes for one heap page. The mark stack grows on its own account. */
enum {
  STATES, /* STATE_TABLES of them */
  ALLOCATED = STATE_TABLES,
  MARKED,
  PAGE_CLASS,
  PAGE_FIRST,
  DESCRIPTORS,
  PADS,
  COMMITTED_TABLES,
  MARK_STACK = COMMITTED_TABLES,
  FOUND, /* these by heap_commit_found */
  FLAGS = FOUND + FOUND_TABLES,
  TABLES = FLAGS + FOUND_TABLES
};
static size_t bytes_per_page[TABLES] = {
    [ALLOCATED] = PAGE_WORDS * 8,
    [MARKED] = PAGE_WORDS * 8,
    [PAGE_CLASS] = sizeof(uint8_t),
    [PAGE_FIRST] = sizeof(uint32_t),
    [DESCRIPTORS] = sizeof(struct page),
    [PADS] = 0, /* where there are any */
    [MARK_STACK] = HEAP_PAGE / 128,
    [FOUND... FLAGS - 1] = PAGE_WORDS * 8,
    [FLAGS... TABLES - 1] = sizeof(uint8_t),
};
static uintptr_t tables[TABLES];
_Static_assert(TABLES + 3 <= HEAP_RANGES, "each may be a range of its own, see cut");

static size_t table_size(unsigned table, size_t pages) {
  return round_up(pages * bytes_per_page[table], KERNEL_PAGE);
}

static bool reserve(size_t heap_size, size_t (*extra)(size_t heap_size)) {
  for (unsigned t = 0; t < STATE_TABLES; t++)
    bytes_per_page[STATES + t] = HEAP_PAGE >> state_shifts[t];
  bytes_per_page[PADS] = options.canary ? PAGE_GRANULES : 0;
  size_t pages = heap_size / HEAP_PAGE, whole = heap_size;
  for (unsigned t = 0; t < TABLES; t++) whole += table_size(t, pages) + KERNEL_PAGE;
  size_t metadata = metadata_size(heap_size) + (extra ? extra(heap_size) : 0);
  whole += metadata + KERNEL_PAGE;
  char *begin = port_reserve(round_up(whole, 2 * MIB), 2 * MIB);
  if (!begin) return false;
  state.ranges[0] =
      (struct heap_range){(uintptr_t)begin, (uintptr_t)begin + round_up(whole, 2 * MIB)};
  state.range_count = 1;
  uintptr_t at =
      (uintptr_t)begin + heap_size + KERNEL_PAGE; /* inaccessible pages part the tables */
  for (unsigned t = 0; t < TABLES; t++) {
    tables[t] = at;
    at += table_size(t, pages) + KERNEL_PAGE;
  }
  state.metadata = at;
  state.metadata_end = at + metadata;
  heap.base = (uintptr_t)begin;
  heap.size = heap_size;
  heap.page_limit = pages;
  for (unsigned t = 0; t < STATE_TABLES; t++) heap.state[t] = (uint8_t *)tables[STATES + t];
  heap.allocated = (void *)tables[ALLOCATED];
  heap.marked = (void *)tables[MARKED];
  heap.page_class = (uint8_t *)tables[PAGE_CLASS];
  heap.page_first = (uint32_t *)tables[PAGE_FIRST];
  heap.pages = (struct page *)tables[DESCRIPTORS];
  heap.pads = options.canary ? (uint8_t *)tables[PADS] : NULL;
  return true;
}

bool heap_init(size_t largest, size_t (*extra)(size_t heap_size)) {
  size_t size = largest, left = port_address_space_left();
  if (left != SIZE_MAX) { /* RLIMIT_AS: our tables, and the program's own mappings, need room too */
    size_t share = round_down(left / 8 * 5, 2 * MIB);
    size = size_max(size_min(size, share), SMALLEST_HEAP);
  }
  while (!reserve(size, extra)) {
    if (size <= SMALLEST_HEAP) return false;
    size = size_max(round_down(size / 2, 2 * MIB), SMALLEST_HEAP);
  }
  size_class_init();
  for (unsigned class = 0; class < CLASS_COUNT; class ++)
    size_classes[class].states = heap.state[size_classes[class].state_table];
  heap.committed_pages = 0;
  /* free() looks up the class of any address in the reservation: this table is readable whole. */
  if (!port_commit(heap.page_class, table_size(PAGE_CLASS, heap.page_limit)) || !heap_commit(1)) {
    heap_undo();
    return false;
  }
  heap.top = 1; /* page 0 stays unused */
  return true;
}

void heap_undo(void) {
  port_unreserve((void *)state.ranges[0].begin, heap_reserved());
  state.range_count = 0;
  heap.size = 0;
}

static bool commit_to(size_t pages) {
  size_t old = heap.committed_pages;
  for (unsigned t = 0; t < COMMITTED_TABLES; t++) {
    size_t from = table_size(t, old), to = table_size(t, pages);
    if (t != PAGE_CLASS && to > from && !port_commit((void *)(tables[t] + from), to - from))
      return false;
  }
  if (!port_commit((void *)(heap.base + old * HEAP_PAGE), (pages - old) * HEAP_PAGE)) return false;
  if (UNLIKELY(options.huge_pages))
    port_ask_for_huge_pages((void *)(heap.base + old * HEAP_PAGE), (pages - old) * HEAP_PAGE);
  atomic_set_release(&heap.committed_pages, pages);
  return true;
}

bool heap_commit(size_t pages) {
  if (pages <= heap.committed_pages) return true;
  if (pages > heap.page_limit) return false;
  size_t need = round_up(pages, CHUNK_PAGES);
  size_t step = round_up(heap.committed_pages / 8, CHUNK_PAGES);
  if (step > LARGEST_STEP_PAGES) step = LARGEST_STEP_PAGES;
  size_t wish = size_max(need, heap.committed_pages + step);
  if (wish > heap.page_limit) wish = heap.page_limit;
  if (commit_to(wish)) return true;
  return commit_to(size_min(need, heap.page_limit));
}

void *heap_mark_stack(size_t *size) {
  *size = table_size(MARK_STACK, heap.page_limit);
  return (void *)tables[MARK_STACK];
}

bool heap_commit_found(unsigned table, size_t pages, struct heap_found *found) {
  found->cells = (void *)tables[FOUND + table];
  found->flags = (uint8_t *)tables[FLAGS + table];
  return port_commit(found->cells, table_size(FOUND, pages)) &&
         port_commit(found->flags, table_size(FLAGS, pages));
}

void heap_populate_found(const struct heap_found *found, size_t pages) {
  port_populate(found->cells, table_size(FOUND, pages));
  port_populate(found->flags, table_size(FLAGS, pages));
}

/* Locked memory cannot be given back. */
static void make_zero(void *begin, size_t size) {
  if (!port_purge(begin, size) && !WITHOUT(locked_memory)) memset(begin, 0, size);
}

void heap_purge_found(const struct heap_found *found, size_t pages) {
  make_zero(found->cells, table_size(FOUND, pages));
  make_zero(found->flags, table_size(FLAGS, pages));
}

size_t heap_ranges(struct heap_range ranges[HEAP_RANGES]) {
  for (size_t i = 0; i < state.range_count; i++) ranges[i] = state.ranges[i];
  return state.range_count;
}

static size_t page_with_tables(void) {
  size_t bytes = HEAP_PAGE;
  for (unsigned t = 0; t < TABLES; t++) bytes += bytes_per_page[t];
  return bytes;
}

/* Each page uses one table of state bytes, the largest perhaps. */
size_t heap_pages_within(size_t bytes) {
  size_t page = page_with_tables();
  for (unsigned t = 1; t < STATE_TABLES; t++) page -= bytes_per_page[STATES + t];
  return bytes / page;
}

size_t heap_reserved(void) {
  size_t sum = 0;
  for (size_t i = 0; i < state.range_count; i++) sum += state.ranges[i].end - state.ranges[i].begin;
  return sum;
}

/* Cuts [from, to) out of the last range: what lies behind becomes the last. */
static void cut(uintptr_t from, uintptr_t to) {
  if (from >= to) return;
  struct heap_range *last = &state.ranges[state.range_count - 1];
  CHECK(state.range_count < HEAP_RANGES || to == last->end);
  if (to < last->end) state.ranges[state.range_count++] = (struct heap_range){to, last->end};
  last->end = from;
  port_unreserve((void *)from, to - from);
}

enum { METADATA_KEPT = 8 << 20 }; /* room for mutators of threads to come */

void heap_shrink(size_t budget) {
  if (state.range_count > 1) return; /* once: a second limit finds little left to give */
  size_t old = heap.page_limit;
  size_t pages = size_max(budget / page_with_tables(), heap.committed_pages);
  if (pages >= old) return;
  heap.size = pages * HEAP_PAGE;
  heap.page_limit = pages;
  cut(heap.base + pages * HEAP_PAGE, heap.base + old * HEAP_PAGE);
  for (unsigned t = 0; t < TABLES; t++)
    cut(tables[t] + table_size(t, pages), tables[t] + table_size(t, old));
  lock_acquire(&state.lock);
  uintptr_t kept = round_up(state.metadata, KERNEL_PAGE) + METADATA_KEPT;
  if (kept < state.metadata_end) {
    cut(kept, state.metadata_end);
    state.metadata_end = kept;
  }
  lock_release(&state.lock);
}

static void *take_metadata(size_t size, bool commit) {
  size = round_up(size, KERNEL_PAGE);
  lock_acquire(&state.lock);
  void *result = (void *)state.metadata;
  if (state.metadata_end - state.metadata < size || (commit && !port_commit(result, size)))
    result = NULL;
  else state.metadata += size;
  lock_release(&state.lock);
  return result;
}

void heap_metadata_lock(void) { lock_acquire(&state.lock); }
void heap_metadata_unlock(void) { lock_release(&state.lock); }

void *heap_metadata_reserve(size_t size) { return take_metadata(size, false); }
void *heap_metadata(size_t size) { return take_metadata(size, true); }
