/* mark.c: see mark.h. */
#include "collect/marker.h"
#include "heap/page_heap.h"

struct marker markers[WORKERS_MOST] __attribute__((aligned(LINE)));
struct marking marking = {.parts = 1};

enum {
  GIFT = 64, /* objects of flagged pages, for a marker that has nothing */
  STACK_STEP = 1 << 20,
  FREED_PART = 4096, /* bytes of what was freed; a list's next is sooner to be found */
  LARGE_RANGES = 1024,
  LARGE_COPY = 16384
};

static bool make_ready(struct marker *marker) {
  struct port_maps *large = &marker->large;
  if (!large->ranges) {
    large->ranges = heap_metadata(LARGE_RANGES * sizeof *large->ranges);
    large->range_capacity = LARGE_RANGES;
  }
  if (!large->copy) {
    large->copy = heap_metadata(LARGE_COPY);
    large->copy_size = LARGE_COPY;
  }
  return large->ranges && large->copy;
}

bool mark_init(void) {
  size_t size;
  marking.stack = heap_mark_stack(&size);
  return make_ready(&markers[0]);
}

void mark_prepare(unsigned count) {
  marking.ready = workers_prepare(count ? count - 1 : 0);
  for (unsigned i = 0; i < marking.ready; i++)
    if (!make_ready(&markers[i + 1])) marking.ready = i;
  if (marking.ready >= marking.parts) marking.parts = marking.ready + 1;
}

void mark_by_pages(bool wish) {
  if (marking.stale) mark_release();
  marking.wish_pages = wish;
  if (wish) marker_order_prepare();
  else if (marking.ready == 1) marker_pair_prepare();
}

void mark_limit_stack(size_t objects) { marking.test_limit = objects; }

void mark_demangle(void) { atomic_set(&marking.demangle, true); }

/* Where each marker's part of the mark stack lies. They move when there are more of them, or when
   the heap was shrunk. */
static void share_stack(void) {
  size_t size;
  heap_mark_stack(&size);
  size_t part = round_down(size / marking.parts, KERNEL_PAGE) / sizeof *marking.stack;
  for (unsigned i = 0; i < marking.parts; i++) {
    struct marker *w = &markers[i];
    if (part != marking.part) w->committed = 0;
    w->stack = marking.stack + i * part;
    w->limit = part;
  }
  marking.part = part;
}

static void begin_marker(struct marker *w, const struct port_maps *maps) {
  w->bottom = w->depth = 0;
  w->waiting = w->asked = 0;
  w->object_head = w->object_tail = 0;
  w->failed = false;
  for (unsigned class = 0; class < CLASSES; class ++) w->marks[class] = heap.marked;
  memset(&w->order, 0, sizeof w->order);
  w->other = 0;
  if (marking.by_pages) marker_order_join(w);
  if (marking.pair) marker_pair_join(w);
  w->far = 0;
  memset(w->reached, 0, sizeof w->reached);
  memset(&w->counts, 0, sizeof w->counts);
  w->large.memory = -1;
  if (maps) {
    w->large.baseline = maps->baseline;
    w->large.pagemap = maps->pagemap;
    w->large.scan_works = maps->scan_works;
    w->large.swapped = maps->swapped;
  } else { /* unit tests: no filter */
    w->large.pagemap = -1;
    w->large.scan_works = false;
    w->large.swapped = true;
  }
}

COLD bool marker_grow_stack(struct marker *w) {
  if (w->bottom) { /* what was given away has left room below */
    memmove(w->stack, w->stack + w->bottom, (w->depth - w->bottom) * sizeof *w->stack);
    w->depth -= w->bottom;
    w->bottom = 0;
    return true;
  }
  size_t limit = marking.test_limit ? size_min(marking.test_limit, w->limit) : w->limit;
  size_t wish = size_min(w->committed + STACK_STEP / sizeof *w->stack, limit);
  if (wish <= w->committed ||
      !port_commit((char *)w->stack + w->committed * sizeof *w->stack,
                   round_up((wish - w->committed) * sizeof *w->stack, KERNEL_PAGE)))
    return false;
  w->committed = wish;
  return true;
}

static void help(unsigned number);

void mark_begin(const struct mark_words *words, struct port_maps *maps) {
  if (marking.stale) mark_release();
  marking.first = heap.base + FIRST_OFFSET;
  marking.span = (atomic_get_acquire(&heap.top) - 1) * HEAP_PAGE + 1;
  marking.halves = port_halves(marking.first, marking.first + marking.span);
  marking.overflow = marking.live = marking.leaves = false;
  marking.protected_count = maps ? maps->protected_count : 0;
  if (maps) marking.protected = maps->protected;
  marking.careful = marking.protected_count || atomic_get(&page_heap_mapped_over);
  marker_choose_scan(words);
  share_stack();
  unsigned helpers = 0;
  marking.by_pages = marking.wish_pages && marker_order_begin(heap.top);
  marking.flagging = marking.by_pages;
  if (marking.protected_count) marking.ready = 0; /* they are read by one at a time */
  marking.pair = marking.ready == 1 && !marking.by_pages && marker_pair_begin(heap.top);
  for (unsigned i = 0; i <= marking.ready; i++) {
    begin_marker(&markers[i], maps);
    /* Each needs room for gifts. */
    if (marking.ready && !markers[i].committed && !marker_grow_stack(&markers[i])) break;
    helpers = i;
  }
  marking.helpers = helpers; /* which the first of them already see */
  if (helpers) marking.helpers = workers_begin(helpers, help);
}

