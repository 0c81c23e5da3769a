/* mark.c: see mark.h. */
#include "collect/mark.h"

#include <string.h>

#include "base/remedy.h"
#include "ports/port.h"

enum {
  RING = 64,                    /* entries of each ring, a power of two */
  CANDIDATES_AHEAD = 32,        /* words whose mark word is being fetched */
  OBJECTS_AHEAD = 16,           /* objects being fetched */
  PRESENCE_FILTER = 256 * 1024, /* larger objects may have pages that were never touched */
  LINE = 64,                    /* of the cache */
  SPARSE = 32 * 1024,           /* ranges this long are looked through by such lines */
};

/* An object on its way: granule number << 8 | class. One word, so that what was just pushed can be
   popped without waiting for two stores to meet in one load. */
typedef uint64_t object;
struct candidate {
  struct page *page;
  uint32_t index;
};

static struct {
  object *stack;
  size_t depth, committed, limit, test_limit;
  struct candidate candidates[RING];
  object objects[RING];
  uint32_t candidate_head, candidate_tail, object_head, object_tail;
  uintptr_t first, span; /* the heap in use: addresses from first, span bytes */
  unsigned stride;       /* of the plain loops; 0: a word may mean more than it says */
  struct mark_words words;
  bool demangle; /* for good, once the program has switched stacks by longjmp */
  uintptr_t guard;
  bool overflow, failed;
  struct mark_counts counts;
  const struct port_protected *protected; /* parts of the heap that the program may not write */
  size_t protected_count;
  struct port_maps large; /* its own working memory: root scans are under way meanwhile */
} m;

enum { STACK_STEP = 1 << 20, LARGE_RANGES = 1024, LARGE_COPY = 16384 };

