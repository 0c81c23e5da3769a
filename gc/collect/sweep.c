/* sweep.c: see sweep.h.

   Why sweeping beside the program is right. Which cells die was settled in the pause, and a dead
   cell stays allocated, so no thread gets it and its page cannot change hands before it is swept.
   Who swaps the page's `unswept` flag has its dead bits to himself. A dead cell that the program
   frees after all, or uses, is fought for by its state byte alone: one exchange wins. With the
   atomic `and` that frees the last dead cells the page is anyone's; after it only the flag `full`
   may be asked, which is atomic and tells whose turn it is (mutator.h). `sweeping` is raised before
   a flag is swapped and lowered when the page is done: sweep_rest waits for it, so that no stop
   ever finds a page half swept. A thread cannot leave in between, its signals are blocked
   (mutator.c). tests/tsan runs this beside refills, frees and ends of threads. */
#include "collect/sweep.h"

#include <string.h>

#include "base/option.h"
#include "base/remedy.h"
#include "heap/page_heap.h"
#include "mutator/canary.h"
#include "mutator/pages.h"
#include "ports/port.h"
#include "report/report.h"

enum {
  FETCHED_AHEAD = 4, /* heap pages; what lies behind the last may be fetched in vain */
  LARGE_TO_PURGE = 1 << 20,
};

void (*sweep_condemned)(uintptr_t address, size_t size, enum condemned condemned);

static struct {
  struct sweep_policy policy;
  size_t sweeping;   /* pages being swept right now, by whomever */
  size_t begin, end; /* heap pages that may wait for a sweep */
} state;

void sweep_init(void) { mutator_sweep_page = sweep_page; }
void sweep_fork_child(void) { state.sweeping = 0; }

/* What the flip makes of a cell that was not reached. */
enum fate {
  FATE_WAITS, /* no object: in a buffer, or being made */
  FATE_KEPT,
  FATE_SUSPECT,
  FATE_CONDEMNED,
  FATE_DEAD,
  FATE_RECOVERED, /* dead, and an injected leak */
  FATES
};

static bool may_die(uint8_t object, const struct sweep_policy *policy) {
  if (object & STATE_PINNED) return false;
  if (object & STATE_LIVE) return policy->live;
  return (object & STATE_QUARANTINED) && policy->quarantined;
}

/* One more mark did not reach it. */
static enum fate fate_of(uint8_t object, const struct sweep_policy *policy, uint8_t *becomes) {
  *becomes = object;
  if (state_is_none(object)) return FATE_WAITS;
  if (!may_die(object, policy)) return FATE_KEPT;
  unsigned times = state_suspected(object) + 1;
  if ((object & STATE_LIVE) && !(object & STATE_CONDEMNED) && times < policy->confirm) {
    *becomes = (uint8_t)((object & ~STATE_SUSPECT_MASK) | times * STATE_SUSPECT);
    return FATE_SUSPECT;
  }
  if (policy->condemn) {
    *becomes = (uint8_t)((object & ~STATE_SUSPECT_MASK) | STATE_CONDEMNED);
    return FATE_CONDEMNED;
  }
  *becomes = STATE_DEAD | (object & STATE_DROPPED);
  return object & STATE_DROPPED ? FATE_RECOVERED : FATE_DEAD;
}

/* The same for every state there can be: millions of cells may die in one pause. */
static struct { uint8_t fate, becomes; } fates[256];

static void settle_fates(const struct sweep_policy *policy) {
  for (unsigned object = 0; object < 256; object++)
    fates[object].fate = (uint8_t)fate_of((uint8_t)object, policy, &fates[object].becomes);
}

static COLD void condemn(const struct page *page, unsigned cell, uint8_t before,
                         struct sweep_counts *counts) {
  bool first = !(before & STATE_CONDEMNED);
  counts->condemned++;
  if (first) {
    counts->dead_objects++;
    counts->dead_bytes += page->size;
    if (before & STATE_DROPPED) counts->recovered++;
  }
  if (sweep_condemned)
    sweep_condemned(page_address(page) + cell * page->size, page->size,
                    first ? CONDEMNED_NOW : CONDEMNED_STILL);
}