/* A marked object that did not fit on the stack: its page is looked through again. */
COLD void marker_overflow(struct marker *w, object object) {
  atomic_set(&object_page(object)->rescan, 1);
  if (!WITHOUT(mark_overflow)) atomic_set(&marking.overflow, true);
  w->counts.overflows++;
}

/* Gives half of what waits on the stack to those who have nothing, the oldest, which most hangs on.
 */
static COLD void give(struct marker *w) {
  if (workers_over()) { /* the marking is given up: forget it all */
    w->bottom = w->depth = 0;
    w->object_head = w->object_tail;
    w->waiting = w->asked = 0;
    w->order.on = false;
    w->order.bits = 0;
    return;
  }
  object next;
  if (w->order.on)
    while (w->depth - w->bottom < GIFT && take(w, &next))
      if (!push(w, next)) marker_overflow(w, next);
  size_t waiting = w->depth - w->bottom;
  if (waiting < 2) return;
  w->bottom += workers_give(w->stack + w->bottom, waiting / 2);
}
static inline void share(struct marker *w) {
  if (workers_wanted()) give(w);
}

void mark_range(uintptr_t begin, uintptr_t end) {
  begin = round_up(begin, marking.words.stride);
  if (begin < end) marker_scan(&markers[0], begin, end);
  share(&markers[0]);
}

void mark_code(uintptr_t begin, uintptr_t end) {
  for (uintptr_t at = begin; at < begin + marking.words.stride && at < end; at++)
    marker_scan(&markers[0], at, end);
  share(&markers[0]);
}

void mark_word(uintptr_t word) { consider(&markers[0], word); }

void mark_freed(uintptr_t word) {
  struct cell cell;
  if (LIKELY(word - marking.first >= marking.span)) return;
  /* Where a block began and ended whose pages went back is not known any more, and what lies behind
     may be another's, and closed. */
  uintptr_t begin = round_up(word, sizeof(uintptr_t));
  uintptr_t end = round_down(word, KERNEL_PAGE) + KERNEL_PAGE;
  if (cell_of(word, &cell)) {
    if (!state_is_none(atomic_get(cell.state))) return;
    if (cell.page->hints & HINT_MAPPED) return; /* unmapped, perhaps */
    begin = cell.address;
    end = begin + size_min(cell.page->size, FREED_PART);
  }
  marker_scan_part(&markers[0], begin, end - begin);
}