bool mark_init(void) {
  size_t size;
  m.stack = heap_mark_stack(&size);
  m.large.ranges = heap_metadata(LARGE_RANGES * sizeof *m.large.ranges);
  m.large.range_capacity = LARGE_RANGES;
  m.large.copy = heap_metadata(LARGE_COPY);
  m.large.copy_size = LARGE_COPY;
  return m.large.ranges && m.large.copy;
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

void mark_begin(const struct mark_words *words, struct port_maps *maps) {
  size_t size;
  heap_mark_stack(&size);
  m.limit = size / sizeof *m.stack;
  if (m.committed > m.limit) m.committed = m.limit; /* the heap was shrunk */
  m.depth = 0;
  m.candidate_head = m.candidate_tail = m.object_head = m.object_tail = 0;
  /* Page 0 holds nothing. One byte less than where page 1 begins: this variable lies in memory that
     is scanned, and would keep the first object there with all it points to. */
  m.first = heap.base + HEAP_PAGE - 1;
  m.span = (atomic_get_acquire(&heap.top) - 1) * HEAP_PAGE + 1;
  choose_scan(words);
  m.overflow = m.failed = false;
  memset(&m.counts, 0, sizeof m.counts);
  m.large.memory = -1;
  m.protected_count = maps ? maps->protected_count : 0;
  if (maps) {
    m.protected = maps->protected;
    m.large.baseline = maps->baseline;
    m.large.pagemap = maps->pagemap;
    m.large.scan_works = maps->scan_works;
    m.large.swapped = maps->swapped;
  } else { /* unit tests: no filter */
    m.large.pagemap = -1;
    m.large.scan_works = false;
    m.large.swapped = true;
  }
}

static COLD bool grow_stack(void) {
  size_t limit = m.test_limit ? size_min(m.test_limit, m.limit) : m.limit;
  size_t wish = size_min(m.committed + STACK_STEP / sizeof *m.stack, limit);
  if (wish <= m.committed ||
      !port_commit((char *)m.stack + m.committed * sizeof *m.stack,
                   round_up((wish - m.committed) * sizeof *m.stack, KERNEL_PAGE)))
    return false;
  m.committed = wish;
  return true;
}

static inline object object_at(const struct page *page, uintptr_t address) {
  return (address - heap.base) >> GRANULE_SHIFT << 8 | page->class;
}
static inline uintptr_t object_address(object object) {
  return heap.base + (object >> 8 << GRANULE_SHIFT);
}
static inline size_t object_size(object object) {
  unsigned class = object & 0xff;
  if (LIKELY(class != CLASS_LARGE)) return size_classes[class].size;
  return heap.pages[object >> 8 >> (HEAP_PAGE_SHIFT - GRANULE_SHIFT)].size;
}

static inline void push(struct page *page, uintptr_t address) {
  if (UNLIKELY(m.depth == m.committed) && !grow_stack()) {
    page->rescan = 1; /* marked but not scanned */
    m.overflow = !WITHOUT(mark_overflow);
    m.counts.overflows++;
    return;
  }
  m.stack[m.depth++] = object_at(page, address);
}

/* Second half of a word's way: by now its mark word is in the cache. */
static inline void settle(void) {
  struct candidate c = m.candidates[m.candidate_head++ & (RING - 1)];
  uint64_t *word = &page_marked(c.page)[c.index / 64];
  uint64_t bit = 1ull << (c.index % 64);
  if (*word & bit) return;
  *word |= bit;
  push(c.page, page_address(c.page) + c.index * c.page->size);
}

/* First half: find the cell and ask for its mark word. */
static inline void consider(uintptr_t word) {
  if (LIKELY(word - m.first >= m.span)) return;
  uintptr_t offset = word - heap.base;
  size_t first = heap.page_first[offset >> HEAP_PAGE_SHIFT];
  struct page *page = &heap.pages[first];
  uint32_t index = cell_index((offset >> GRANULE_SHIFT) - first * PAGE_GRANULES, page->reciprocal);
  if (index >= page->cells) return;
  if (WITHOUT(interior) && word != page_address(page) + index * page->size) return;
  __builtin_prefetch(&page_marked(page)[index / 64], 1);
  m.candidates[m.candidate_tail++ & (RING - 1)] = (struct candidate){page, index};
  if (m.candidate_tail - m.candidate_head > CANDIDATES_AHEAD) settle();
}

static inline uintptr_t load(uintptr_t address) {
  uintptr_t word;
  memcpy(&word, (const void *)address, sizeof word); /* may be misaligned at strides 4 and 1 */
  return word;
}

/* --- words that mean more than they say ------------------------------------------------------- */

/* Every object that begins in (word, word + slop], and the one that word lies in. Cells begin at
   granules, so one look for each cell, or for each granule where there is none, misses nothing. */
static void consider_below(uintptr_t word, uintptr_t slop) {
  if (word - (m.first - slop) >= m.span + slop) return;
  uintptr_t last = word + slop, at = word < m.first ? m.first : word;
  while (at <= last && at - m.first < m.span) {
    struct cell cell;
    uintptr_t next = round_down(at, GRANULE) + GRANULE;
    if (cell_of(at, &cell)) {
      consider(at);
      next = size_max(next, cell.address + cell.page->size); /* a large object's run is longer */
    }
    at = next;
  }
}

static inline __attribute__((always_inline)) void scan_as(uintptr_t begin, uintptr_t last,
                                                          unsigned stride, bool strip,
                                                          uintptr_t slop, bool mangled) {
  for (uintptr_t at = begin; at <= last; at += stride) {
    uintptr_t word = load(at);
    /* jmp_buf is an array of longs: what is mangled is aligned. */
    if (mangled && (stride == 8 || at % 8 == 0)) consider(port_jump_demangle(word, m.guard));
    if (strip) word &= ((uintptr_t)1 << PORT_ADDRESS_BITS) - 1;
    if (slop) consider_below(word, slop);
    else consider(word);
  }
}

/* All loops but the two plain ones of scan, which shall not pay for these. One for a program that
   switches stacks by longjmp, at each stride that this may meet by default; the rest go by options
   that are off by default and share one loop. */
static NOINLINE void scan_slowly(uintptr_t begin, uintptr_t last) {
  const struct mark_words *w = &m.words;
  bool mangled_only = w->demangle && !w->slop && !w->strip_high_bits;
  bool stripped_only = w->strip_high_bits && !w->slop && !w->demangle;
  if (m.stride) scan_as(begin, last, 1, false, 0, false);
  else if (mangled_only && w->stride == 4) scan_as(begin, last, 4, false, 0, true);
  else if (mangled_only && w->stride == 8) scan_as(begin, last, 8, false, 0, true);
  else if (stripped_only && w->stride == 4) scan_as(begin, last, 4, true, 0, false);
  else scan_as(begin, last, w->stride, w->strip_high_bits, w->slop, w->demangle);
}

/* Long ranges are often mostly zero: tables, buffers, what a program has of memory without having
   used it. A line of the cache in which no word begins that has a bit set is passed over; the
   words that begin in it are looked at as ever if there is one. */
static inline __attribute__((always_inline)) void scan_sparse(uintptr_t begin, uintptr_t last,
                                                              unsigned stride) {
  uintptr_t at = begin, line = round_up(begin, LINE);
  for (; at < line && at <= last; at += stride) consider(load(at));
  for (; at + LINE - stride <= last; at += LINE) {
    uintptr_t any = load(at + LINE - stride); /* at stride 4 half of this is in the next line */
    for (unsigned i = 0; i < LINE; i += 8) any |= load(at + i);
    if (!any) continue;
    for (unsigned i = 0; i < LINE; i += stride) consider(load(at + i));
  }
  for (; at <= last; at += stride) consider(load(at));
}

static void scan(uintptr_t begin, uintptr_t end) {
  if (end - begin < sizeof(uintptr_t)) return;
  uintptr_t last = end - sizeof(uintptr_t);
  if (end - begin >= SPARSE && m.stride == 4) scan_sparse(begin, last, 4);
  else if (end - begin >= SPARSE && m.stride == 8) scan_sparse(begin, last, 8);
  else if (m.stride == 8)
    for (uintptr_t at = begin; at <= last; at += 8) consider(load(at));
  else if (m.stride == 4)
    for (uintptr_t at = begin; at <= last; at += 4) consider(load(at));
  else scan_slowly(begin, last);
}

void mark_range(uintptr_t begin, uintptr_t end) { scan(round_up(begin, m.words.stride), end); }

void mark_word(uintptr_t word) { consider(word); }

static void scan_present(void *context, uintptr_t begin, uintptr_t end) {
  (void)context;
  scan(begin, end);
}

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

static void scan_object(object object) {
  uint8_t state = heap.state[object >> 8];
  if (UNLIKELY(state != STATE_LIVE)) {
    if (state == STATE_NONE) return; /* waits in a buffer, or is being made */
    if ((state & STATE_LIVE) && state_suspected(state)) clear_suspicion(object >> 8, state);
  }
  uintptr_t address = object_address(object);
  size_t size = object_size(object);
  m.counts.objects++;
  m.counts.bytes += size;
  if (UNLIKELY(m.protected_count) && is_closed(address, address + size)) {
    uintptr_t begin = round_down(address, KERNEL_PAGE);
    uintptr_t end = round_up(address + size, KERNEL_PAGE); /* neighbours: kept for nothing */
    if (!port_present_copies(&m.large, begin, end, scan_present, NULL)) m.failed = true;
  } else if (size < PRESENCE_FILTER || WITHOUT(large_presence)) scan(address, address + size);
  else if (!port_present_ranges(&m.large, address, address + size, scan_present, NULL))
    m.failed = true;
}

static void drain_stack(void) {
  for (;;) {
    while (m.depth && m.object_tail - m.object_head < OBJECTS_AHEAD) {
      object next = m.stack[--m.depth];
      uintptr_t address = object_address(next);
      __builtin_prefetch((const void *)address);
      __builtin_prefetch((const void *)(address + 64));
      __builtin_prefetch(&heap.state[next >> 8]);
      m.objects[m.object_tail++ & (RING - 1)] = next;
    }
    if (m.object_head != m.object_tail) {
      scan_object(m.objects[m.object_head++ & (RING - 1)]);
    } else if (m.candidate_head != m.candidate_tail) {
      while (m.candidate_head != m.candidate_tail) settle();
    } else if (!m.depth) {
      return;
    }
  }
}

/* Objects that were marked when the stack was full: scan every marked object of their pages. */
static void rescan_page(struct page *page) {
  page->rescan = 0;
  for (unsigned w = 0; w < page->words; w++)
    for (uint64_t bits = page_marked(page)[w]; bits; bits &= bits - 1) {
      uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(bits);
      if (index >= page->cells) break;
      scan_object(object_at(page, page_address(page) + index * page->size));
      drain_stack();
    }
}

bool mark_drain(void) {
  drain_stack();
  while (m.overflow) {
    m.overflow = false;
    size_t top = heap.top;
    for (size_t i = 1; i < top; i++)
      if (heap.pages[i].rescan) rescan_page(&heap.pages[i]);
  }
  return !m.failed;
}

/* Pages were scanned twice: only the mark bits know how many objects there are. */
static void recount(void) {
  m.counts.objects = m.counts.bytes = 0;
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++) {
    struct page *page = &heap.pages[i];
    if (!page->cells || heap.page_first[i] != i) continue;
    for (unsigned w = 0; w < page->words; w++)
      for (uint64_t bits = page_marked(page)[w]; bits; bits &= bits - 1) {
        uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(bits);
        if (index >= page->cells || !*state_at(page_address(page) + index * page->size)) continue;
        m.counts.objects++;
        m.counts.bytes += page->size;
      }
  }
}

struct mark_counts mark_end(void) {
  if (m.large.memory >= 0) port_close(m.large.memory);
  m.large.memory = -1;
  if (m.counts.overflows) recount();
  size_t keep = STACK_STEP / sizeof *m.stack;
  if (m.committed > keep)
    port_purge(m.stack + keep, round_up((m.committed - keep) * sizeof *m.stack, KERNEL_PAGE));
  return m.counts;
}
