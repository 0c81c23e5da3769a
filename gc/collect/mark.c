/* mark.c: see mark.h. */
#include "collect/mark.h"

#include <string.h>

#include "base/remedy.h"
#include "collect/workers.h"
#include "ports/port.h"

enum {
  RING = 64,                    /* entries of each ring, a power of two */
  CANDIDATES_AHEAD = 32,        /* words whose mark word is being fetched */
  OBJECTS_AHEAD = 16,           /* objects being fetched */
  PRESENCE_FILTER = 256 * 1024, /* larger objects may have pages that were never touched */
  PIECE = 1 << 20,              /* of an object: what is looked through for presence at once */
  SLICE = 16 * 1024,            /* of a piece: scanned before what it refers to is */
  LINE = 64,                    /* of the cache */
};

/* An object on its way: granule number << 8 | class. One word, so that what was just pushed can be
   popped without waiting for two stores to meet in one load. Also a piece or slice of a large
   object, which begins at this granule: an array of pointers must not put all of them on the stack
   at once, and markers share it. */
typedef uint64_t object;
enum { CLASS_PIECE = CLASS_NONE, CLASS_SLICE = CLASS_COUNT, BIT_SHIFT = 58 };
struct candidate {
  uint64_t *word; /* of the bitmap of marks */
  object object;  /* above BIT_SHIFT: its bit there; no granule has so high a number */
};

/* One of those who mark: the collecting thread is the first, helpers are the others. */
static struct marker {
  object *stack; /* in use from bottom to depth; what is given away goes from the bottom */
  size_t bottom, depth, committed, limit;
  struct candidate candidates[RING];
  object objects[RING];
  uint32_t candidate_head, candidate_tail, object_head, object_tail;
  struct mark_counts counts;
  bool failed;
  struct port_maps large; /* its own working memory: root scans are under way meanwhile */
} markers[WORKERS_MOST] __attribute__((aligned(LINE)));

/* What a marking is about; helpers only read it, but for `overflow`. */
static struct {
  uintptr_t first, span;     /* the heap in use: addresses from first, span bytes */
  struct port_halves halves; /* the same as a filter */
  unsigned stride;           /* of the plain loop; 0: a word may mean more than it says */
  unsigned parts;            /* of the reserved mark stack: so many markers may have one */
  unsigned ready, helpers;   /* helpers: that may be started; that are at work */
  object *stack;
  size_t part; /* objects in each part of the stack */
  size_t test_limit;
  struct mark_words words;
  bool demangle; /* for good, once the program has switched stacks by longjmp */
  uintptr_t guard;
  bool overflow;
  const struct port_protected *protected; /* parts of the heap that the program may not write */
  size_t protected_count;
} m = {.parts = 1};

enum { STACK_STEP = 1 << 20, LARGE_RANGES = 1024, LARGE_COPY = 16384 };

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
  m.stack = heap_mark_stack(&size);
  return make_ready(&markers[0]);
}

void mark_prepare(unsigned count) {
  m.ready = workers_prepare(count ? count - 1 : 0);
  for (unsigned i = 0; i < m.ready; i++)
    if (!make_ready(&markers[i + 1])) m.ready = i;
  if (m.ready >= m.parts) m.parts = m.ready + 1;
}

void mark_limit_stack(size_t objects) { m.test_limit = objects; }

void mark_demangle(void) { atomic_set(&m.demangle, true); }

/* Which loop scans: see scan_slowly. */
static void choose_scan(const struct mark_words *words) {
  m.words = *words;
  m.words.demangle |= atomic_get(&m.demangle);
  if (!PORT_JUMP_HIDES_POINTERS || WITHOUT(demangle)) m.words.demangle = false;
  bool plain = !m.words.demangle && !words->slop && !words->strip_high_bits;
  m.stride = plain ? words->stride : 0;
  m.guard = port_jump_guard();
}

