/* mark_order.c: marks small objects page by page instead of one after the other; see mark.h.

   An object that is found is neither marked nor put on the mark stack: it is noted in a table, and
   its page is flagged. Whoever marks goes round the heap, from one flagged page to the next, and
   there marks and scans what was noted and is not marked. What is found meanwhile waits until its
   page's turn, and so comes to lie beside others: in a large heap whose objects point all over it,
   each costs several misses of the cache and of the translation of addresses by itself, and a
   fraction of them side by side. (Go's collector goes by pages too,
   https://go.dev/blog/greenteagc, in the order in which they were found.)

   Two markers have a table and flags each, so that what one finds is noted in no line that the
   other writes; more share them. Who finds an object sets its bit first and the flag then, whether
   it is set or not; who takes a page clears its flags first and looks at its bits then. So what is
   found too late for one visit leads to another, with no order but that of stores. (To leave a flag
   that is set alone would need more: the look at it may come before the bit is seen by others.) Two
   may visit a page at once: each object goes to the one who marks it. Nobody goes idle before he
   has been all round once and found no flag, so what he has flagged himself is done. */
#include "collect/marker.h"

#include "heap/page_heap.h"

enum {
  PATIENCE = 2, /* visits of each heap page in which no round takes twice as much as before */
  LEAST_PATIENCE = 1024,
  WORTHWHILE = 4,      /* objects a visit, on average */
  FLAGS_A_VISIT = 256, /* to look through so many costs as much as a visit */
};

/* All that are in use reach as far. */
bool marker_commit_found(unsigned tables, size_t top) {
  if (tables < marking.tables) tables = marking.tables;
  top = size_max(marking.top, top);
  for (unsigned i = 0; i < tables; i++)
    if (!heap_commit_found(i, top, &marking.found[i])) return false;
  marking.tables = tables;
  marking.top = top;
  return true;
}

/* A page fault for each page of the tables takes as long as to mark a thousand objects. */
void marker_populate_found(size_t top) {
  for (unsigned i = 0; i < marking.tables; i++) heap_populate_found(&marking.found[i], top);
}

static bool commit(size_t top) {
  return marker_commit_found((unsigned)size_min(marking.ready + 1, FOUND_TABLES), top);
}

bool marker_order_begin(size_t top) {
  bool plain =
      marking.shapes[1].small; /* else a word means more than it says, or pages are closed */
  return plain && commit(top);
}

void marker_order_join(struct marker *w) {
  struct order *o = &w->order;
  unsigned number = (unsigned)(w - markers);
  o->page = number * (heap.top / (marking.ready + 1)); /* not all in one place */
  o->found = marking.found[number % marking.tables];
  o->shared = marking.ready + 1 > marking.tables;
  for (unsigned class = 1; class <= ORDERED_CLASSES; class ++) w->marks[class] = o->found.cells;
}

/* Not where most of the heap is free: most of the tables will not be used. */
void marker_order_prepare(void) {
  size_t top = atomic_get_acquire(&heap.top);
  if (page_heap_used() >= top / 2 && commit(top)) marker_populate_found(top);
}

void marker_order_end(void) {
  if (marking.top)
    for (unsigned i = 0; i < marking.tables; i++) heap_purge_found(&marking.found[i], marking.top);
  marking.top = marking.tables = 0;
}

/* Notes an ordered object for the visit of its page. */
static inline void wait_for_page(struct marker *w, struct candidate c) {
  struct order *o = &w->order;
  size_t page = (size_t)(c.word - o->found.cells[0]) / PAGE_WORDS;
  if (o->shared) __atomic_fetch_or(c.word, c.bit, __ATOMIC_RELAXED);
  else atomic_set(c.word, *c.word | c.bit);
  note_page(w, page);
  atomic_set_release(&o->found.flags[page], 1); /* even if it is: see above */
}

/* From here on what is found is marked, and goes on the stack. */
static COLD void turn_to_the_stack(struct marker *w, size_t count) {
  for (unsigned class = 1; class <= ORDERED_CLASSES; class ++) w->marks[class] = heap.marked;
  for (size_t i = 0; i < count; i++) {
    struct candidate *c = &w->candidates[i];
    size_t offset = (size_t)(c->word - w->order.found.cells[0]);
    if (is_ordered(c->object)) c->word = &heap.marked[0][offset];
  }
  w->order.stacking = true;
}