static COLD void revive(const struct page *page, unsigned word, uint64_t reached,
                        struct sweep_counts *counts) {
  for (uint64_t bits = reached; bits; bits &= bits - 1) {
    uintptr_t address =
        page_address(page) + (word * 64 + (uint32_t)__builtin_ctzll(bits)) * page->size;
    uint8_t *object = state_at(address);
    if (!(*object & STATE_CONDEMNED)) continue;
    *object &= (uint8_t)~STATE_CONDEMNED; /* a stale word points to it again: no error */
    counts->revived++;
    if (sweep_condemned) sweep_condemned(address, page->size, CONDEMNED_NO_MORE);
  }
}

/* Of these cells of one word of a page, which are dead? Counts what becomes of them in `n`. */
static inline uint64_t flip_word(const struct page *page, unsigned word, uint64_t cells,
                                 uint32_t n[FATES], struct sweep_counts *counts) {
  size_t step = state_step(page);
  uint8_t *states = state_at(page_address(page)) + word * 64 * step;
  uint64_t dead = 0;
  for (uint64_t bits = cells; bits; bits &= bits - 1) {
    unsigned cell = (unsigned)__builtin_ctzll(bits);
    uint8_t *object = states + cell * step, before = *object;
    unsigned fate = fates[before].fate;
    *object = fates[before].becomes;
    n[fate]++;
    dead |= (uint64_t)(fate >= FATE_DEAD) << cell;
    if (UNLIKELY(fate == FATE_CONDEMNED)) condemn(page, word * 64 + cell, before, counts);
  }
  return dead;
}

/* Which bits of one word of a page stand for cells. */
static inline uint64_t valid_cells(const struct page *page, unsigned word) {
  unsigned tail = page->cells % 64;
  return word + 1u == page->words && tail ? (1ull << tail) - 1 : ~0ull;
}

/* Turns a page's marks into dead bits. Are there any? */
static bool flip_page(struct page *page, bool condemns, struct sweep_counts *counts) {
  uint64_t *allocated = page_allocated(page), *marked = page_marked(page), any = 0;
  uint32_t n[FATES] = {0};
  for (unsigned w = 0; w < page->words; w++) {
    uint64_t valid = valid_cells(page, w);
    uint64_t reached = marked[w] & valid, missed = allocated[w] & valid & ~reached;
    uint64_t dead = missed ? flip_word(page, w, missed, n, counts) : 0;
    if (UNLIKELY(condemns)) revive(page, w, allocated[w] & reached, counts);
    if (marked[w] != dead) marked[w] = dead;
    any |= dead;
  }
  uint64_t died = (uint64_t)n[FATE_DEAD] + n[FATE_RECOVERED];
  counts->kept_objects += n[FATE_KEPT];
  counts->kept_bytes += n[FATE_KEPT] * page->size;
  counts->suspect_bytes += n[FATE_SUSPECT] * page->size;
  counts->dead_objects += died;
  counts->dead_bytes += died * page->size;
  counts->recovered += n[FATE_RECOVERED];
  return any;
}

struct sweep_counts sweep_flip(const struct sweep_policy *policy) {
  struct sweep_counts counts;
  memset(&counts, 0, sizeof counts);
  state.policy = *policy;
  state.begin = state.end = 0;
  settle_fates(policy);
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++) {
    struct page *page = &heap.pages[i];
    __builtin_prefetch(heap.allocated[i + FETCHED_AHEAD]);
    __builtin_prefetch(heap.marked[i + FETCHED_AHEAD]);
    if (!page_begins(page) || !flip_page(page, policy->condemn, &counts)) continue;
    page->unswept = 1;
    if (!state.begin) state.begin = i;
    state.end = i + 1;
  }
  return counts;
}

void sweep_cancel(void) {
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++) {
    struct page *page = &heap.pages[i];
    if (!page_begins(page)) continue;
    page->rescan = 0;
    memset(page_marked(page), 0, page->words * sizeof(uint64_t));
  }
}

enum { WIPED_IN_PLACE = 128 };

/* Garbage is full of pointers to other garbage. A program that gets this memory again and does not
   write all of it would keep whatever they point to, chains of it without end (Boehm, "Bounding
   space usage of conservative garbage collectors", POPL 2002). */
static void wipe(uintptr_t address, size_t size) {
  if (WITHOUT(wipe_dead)) return;
  if (size >= LARGE_TO_PURGE && port_purge((void *)address, size)) return;
  if (size > WIPED_IN_PLACE) {
    memset((void *)address, 0, size);
    return;
  }
  struct granule {
    uint64_t words[2];
  } *at = (struct granule *)address; /* most cells are so small that a call is dear */
  for (size_t i = 0; i < size / GRANULE; i++) at[i] = (struct granule){{0, 0}};
}