/* Where each marker's part of the mark stack lies. They move when there are more of them, or when
   the heap was shrunk. */
static void share_stack(void) {
  size_t size;
  heap_mark_stack(&size);
  size_t part = round_down(size / m.parts, KERNEL_PAGE) / sizeof *m.stack;
  for (unsigned i = 0; i < m.parts; i++) {
    struct marker *w = &markers[i];
    if (part != m.part) w->committed = 0;
    w->stack = m.stack + i * part;
    w->limit = part;
  }
  m.part = part;
}

static void begin_marker(struct marker *w, const struct port_maps *maps) {
  w->bottom = w->depth = 0;
  w->candidate_head = w->candidate_tail = w->object_head = w->object_tail = 0;
  w->failed = false;
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

static COLD bool grow_stack(struct marker *w) {
  if (w->bottom) { /* what was given away has left room below */
    memmove(w->stack, w->stack + w->bottom, (w->depth - w->bottom) * sizeof *w->stack);
    w->depth -= w->bottom;
    w->bottom = 0;
    return true;
  }
  size_t limit = m.test_limit ? size_min(m.test_limit, w->limit) : w->limit;
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
  /* Page 0 holds nothing. One byte less than where page 1 begins: this variable lies in memory that
     is scanned, and would keep the first object there with all it points to. */
  m.first = heap.base + HEAP_PAGE - 1;
  m.span = (atomic_get_acquire(&heap.top) - 1) * HEAP_PAGE + 1;
  m.halves = port_halves(m.first, m.first + m.span);
  choose_scan(words);
  m.overflow = false;
  m.protected_count = maps ? maps->protected_count : 0;
  if (maps) m.protected = maps->protected;
  share_stack();
  unsigned helpers = 0;
  if (m.protected_count) m.ready = 0; /* what it takes to read them is for one at a time */
  for (unsigned i = 0; i <= m.ready; i++) {
    begin_marker(&markers[i], maps);
    if (m.ready && !markers[i].committed && !grow_stack(&markers[i])) break; /* no room for gifts */
    helpers = i;
  }
  m.helpers = helpers; /* which the first of them already see */
  if (helpers) m.helpers = workers_begin(helpers, help);
}

static inline object object_at(const struct page *page, uintptr_t address) {
  return (address - heap.base) >> GRANULE_SHIFT << 8 | page->class;
}
static inline unsigned object_class(object object) { return object & 0xff; }
static inline uintptr_t object_address(object object) {
  return heap.base + (object >> 8 << GRANULE_SHIFT);
}
static inline struct page *object_page(object object) {
  return &heap.pages[page_first(object >> 8 >> (HEAP_PAGE_SHIFT - GRANULE_SHIFT))];
}

/* False: no room. */
static inline bool push(struct marker *w, object object) {
  if (UNLIKELY(w->depth == w->committed) && !grow_stack(w)) return false;
  w->stack[w->depth++] = object;
  return true;
}

/* A marked object that did not fit on the stack: its page is looked through again. */
static COLD void overflow(struct marker *w, object object) {
  atomic_set(&object_page(object)->rescan, 1);
  if (!WITHOUT(mark_overflow)) atomic_set(&m.overflow, true);
  w->counts.overflows++;
}

/* Gives half of what waits on the stack to those who have nothing, the oldest, which most hangs on.
 */
static COLD void give(struct marker *w) {
  if (workers_over()) { /* the marking is given up: forget it all */
    w->bottom = w->depth = 0;
    w->object_head = w->object_tail;
    w->candidate_head = w->candidate_tail;
    return;
  }
  size_t waiting = w->depth - w->bottom;
  if (waiting < 2) return;
  w->bottom += workers_give(w->stack + w->bottom, waiting / 2);
}
static inline void share(struct marker *w) {
  if (workers_wanted()) give(w);
}

/* Second half of a word's way: by now its mark word is in the cache. */
static inline void settle(struct marker *w) {
  struct candidate c = w->candidates[w->candidate_head++ & (RING - 1)];
  uint64_t bit = 1ull << (c.object >> BIT_SHIFT);
  object object = c.object & ((1ull << BIT_SHIFT) - 1);
  if (atomic_get(c.word) & bit) return;
  if (m.helpers) {
    if (__atomic_fetch_or(c.word, bit, __ATOMIC_RELAXED) & bit) return; /* another was faster */
  } else {
    *c.word |= bit;
  }
  if (UNLIKELY(!push(w, object))) overflow(w, object);
}

/* First half: find the cell and ask for its mark word. */
static inline void consider(struct marker *w, uintptr_t word) {
  if (LIKELY(word - m.first >= m.span)) return;
  uintptr_t offset = word - heap.base;
  uint32_t entry = heap.page_first[offset >> HEAP_PAGE_SHIFT];
  size_t first = page_entry_first(entry);
  unsigned class = page_entry_class(entry);
  const struct size_class *c = &size_classes[class];
  uint32_t index = cell_index((offset >> GRANULE_SHIFT) - first * PAGE_GRANULES, c->reciprocal);
  if (index >= c->cells) return;
  object granule = first * PAGE_GRANULES + index * (uint64_t)c->granules;
  if (WITHOUT(interior) && offset != granule << GRANULE_SHIFT) return;
  uint64_t *marks = &heap.marked[first][index / 64];
  __builtin_prefetch(marks, 1);
  w->candidates[w->candidate_tail++ & (RING - 1)] =
      (struct candidate){marks, granule << 8 | class | (uint64_t)(index % 64) << BIT_SHIFT};
  if (w->candidate_tail - w->candidate_head > CANDIDATES_AHEAD) settle(w);
}

static inline uintptr_t load(uintptr_t address) {
  uintptr_t word;
  memcpy(&word, (const void *)address, sizeof word); /* may be misaligned at strides 4 and 1 */
  return word;
}

/* --- words that mean more than they say ------------------------------------------------------- */

/* Every object that begins in (word, word + slop], and the one that word lies in. Cells begin at
   granules, so one look for each cell, or for each granule where there is none, misses nothing. */
static void consider_below(struct marker *w, uintptr_t word, uintptr_t slop) {
  if (word - (m.first - slop) >= m.span + slop) return;
  uintptr_t last = word + slop, at = word < m.first ? m.first : word;
  while (at <= last && at - m.first < m.span) {
    struct cell cell;
    uintptr_t next = round_down(at, GRANULE) + GRANULE;
    if (cell_of(at, &cell)) {
      consider(w, at);
      next = size_max(next, cell.address + cell.page->size); /* a large object's run is longer */
    }
    at = next;
  }
}

static inline __attribute__((always_inline)) void scan_as(struct marker *w, uintptr_t begin,
                                                          uintptr_t last, unsigned stride,
                                                          bool strip, uintptr_t slop,
                                                          bool mangled) {
  for (uintptr_t at = begin; at <= last; at += stride) {
    uintptr_t word = load(at);
    /* jmp_buf is an array of longs: what is mangled is aligned. */
    if (mangled && (stride == 8 || at % 8 == 0)) consider(w, port_jump_demangle(word, m.guard));
    if (strip) word &= ((uintptr_t)1 << PORT_ADDRESS_BITS) - 1;
    if (slop) consider_below(w, word, slop);
    else consider(w, word);
  }
}

/* All loops but the plain one of scan, which shall not pay for these. One for a program that
   switches stacks by longjmp, at each stride that this may meet by default; the rest go by options
   that are off by default and share one loop. */
static NOINLINE void scan_slowly(struct marker *w, uintptr_t begin, uintptr_t last) {
  const struct mark_words *o = &m.words;
  bool mangled_only = o->demangle && !o->slop && !o->strip_high_bits;
  bool stripped_only = o->strip_high_bits && !o->slop && !o->demangle;
  if (m.stride) scan_as(w, begin, last, 1, false, 0, false);
  else if (mangled_only && o->stride == 4) scan_as(w, begin, last, 4, false, 0, true);
  else if (mangled_only && o->stride == 8) scan_as(w, begin, last, 8, false, 0, true);
  else if (stripped_only && o->stride == 4) scan_as(w, begin, last, 4, true, 0, false);
  else scan_as(w, begin, last, o->stride, o->strip_high_bits, o->slop, o->demangle);
}

/* Of the hits among the sixteen fours from `at`, which end a word that begins at a step? A word at
   a multiple of 8 has its upper half at an odd four. */
static inline uint32_t at_steps(uint32_t hits) { return m.stride == 8 ? hits & 0xaaaa : hits; }

static inline void consider_hits(struct marker *w, uintptr_t at, uint32_t hits) {
  for (; hits; hits &= hits - 1) consider(w, load(at + 4 * (uintptr_t)__builtin_ctz(hits) - 4));
}

/* [begin, end) at steps of 4 or 8. begin is a multiple of the step. */
static void scan_plain(struct marker *w, uintptr_t begin, uintptr_t end) {
  struct port_halves halves = m.halves;
  uint32_t mine = 0xfffe; /* the first four bytes end a word that begins below */
  uintptr_t at = begin;
  for (; at + LINE <= end; at += LINE) {
    uint32_t hits = at_steps(port_halves_of_64((const char *)at, halves) & mine);
    if (hits) consider_hits(w, at, hits);
    mine = 0xffff;
  }
  uint32_t hits = 0;
  uintptr_t rest = at;
  for (; at + 16 <= end; at += 16)
    hits |= port_halves_of_16((const char *)at, halves) << (at - rest) / 4;
  hits = at_steps(hits & mine);
  if (hits) consider_hits(w, rest, hits);
  if (LIKELY(at == end)) return;
  /* No cell ends so, but a range of the program's may. */
  for (at = size_max(at - 8 + m.stride, begin); at + 8 <= end; at += m.stride)
    consider(w, load(at));
}

/* The same for one cell of up to 64 bytes, most of all there are: four looks whatever its size, the
   last of which may be the same, in place of a loop whose end cannot be foreseen. */
static inline __attribute__((always_inline)) void scan_small(struct marker *w, uintptr_t at,
                                                             size_t size) {
  struct port_halves halves = m.halves;
  size_t last = size - 16;
  uint32_t hits = port_halves_of_16((const char *)at, halves);
  hits |= port_halves_of_16((const char *)at + size_min(16, last), halves) << 4;
  hits |= port_halves_of_16((const char *)at + size_min(32, last), halves) << 8;
  hits |= port_halves_of_16((const char *)at + last, halves) << 12;
  hits = at_steps(hits & ((1u << size / 4) - 2));
  consider_hits(w, at, hits);
}

static void scan(struct marker *w, uintptr_t begin, uintptr_t end) {
  if (LIKELY(m.stride >= 4)) scan_plain(w, begin, end);
  else if (end - begin >= sizeof(uintptr_t)) scan_slowly(w, begin, end - sizeof(uintptr_t));
}

void mark_range(uintptr_t begin, uintptr_t end) {
  begin = round_up(begin, m.words.stride);
  if (begin < end) scan(&markers[0], begin, end);
  share(&markers[0]);
}

void mark_word(uintptr_t word) { consider(&markers[0], word); }

static void scan_present(void *marker, uintptr_t begin, uintptr_t end) { scan(marker, begin, end); }

static COLD bool is_closed(uintptr_t begin, uintptr_t end) {
  for (size_t i = 0; i < m.protected_count; i++)
    if (!m.protected[i].readable && m.protected[i].begin < end && begin < m.protected[i].end)
      return true;
  return false;
}

/* Found again: its count starts anew. Compared, since a state byte belongs to the program. */
static COLD void clear_suspicion(size_t granule, uint8_t state) {
  __atomic_compare_exchange_n(&heap.state[granule], &state, state & ~STATE_SUSPECT_MASK, false,
                              __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* Part of an object, which may be all of it. */
static void scan_part(struct marker *w, uintptr_t address, size_t size) {
  if (UNLIKELY(m.protected_count) && is_closed(address, address + size)) {
    uintptr_t begin = round_down(address, KERNEL_PAGE);
    uintptr_t end = round_up(address + size, KERNEL_PAGE); /* neighbours: kept for nothing */
    if (!port_present_copies(&w->large, begin, end, scan_present, w)) w->failed = true;
  } else if (size < PRESENCE_FILTER || WITHOUT(large_presence)) scan(w, address, address + size);
  else if (!port_present_ranges(&w->large, address, address + size, scan_present, w))
    w->failed = true;
}

/* Puts the parts of [begin, end) on the stack, the first on top. What finds no room is scanned now,
   as far as `limit`: no word is cut in two at the end, either. */
static void push_parts(struct marker *w, uintptr_t begin, uintptr_t end, uintptr_t limit,
                       size_t size, unsigned class) {
  for (uintptr_t at = begin + round_down(end - begin - 1, size);; at -= size) {
    if (!push(w, (at - heap.base) >> GRANULE_SHIFT << 8 | class))
      scan_part(w, at, size_min(size + KERNEL_PAGE, limit - at));
    if (at == begin) break;
  }
}

struct presence {
  struct marker *marker;
  uintptr_t begin, end;
  bool whole;
};
static void note_presence(void *context, uintptr_t begin, uintptr_t end) {
  struct presence *presence = context;
  if (begin == presence->begin && end == presence->end) presence->whole = true;
  else scan(presence->marker, begin, end);
}

/* What begins here of a large object, up to where the next slice or piece does, and some of that:
   no word is cut in two. */
static COLD void scan_portion(struct marker *w, object object) {
  struct cell cell;
  uintptr_t at = object_address(object);
  if (!cell_of(at, &cell)) return;
  uintptr_t end = cell.address + cell.page->size;
  if (object_class(object) == CLASS_SLICE) {
    scan(w, at, size_min(at + SLICE + sizeof(uintptr_t), end));
    return;
  }
  end = size_min(at + PIECE + KERNEL_PAGE, end);
  if (WITHOUT(large_presence) || (UNLIKELY(m.protected_count) && is_closed(at, end))) {
    scan_part(w, at, end - at);
    return;
  }
  struct presence presence = {w, at, end, false};
  if (!port_present_ranges(&w->large, at, end, note_presence, &presence)) w->failed = true;
  else if (presence.whole) push_parts(w, at, size_min(at + PIECE, end), end, SLICE, CLASS_SLICE);
}

static COLD void scan_large(struct marker *w, object object, bool leaf) {
  uintptr_t address = object_address(object);
  size_t size = object_page(object)->size;
  w->counts.bytes += size;
  if (leaf || UNLIKELY(object_page(object)->barred & BARRED_WHOLE)) return;
  if (size < PRESENCE_FILTER) scan_part(w, address, size);
  else push_parts(w, address, address + size, address + size, PIECE, CLASS_PIECE);
}

static inline __attribute__((always_inline)) void scan_object(struct marker *w, object object) {
  unsigned class = object_class(object);
  uintptr_t address = object_address(object);
  if (UNLIKELY(class == CLASS_PIECE || class == CLASS_SLICE)) {
    scan_portion(w, object);
    return;
  }
  uint8_t state = heap.state[object >> 8];
  bool leaf = false;
  if (UNLIKELY(state != STATE_LIVE)) {
    if (state_is_none(state)) return; /* waits in a buffer, or is being made */
    leaf = state_is_leaf(state);
    if ((state & STATE_LIVE) && state_suspected(state)) clear_suspicion(object >> 8, state);
  }
  w->counts.objects++;
  if (UNLIKELY(class == CLASS_LARGE)) {
    scan_large(w, object, leaf);
    return;
  }
  size_t size = size_classes[class].size;
  w->counts.bytes += size;
  if (UNLIKELY(leaf)) return;
  if (UNLIKELY(m.protected_count)) scan_part(w, address, size);
  else if (size <= LINE && LIKELY(m.stride >= 4)) scan_small(w, address, size);
  else scan(w, address, address + size);
}

/* Fetches what will be read of an object: all of a small one, the beginning of others. Inlined by
   force: gcc 12 takes a function that only prefetches for one without effects, and drops the call.
 */
static inline __attribute__((always_inline)) void fetch(object object) {
  const char *address = (const char *)object_address(object);
  size_t size = size_classes[object_class(object)].size; /* 0 where it has no class of cells */
  __builtin_prefetch(address);
  __builtin_prefetch(address + (size - 1 < LINE ? size - 1 : LINE));
  __builtin_prefetch(&heap.state[object >> 8]);
}

/* False: there is nothing left, of one's own or of others. */
static bool find_work(struct marker *w) {
  if (!m.helpers) return false;
  w->bottom = 0;
  w->depth = workers_take(w->stack, w->committed, (unsigned)(w - markers));
  return w->depth != 0;
}

static void drain(struct marker *w) {
  for (;;) {
    share(w);
    while (w->depth != w->bottom && w->object_tail - w->object_head < OBJECTS_AHEAD) {
      object next = w->stack[--w->depth];
      fetch(next);
      w->objects[w->object_tail++ & (RING - 1)] = next;
    }
    if (w->object_head != w->object_tail) {
      scan_object(w, w->objects[w->object_head++ & (RING - 1)]);
    } else if (w->candidate_head != w->candidate_tail) {
      while (w->candidate_head != w->candidate_tail) settle(w);
    } else if (!find_work(w)) {
      return;
    }
  }
}

static void help(unsigned number) { drain(&markers[number]); }

static NOINLINE void rescan_object(struct marker *w, object object) { scan_object(w, object); }

/* Objects that were marked when the stack was full: scan every marked object of their pages. */
static void rescan_page(struct page *page) {
  page->rescan = 0;
  for (unsigned i = 0; i < page->words; i++)
    for (uint64_t bits = page_marked(page)[i]; bits; bits &= bits - 1) {
      uint32_t index = i * 64 + (uint32_t)__builtin_ctzll(bits);
      if (index >= page->cells) break;
      rescan_object(&markers[0], object_at(page, page_address(page) + index * page->size));
      drain(&markers[0]);
    }
}

bool mark_drain(void) {
  drain(&markers[0]);
  while (atomic_get(&m.overflow)) {
    atomic_set(&m.overflow, false);
    size_t top = heap.top;
    for (size_t i = 1; i < top; i++)
      if (heap.pages[i].rescan) rescan_page(&heap.pages[i]);
  }
  bool failed = false;
  for (unsigned i = 0; i <= m.helpers; i++) failed |= markers[i].failed;
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
  counts->objects += w->counts.objects;
  counts->bytes += w->counts.bytes;
  counts->overflows += w->counts.overflows;
  size_t keep = STACK_STEP / sizeof *w->stack;
  if (w->committed > keep)
    port_purge(w->stack + keep, round_up((w->committed - keep) * sizeof *w->stack, KERNEL_PAGE));
}

struct mark_counts mark_end(void) {
  struct mark_counts counts = {0};
  workers_end();
  for (unsigned i = 0; i <= m.helpers; i++) end_marker(&markers[i], &counts);
  counts.markers = m.helpers + 1;
  if (counts.overflows) recount(&counts);
  return counts;
}
