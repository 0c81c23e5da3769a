/* mark_order.c: marks small objects page by page instead of one after the other; see mark.h.

   An object that is found is not put on the mark stack: its page is flagged. Whoever marks goes
   round the heap, from one flagged page to the next, and scans there what is marked and was not
   taken before. What is found meanwhile waits until its page's turn, and so comes to lie beside
   others: in a large heap whose objects point all over it, each costs several misses of the cache
   and of the translation of addresses by itself, and a fraction of them side by side. (Go's
   collector goes by pages too, https://go.dev/blog/greenteagc, in the order in which they were
   found.)

   Who takes a page clears its flag first and looks at its bits then; who marks an object sets its
   bit first and the flag then. So what is found too late for one visit leads to another. Two may
   visit a page at once: each object goes to the one who sets its bit in `taken`. Nobody goes idle
   before he has been all round once and found no flag, so what he has flagged himself is done. */
#include "collect/marker.h"

#include "heap/page_heap.h"

enum {
  PATIENCE = 2, /* visits of each heap page in which no round takes twice as much as before */
  LEAST_PATIENCE = 1024,
  WORTHWHILE = 4,      /* objects a visit, on average */
  FLAGS_A_VISIT = 256, /* to look through so many costs as much as a visit */
};

static bool commit(size_t top) {
  if (!heap_commit_taken(top, &marking.taken, &marking.flags)) return false;
  marking.top = size_max(marking.top, top);
  return true;
}

bool marker_order_begin(size_t top) {
  bool plain =
      marking.shapes[1].small; /* else a word means more than it says, or pages are closed */
  return plain && commit(top);
}

/* A page fault for each page of the tables takes as long as to mark a thousand objects. Not where
   most of the heap is free: most of the tables will not be used. */
void marker_order_prepare(void) {
  size_t top = atomic_get_acquire(&heap.top);
  if (page_heap_used() >= top / 2 && commit(top)) heap_populate_taken(top);
}

void marker_order_end(void) {
  if (marking.top) heap_purge_taken(marking.top);
  marking.top = 0;
}

bool marker_wait_for_page(struct marker *w, uint64_t *marked, uint64_t bit) {
  size_t offset = (size_t)(marked - heap.marked[0]), page = offset / PAGE_WORDS;
  if (UNLIKELY(!atomic_get(&marking.flagging)))
    return __atomic_fetch_or(&marking.taken[0][offset], bit, __ATOMIC_SEQ_CST) & bit;
  w->order.on = true;
  note_page(w, page);
  if (!__atomic_load_n(&marking.flags[page], __ATOMIC_SEQ_CST))
    __atomic_store_n(&marking.flags[page], 1, __ATOMIC_SEQ_CST);
  return true;
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

/* The next flagged page, once round at most. */
static bool find_page(struct order *o) {
  size_t at = o->page + 1;
  for (int half = 0; half < 2; half++) {
    for (; at < marking.top; at++) {
      if (at % sizeof(uint64_t) == 0) { /* eight at a time; behind the last there are zeros */
        while (at < marking.top && !atomic_get((const uint64_t *)(marking.flags + at)))
          at += sizeof(uint64_t);
        if (at >= marking.top) break;
      }
      if (!atomic_get(&marking.flags[at]) ||
          !__atomic_exchange_n(&marking.flags[at], 0, __ATOMIC_SEQ_CST))
        continue;
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
      uint64_t *taken = &marking.taken[o->page][o->word];
      uint64_t marked = __atomic_load_n(&heap.marked[o->page][o->word], __ATOMIC_SEQ_CST);
      unsigned first = o->word++ * 64;
      uint64_t before = atomic_get(taken);
      if (!(marked & ~before)) continue;
      if (marking.helpers) before = __atomic_fetch_or(taken, marked, __ATOMIC_SEQ_CST);
      else *taken = marked;
      o->bits = marked & ~before;
      if (!o->bits) continue;
      o->taken += count_ones(o->bits);
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
  return counts->far > counts->small / 8 && counts->taken > counts->small / 2;
}