/* Is what was found dead in cells of this size, or in an object of it, overwritten? What the
   program freed itself is no worse than what free() hands out at once, but it, too, points to what
   was freed before it, and would keep that. Not the memory of large objects, much of which may
   never be used: that costs more than it keeps. */
static bool is_cleared(size_t size) {
  return state.policy.poison || state.policy.live || options.zero || size <= SMALL_LIMIT;
}

static void clear(uintptr_t address, size_t size, bool stays) {
  if (stays) return;
  if (UNLIKELY(state.policy.poison)) memset((void *)address, 0xdb, size);
  else wipe(address, size);
}

/* Under quarantine it was the program that freed it, mostly. */
static uint8_t state_of_taken(void) { return state.policy.live ? STATE_RECLAIMED : STATE_NONE; }

/* Who overflowed it is not on any stack by now. */
static COLD void check_canary(uintptr_t address, size_t size) {
  struct canary_change change;
  if (!canary_check(address, size, &change))
    report_overflow(&(struct report_overflow){.by = "sweep",
                                              .block = address,
                                              .size = change.request,
                                              .at = change.at,
                                              .untraced = true});
  canary_wipe(address, size);
}

/* Claims one dead cell. False: the program used it meanwhile (it had hidden its pointer). */
static bool take_dead(uintptr_t address, uint8_t *object, size_t size, bool stays) {
  uint8_t old = atomic_get(object);
  if (!state_is_dead(old) || !__atomic_compare_exchange_n(object, &old, state_of_taken(), false,
                                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
    return false;
  if (UNLIKELY(heap.pads != NULL)) check_canary(address, size);
  clear(address, size, stays);
  return true;
}

/* Eight state bytes, claimed at once: an exchange for each cell is most of what a sweep of small
   ones costs. The neighbours' bytes are their owners' meanwhile, who store them singly; a
   locked exchange of the eight is between any two such stores, or fails. */
typedef uint64_t state_word __attribute__((may_alias));
enum { WORD_STATES = sizeof(state_word) };
#define LOWEST_BITS (~(state_word)0 / 255) /* of each byte */

/* Claims the dead among them; each byte that is one is 1 in the result. */
static state_word take_states(state_word *states) {
  state_word old = atomic_get(states), dead, taken;
  do {
    dead = old / STATE_DEAD & ~old & LOWEST_BITS; /* not live, see state_is_dead */
    if (!dead) break;
    taken = (old & ~(dead * 255)) | dead * state_of_taken();
  } while (
      !__atomic_compare_exchange_n(states, &old, taken, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
  return dead;
}

/* The cells that begin at these bytes, at so many a step, as bits. */
static uint64_t cells_of(state_word bytes, unsigned step) {
  switch (step) { /* each product brings one byte of each cell's to the top, side by side */
  case 1: return bytes * 0x0102040810204080 >> 56;
  case 2: return bytes * 0x0100020004000800 >> 56 & 15;
  default: return (bytes | bytes >> 31) & 3;
  }
}

/* The dead among 64 cells whose states are one, two or four bytes apart; those that were taken. */
static inline uint64_t take_small(uintptr_t address, state_word *states, size_t size, unsigned step,
                                  uint64_t dead, bool stays) {
  unsigned cells = WORD_STATES / step;
  uint64_t all = (1ull << cells) - 1, taken = 0;
  for (unsigned first = 0; first < 64; first += cells, states++, address += cells * size) {
    if (!(dead >> first & all)) continue;
    uint64_t these = cells_of(take_states(states), step);
    taken |= these << first;
    if (these == all) {
      clear(address, cells * size, stays);
    } else {
      for (uint64_t bits = these; bits; bits &= bits - 1)
        clear(address + (size_t)__builtin_ctzll(bits) * size, size, stays);
    }
  }
  return taken;
}

static inline uint64_t take_cells(const struct size_class *c, uintptr_t address, uint64_t dead,
                                  bool stays) {
  size_t size = c->size, step = size >> c->state_shift;
  uint8_t *states = state_in_class(c, address);
  uint64_t taken = 0;
  switch (UNLIKELY(heap.pads != NULL) ? 0 : step) { /* each has its own canary */
  case 1: return take_small(address, (state_word *)states, size, 1, dead, stays);
  case 2: return take_small(address, (state_word *)states, size, 2, dead, stays);
  case 4: return take_small(address, (state_word *)states, size, 4, dead, stays);
  }
  for (uint64_t bits = dead; bits; bits &= bits - 1) {
    size_t cell = (size_t)__builtin_ctzll(bits);
    if (take_dead(address + cell * size, states + cell * step, size, stays)) taken |= bits & -bits;
  }
  return taken;
}

static bool is_all_garbage(const struct page *page) {
  const uint64_t *allocated = page_allocated(page), *marked = page_marked(page);
  for (unsigned w = 0; w < page->words; w++)
    if ((atomic_get(&allocated[w]) & valid_cells(page, w)) != marked[w]) return false;
  return true;
}

static bool wipes_later(void) {
  return state.policy.live && !state.policy.poison && !options.zero && !WITHOUT(wipe_dead);
}

/* What is large goes back to the kernel, what is less is wiped by whoever gets it. */
static void sweep_large(struct page *page) {
  bool dead = page_marked(page)[0] & 1, later = wipes_later();
  page_marked(page)[0] = 0;
  if (dead && UNLIKELY(page->barred) && !page_heap_open_large(page)) return;
  uintptr_t address = page_address(page);
  if (!dead || !take_dead(address, state_at(address), page->size, true)) return;
  if (page->purged || (later && page->size >= LARGE_TO_PURGE)) page_heap_empty_large(page);
  if (!page->purged) clear(address, page->size, later || !is_cleared(page->size));
  if (later) page->unwiped = !page->purged;
  page_heap_release_large(page);
}

static void sweep_claimed(struct page *page) {
  if (page->class == CLASS_LARGE) {
    sweep_large(page);
    return;
  }
  uint64_t *marked = page_marked(page);
  /* Wiped by whoever fills the page, where that will be done (mutator.c): if it is handed out under
     our eyes it may not be, which harms nobody. */
  bool later = wipes_later() && is_all_garbage(page) && atomic_get(&page->full);
  if (later) page->unwiped = 1;
  /* As it is now: with its last cell free the page may change hands under our eyes, since the
     program may free the dead, whose pointers it had hidden. The old class's states tell of none
     then. */
  const struct size_class *c = &size_classes[page->class];
  size_t size = c->size;
  bool stays = later || !is_cleared(size);
  unsigned words = page->words;
  for (unsigned w = 0; w < words; w++) {
    uint64_t dead = marked[w];
    if (!dead) continue;
    marked[w] = 0;
    uint64_t taken = take_cells(c, page_address(page) + w * 64 * size, dead, stays);
    /* From here on the cells are anyone's; with the last of them the page may be gone. */
    if (!taken) continue;
    atomic_sub(&page_heap_counts.cell_bytes, count_ones(taken) * size);
    __atomic_fetch_and(&page_allocated(page)[w], ~taken, __ATOMIC_SEQ_CST);
  }
}

void sweep_page(struct page *page) {
  atomic_add(&state.sweeping, 1);
  if (__atomic_exchange_n(&page->unswept, 0, __ATOMIC_SEQ_CST)) sweep_claimed(page);
  __atomic_fetch_sub(&state.sweeping, 1, __ATOMIC_RELEASE);
}

void sweep_rest(void) {
  for (size_t i = state.begin; i < state.end; i++) {
    struct page *page = &heap.pages[i];
    if (!atomic_get_acquire(&page->unswept)) continue; /* then its sweeper has been counted */
    atomic_add(&state.sweeping, 1);
    if (__atomic_exchange_n(&page->unswept, 0, __ATOMIC_SEQ_CST)) {
      bool large = page->class == CLASS_LARGE;
      sweep_claimed(page);
      if (!large && __atomic_load_n(&page->full, __ATOMIC_SEQ_CST)) {
        /* In no list of its owner. Whoever swaps the flag may release it when it is empty. */
        if (page_free_cells(page) == page->cells &&
            __atomic_exchange_n(&page->full, 0, __ATOMIC_SEQ_CST)) {
          if (page_free_cells(page) == page->cells) {
            page_heap_release_span(page);
          } else { /* a stale flusher: list it after all */
            __atomic_store_n(&page->full, 1, __ATOMIC_SEQ_CST);
            mutator_page_freed(page);
          }
        } else {
          mutator_page_freed(page);
        }
      }
    }
    __atomic_fetch_sub(&state.sweeping, 1, __ATOMIC_RELEASE);
  }
  while (atomic_get_acquire(&state.sweeping)) port_yield();
}