/* Found again: its count starts anew. Compared, since a state byte belongs to the program. */
static COLD void clear_suspicion(object object, uint8_t state) {
  __atomic_compare_exchange_n(object_state(object), &state, state & ~STATE_SUSPECT_MASK, false,
                              __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* Whatever is no live object in a small cell. */
static NOINLINE void scan_other(struct marker *w, object object) {
  unsigned class = object_class(object);
  uintptr_t address = object_address(object);
  if (class == CLASS_PIECE || class == CLASS_SLICE) {
    marker_scan_portion(w, object);
    return;
  }
  if (class == CLASS_SPAN) {
    marker_scan_span(w, object);
    return;
  }
  uint8_t state = *object_state(object);
  if (state_is_none(state)) return; /* waits in a buffer, or is being made */
  bool leaf = state_is_leaf(state);
  if ((state & STATE_LIVE) && state_suspected(state)) clear_suspicion(object, state);
  w->reached[class]++;
  if (class == CLASS_LARGE) w->counts.bytes += object_page(object)->size;
  if (leaf) return;
  if (class == CLASS_LARGE) marker_scan_large(w, object);
  else if (marking.shapes[class].small) scan_small(w, address, &marking.shapes[class]);
  else if (marking.careful) marker_scan_part(w, address, size_classes[class].size);
  else marker_scan(w, address, address + size_classes[class].size);
}

static inline __attribute__((always_inline)) void scan_object(struct marker *w, object object) {
  unsigned class = object_class(object);
  const struct shape *shape = &marking.shapes[class];
  if (LIKELY(shape->small && *object_state(object) == STATE_LIVE)) {
    w->reached[class]++;
    scan_small(w, object_address(object), shape);
  } else {
    scan_other(w, object);
  }
}

/* Fetches what will be read of an object: all of a small one, the beginning of others. Inlined by
   force: gcc 12 takes a function that only prefetches for one without effects, and drops the call.
 */
static inline __attribute__((always_inline)) void fetch(object object) {
  const char *address = (const char *)object_address(object);
  __builtin_prefetch(address);
  __builtin_prefetch(address + marking.shapes[object_class(object)].far);
  __builtin_prefetch(object_state(object));
}

/* False: there is nothing left, of one's own or of others. */
static bool find_work(struct marker *w) {
  if (!marking.helpers) return false;
  w->bottom = 0;
  w->depth = workers_take(w->stack, w->committed, (unsigned)(w - markers));
  return w->depth != 0;
}

static void drain(struct marker *w) {
  for (;;) {
    share(w);
    object next;
    if (LIKELY(w->depth != w->bottom)) {
      next = w->stack[--w->depth];
      if (!(w->object_tail % NOTED) && is_ordered(next)) note_page(w, page_of_granule(next >> 8));
      fetch(next);
      w->objects[w->object_tail++ & (RING - 1)] = next;
      if (w->object_tail - w->object_head <= OBJECTS_AHEAD) continue;
    } else if (w->order.on && take(w, &next)) {
      fetch(next);
      w->objects[w->object_tail++ & (RING - 1)] = next;
      if (w->object_tail - w->object_head <= OBJECTS_AHEAD) continue;
    }
    if (LIKELY(w->object_head != w->object_tail)) {
      next = w->objects[w->object_head++ & (RING - 1)];
    } else if (w->waiting | w->asked) {
      if (!marker_consider_rest(w, &next)) continue;
    } else if (find_work(w)) {
      continue;
    } else {
      return;
    }
    scan_object(w, next);
  }
}

static void help(unsigned number) { drain(&markers[number]); }

NOINLINE void marker_scan_object(struct marker *w, object object) { scan_object(w, object); }

/* Objects that were marked when the stack was full: scan every marked object of their pages. */
static void rescan_page(struct page *page) {
  page->rescan = 0;
  if (marking.pair) marker_pair_merge(page);
  for (unsigned i = 0; i < page->words; i++)
    for (uint64_t bits = page_marked(page)[i]; bits; bits &= bits - 1) {
      uint32_t index = i * 64 + (uint32_t)__builtin_ctzll(bits);
      if (index >= page->cells) break;
      marker_scan_object(&markers[0], object_at(page, page_address(page) + index * page->size));
      drain(&markers[0]);
    }
}

bool mark_drain(void) {
  drain(&markers[0]);
  while (atomic_get(&marking.overflow)) {
    atomic_set(&marking.overflow, false);
    size_t top = heap.top;
    for (size_t i = 1; i < top; i++)
      if (heap.pages[i].rescan) rescan_page(&heap.pages[i]);
  }
  if (marking.pair) marker_pair_merge_all();
  bool failed = false;
  for (unsigned i = 0; i <= marking.helpers; i++) failed |= markers[i].failed;
  return !failed;
}

/* Pages were scanned twice: only the mark bits know how many objects there are. */
static void recount(struct mark_counts *counts) {
  counts->objects = counts->bytes = 0;
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++) {
    struct page *page = &heap.pages[i];
    if (!page_begins(page)) continue;
    for (unsigned word = 0; word < page->words; word++)
      for (uint64_t bits = page_marked(page)[word]; bits; bits &= bits - 1) {
        uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
        if (index >= page->cells ||
            state_is_none(*state_at(page_address(page) + index * page->size)))
          continue;
        counts->objects++;
        counts->bytes += page->size;
      }
  }
}

static void end_marker(struct marker *w, struct mark_counts *counts) {
  if (w->large.memory >= 0) port_close(w->large.memory);
  w->large.memory = -1;
  for (unsigned class = 0; class < CLASS_COUNT; class ++) {
    counts->objects += w->reached[class];
    counts->bytes += w->reached[class] * size_classes[class].size;
  }
  counts->bytes += w->counts.bytes;
  counts->overflows += w->counts.overflows;
}

struct mark_counts mark_end(void) {
  struct mark_counts counts = {0};
  workers_end();
  marking.stale = true;
  for (unsigned i = 0; i <= marking.helpers; i++) {
    end_marker(&markers[i], &counts);
    counts.far += markers[i].far;
    counts.noted += markers[i].order.noted;
    counts.visits += markers[i].order.visits;
    counts.rounds += markers[i].order.rounds;
    counts.taken += markers[i].order.taken_before + markers[i].order.taken;
    for (unsigned class = 1; class <= ORDERED_CLASSES; class ++)
      counts.small += markers[i].reached[class];
  }
  counts.by_pages = marking.by_pages;
  counts.markers = marking.helpers + 1;
  if (counts.overflows) recount(&counts);
  return counts;
}

void mark_release(void) {
  marking.stale = false;
  size_t keep = STACK_STEP / sizeof *marking.stack;
  for (unsigned i = 0; i < marking.parts; i++) {
    const struct marker *w = &markers[i];
    if (w->committed > keep)
      port_purge(w->stack + keep, round_up((w->committed - keep) * sizeof *w->stack, KERNEL_PAGE));
  }
  marker_order_end();
}
