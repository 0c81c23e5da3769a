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

#include "base/remedy.h"
#include "heap/page_heap.h"
#include "mutator/pages.h"
#include "ports/port.h"

void (*sweep_condemned)(uintptr_t address, size_t size, enum condemned condemned);

static struct {
  struct sweep_policy policy;
  size_t sweeping;   /* pages being swept right now, by whomever */
  size_t begin, end; /* heap pages that may wait for a sweep */
} state;

void sweep_init(void) { mutator_sweep_page = sweep_page; }
void sweep_fork_child(void) { state.sweeping = 0; }

static bool may_die(uint8_t object, const struct sweep_policy *policy) {
  if (object & STATE_PINNED) return false;
  if (object & STATE_LIVE) return policy->live;
  return (object & STATE_QUARANTINED) && policy->quarantined;
}

/* Counts one more mark that did not reach a live object. False: those were enough. */
static inline bool stays_suspect(uint8_t *object, const struct sweep_policy *policy) {
  unsigned times = state_suspected(*object) + 1;
  if (!(*object & STATE_LIVE) || times >= policy->confirm) return false;
  *object = (uint8_t)((*object & ~STATE_SUSPECT_MASK) | times * STATE_SUSPECT);
  return true;
}

struct sweep_counts sweep_flip(const struct sweep_policy *policy) {
  struct sweep_counts counts;
  memset(&counts, 0, sizeof counts);
  state.policy = *policy;
  state.begin = state.end = 0;
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++) {
    struct page *page = &heap.pages[i];
    if (!page_begins(page)) continue;
    uint64_t *allocated = page_allocated(page), *marked = page_marked(page);
    bool any = false;
    for (unsigned w = 0; w < page->words; w++) {
      uint64_t valid =
          w + 1u == page->words && page->cells % 64 ? (1ull << page->cells % 64) - 1 : ~0ull;
      uint64_t reached = marked[w] & valid, dead = 0;
      for (uint64_t bits = allocated[w] & valid & ~reached; bits; bits &= bits - 1) {
        uint64_t bit = bits & -bits;
        uintptr_t address =
            page_address(page) + (w * 64 + (uint32_t)__builtin_ctzll(bits)) * page->size;
        uint8_t *object = state_at(address);
        if (*object == STATE_NONE) continue; /* waits in a buffer */
        if (!may_die(*object, policy)) {
          counts.kept_objects++;
          counts.kept_bytes += page->size;
        } else if (!(*object & STATE_CONDEMNED) && stays_suspect(object, policy)) {
          counts.suspect_bytes += page->size;
        } else if (policy->condemn) {
          *object &= (uint8_t)~STATE_SUSPECT_MASK;
          bool first = !(*object & STATE_CONDEMNED);
          *object |= STATE_CONDEMNED;
          counts.condemned++;
          if (first) {
            counts.dead_objects++;
            counts.dead_bytes += page->size;
            if (*object & STATE_DROPPED) counts.recovered++;
          }
          if (sweep_condemned)
            sweep_condemned(address, page->size, first ? CONDEMNED_NOW : CONDEMNED_STILL);
        } else {
          dead |= bit;
          counts.dead_objects++;
          counts.dead_bytes += page->size;
          if (*object & STATE_DROPPED) counts.recovered++;
          *object = STATE_DEAD | (*object & STATE_DROPPED);
        }
      }
      if (UNLIKELY(policy->condemn))
        for (uint64_t bits = allocated[w] & reached; bits; bits &= bits - 1) {
          uintptr_t address =
              page_address(page) + (w * 64 + (uint32_t)__builtin_ctzll(bits)) * page->size;
          uint8_t *object = state_at(address);
          if (!(*object & STATE_CONDEMNED)) continue;
          *object &= (uint8_t)~STATE_CONDEMNED; /* a stale word points to it again: no error */
          counts.revived++;
          if (sweep_condemned) sweep_condemned(address, page->size, CONDEMNED_NO_MORE);
        }
      marked[w] = dead;
      any |= dead != 0;
    }
    if (any) {
      page->unswept = 1;
      if (!state.begin) state.begin = i;
      state.end = i + 1;
    }
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

enum { PURGE_LEAST = 64 * 1024, WIPED_IN_PLACE = 128 };

/* Garbage is full of pointers to other garbage. A program that gets this memory again and does not
   write all of it would keep whatever they point to, chains of it without end (Boehm, "Bounding
   space usage of conservative garbage collectors", POPL 2002). */
static void wipe(uintptr_t address, size_t size) {
  if (WITHOUT(wipe_dead)) return;
  if (size >= PURGE_LEAST && port_purge((void *)address, size)) return;
  if (size > WIPED_IN_PLACE) {
    memset((void *)address, 0, size);
    return;
  }
  struct granule {
    uint64_t words[2];
  } *at = (struct granule *)address; /* most cells are so small that a call is dear */
  for (size_t i = 0; i < size / GRANULE; i++) at[i] = (struct granule){{0, 0}};
}

/* Claims one dead cell. False: the program used it meanwhile (it had hidden its pointer). */
static bool take_dead(uintptr_t address, size_t size) {
  uint8_t *object = state_at(address), old = atomic_get(object);
  if (!state_is_dead(old) || !__atomic_compare_exchange_n(object, &old, STATE_NONE, false,
                                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
    return false;
  if (UNLIKELY(state.policy.poison)) memset((void *)address, 0xdb, size);
  else wipe(address, size);
  return true;
}

static void sweep_claimed(struct page *page) {
  uint64_t *marked = page_marked(page);
  if (page->class == CLASS_LARGE) {
    bool dead = marked[0] & 1;
    marked[0] = 0;
    if (dead && take_dead(page_address(page), page->size)) page_heap_release_large(page);
    return;
  }
  size_t size = page->size;
  unsigned words = page->words; /* once the last cell is free the page may change hands */
  for (unsigned w = 0; w < words; w++) {
    uint64_t dead = marked[w], taken = 0;
    if (!dead) continue;
    marked[w] = 0;
    for (uint64_t bits = dead; bits; bits &= bits - 1) {
      uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(bits);
      if (take_dead(page_address(page) + index * size, size)) taken |= bits & -bits;
    }
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