void marker_settle_by_pages(struct marker *w, size_t count) {
  if (UNLIKELY(!w->order.stacking && !atomic_get(&marking.flagging))) turn_to_the_stack(w, count);
  bool flagging = !w->order.stacking;
  for (size_t i = 0; i < count; i++) {
    struct candidate c = w->candidates[i];
    if (!flagging || !is_ordered(c.object)) {
      settle(w, c);
    } else if (!(atomic_get(c.word) & c.bit)) {
      wait_for_page(w, c);
      w->order.noted++;
      w->order.on = true;
    }
  }
}

/* A round is over. Where little waits in each page, and that does not grow, to go round for it
   costs more than it saves: what is found from here on goes by the stack, in all who mark. */
static void end_round(struct order *o) {
  o->rounds++;
  if (o->taken > 2 * o->most) {
    o->most = o->taken;
    o->all_visits = o->all_taken = 0;
  }
  o->all_taken += o->taken;
  o->taken_before += o->taken;
  o->all_visits += marking.top / FLAGS_A_VISIT;
  o->taken = 0;
  if (o->all_visits < size_max(PATIENCE * marking.top, LEAST_PATIENCE)) return;
  if (o->all_taken < WORTHWHILE * o->all_visits) atomic_set(&marking.flagging, false);
  o->all_visits = o->all_taken = 0;
}

static void visit(struct order *o, size_t page) {
  o->page = page;
  o->word = 0;
  o->words = heap.pages[page].words;
  o->class = page_entry_class(heap.page_first[page]);
  o->granules = size_classes[o->class].granules;
  o->all_visits++;
  o->visits++;
}

/* Those of eight pages from this one on, in all tables; the number is a multiple of eight. */
static inline uint64_t eight_flags(size_t page) {
  uint64_t flags = 0;
  for (unsigned i = 0; i < marking.tables; i++)
    flags |= atomic_get((const uint64_t *)(marking.found[i].flags + page));
  return flags;
}

static bool take_flags(size_t page) {
  uint8_t flags = 0;
  for (unsigned i = 0; i < marking.tables; i++) {
    uint8_t *flag = &marking.found[i].flags[page];
    if (atomic_get(flag)) flags |= __atomic_exchange_n(flag, 0, __ATOMIC_SEQ_CST);
  }
  return flags;
}

/* The next flagged page, once round at most. */
static bool find_page(struct order *o) {
  size_t at = o->page + 1;
  for (int half = 0; half < 2; half++) {
    for (; at < marking.top; at++) {
      if (at % sizeof(uint64_t) == 0) { /* eight at a time; behind the last there are zeros */
        while (at < marking.top && !eight_flags(at)) at += sizeof(uint64_t);
        if (at >= marking.top) break;
      }
      if (!take_flags(at)) continue;
      visit(o, at);
      return true;
    }
    if (half == 0) end_round(o);
    at = 1;
  }
  return false;
}

bool marker_next_taken(struct marker *w) {
  struct order *o = &w->order;
  for (;;) {
    while (o->word < o->words) {
      uint64_t *marked = &heap.marked[o->page][o->word], before = atomic_get(marked), new = 0;
      for (unsigned i = 0; i < marking.tables; i++)
        new |= atomic_get(&marking.found[i].cells[o->page][o->word]);
      unsigned first = o->word++ * 64;
      new &= ~before;
      if (!new) continue;
      if (marking.helpers) new &= ~__atomic_fetch_or(marked, new, __ATOMIC_SEQ_CST);
      else *marked = before | new;
      o->bits = new;
      if (!new) continue;
      o->taken += count_ones(new);
      o->first = o->page * PAGE_GRANULES + first * (uint64_t)o->granules;
      return true;
    }
    if (!find_page(o)) break;
  }
  o->on = false; /* until this one flags a page again */
  return false;
}

/* Going by pages brings objects together by itself: once that is done it goes on, unless it did not
   pay or the heap is hardly scattered. (The entries of a hash table and what lies beside each: by
   pointers .53 of them are far from those before, by pages .23 to .32, in half the time.) */
bool mark_scattered(const struct mark_counts *counts) {
  if (!counts->by_pages) return counts->far > counts->small / NOTED / 2;
  return counts->far > counts->noted / 8 && counts->taken > counts->small / 2;
}
