/* malloc.c: the malloc family, with glibc's values, errno and alignment.

   The fast paths are inlined into malloc and free, which stand in a section of their own so that a
   signal handler can tell that it interrupted one (gate.c). Everything else goes through make()
   and give_up(): there cycles begin, oracles look, and memory that is not ours goes back to libc.

   Called before constructors and after destructors; from signal handlers; by threads that have
   no TLS of their own set up yet (the dummy mutator). Nothing here is ever torn down. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "api/background.h"
#include "api/bad_pointer.h"
#include "api/canaries.h"
#include "api/libraries.h"
#include "api/reclaim.h"
#include "api/start.h"
#include "base/option.h"
#include "base/remedy.h"
#include "collect/cycle.h"
#include "collect/pace.h"
#include "collect/permit.h"
#include "heap/page_heap.h"
#include "mutator/allocate.h"
#include "mutator/pages.h"
#include "mutator/pin.h"
#include "mutator/quarantine.h"
#include "mutator/zero_size.h"
#include "ports/port.h"
#include "report/report.h"
#include "report/site.h"

#define FAST __attribute__((section("reclaim_fast")))
/* In a function reached by a jump from the interposed name: the program's own call. */
#define CALLER ((uintptr_t)__builtin_return_address(0))

enum {
  MOVE_PAGES = 1 << 20, /* objects this large are moved by mremap instead of copying */
  MOVES = 256,          /* at most: each may leave a mapping of its own behind */
  GROWING = 1,          /* instead of an alignment: takes over from an object that was outgrown */
};

/* --- making
 * ---------------------------------------------------------------------------------------- */

static void *try_to_make(size_t alignment, size_t size, bool *zero) {
  if (alignment == GROWING) return allocate_growing(size);
  return alignment > GRANULE ? allocate_aligned(alignment, size, zero) : allocate(size, zero);
}

/* Under check=, collect-every= and drop-free= every call comes through here. */
static COLD void count_allocation(void) {
  static size_t allocations;
  if (!options.collect_every) return;
  if (__atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED) % options.collect_every == 0)
    cycle_run(CYCLE_EVERY, false);
}

static COLD void *out_of_memory(size_t alignment, size_t size, bool *zero) {
  void *object = NULL;
  /* What can be had is had before the program is told no: as many cycles as it takes to confirm
     what leaked, then the room behind blocks that grow, then every free page. */
  if (size_max(size, alignment) < heap.page_limit * HEAP_PAGE) {
    for (unsigned i = 0; i < options.confirm && !object; i++) {
      if (!WITHOUT(collect_before_enomem)) cycle_run(CYCLE_MEMORY, true);
      allocate_trim(true);
      object = try_to_make(alignment, size, zero);
    }
    if (!object && page_heap_take_spare()) object = try_to_make(alignment, size, zero);
    if (!object && page_heap_purge(0)) object = try_to_make(alignment, size, zero);
  }
  if (!object) errno = ENOMEM;
  return object;
}

static NOINLINE void *make(size_t alignment, size_t size, bool *zero, uintptr_t caller) {
  if (UNLIKELY(!start_heap_done) && !start_heap()) {
    errno = ENOMEM;
    return NULL;
  }
  if (UNLIKELY(size > PTRDIFF_MAX)) {
    errno = ENOMEM;
    return NULL;
  }
  if (UNLIKELY(!size)) {
    void *object = zero_size_make(alignment);
    if (object) return object;
  }
  if (UNLIKELY(thread_instrumented)) count_allocation();
  if (UNLIKELY(options.collect_every_ms)) background_interval();
  if (pace_cycle_due() && (LIKELY(pace.looked) || cycle_look()) && !pace_put_off()) {
    if (!cycle_run(CYCLE_GROWTH, false) && pace_overdue()) cycle_wait();
  } else if (UNLIKELY(pace_attention_due())) {
    background_attention();
  }
  void *object = try_to_make(alignment, size, zero);
  if (UNLIKELY(!object)) object = out_of_memory(alignment, size, zero);
  if (UNLIKELY(thread_instrumented) && object) {
    site_record((uintptr_t)object, caller);
    if (heap.pads) canaries_note(object, size);
  }
  return object;
}

static NOINLINE void *malloc_slowly(size_t size) { return make(GRANULE, size, NULL, CALLER); }

EXPORT FAST void *malloc(size_t size) {
  if (WITHOUT(slack) && size) size--;
  void *object = allocate_fast(size);
  return LIKELY(object != NULL) ? object : malloc_slowly(size);
}

/* --- giving up
 * ------------------------------------------------------------------------------------- */

/* A fixed sequence, so that a run can be repeated: Steele, Lea, Flood, "Fast splittable
   pseudorandom number generators" (OOPSLA 2014), the mixing function. */
static bool drops(void) {
  static uint64_t sequence;
  uint64_t z = __atomic_add_fetch(&sequence, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (z ^ z >> 31) % 100 < options.drop_free;
}

/* The leak injector: this object's free() never happens. */
static bool drop(const struct cell *cell) {
  uint8_t *state = cell->state, live = atomic_get(state);
  if (!drops() || (live & ~STATE_SUSPECT_MASK) != STATE_LIVE ||
      !__atomic_compare_exchange_n(state, &live, live | STATE_DROPPED, false, __ATOMIC_SEQ_CST,
                                   __ATOMIC_RELAXED))
    return false;
  __atomic_fetch_add(&report_totals.dropped, 1, __ATOMIC_RELAXED);
  return true;
}

/* Does a live object begin at pointer? One that the collector had given up, condemned or not yet
   swept, is in use after all: that is told, and mended. */
static bool is_in_use(void *pointer, struct cell *cell, const char *by, uintptr_t caller) {
  uint8_t state = object_find(pointer, cell);
  if (UNLIKELY((state & STATE_CONDEMNED) || state_is_dead(state))) {
    report_false_reclaim(by, cell->address, cell->page->size, caller);
    if (UNLIKELY(cell->page->barred)) page_heap_open_large(cell->page);
    __atomic_compare_exchange_n(cell->state, &state, STATE_LIVE | (state & STATE_DROPPED), false,
                                __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    state = atomic_get(cell->state);
  } else if (UNLIKELY((state & STATE_LIVE) && state_suspected(state))) {
    /* A suspect that is used: the count starts anew. It may be changing hands just now. */
    uint8_t trusted = state & ~STATE_SUSPECT_MASK;
    if (__atomic_compare_exchange_n(cell->state, &state, trusted, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_RELAXED))
      state = trusted;
  }
  return (state & STATE_LIVE) && !(state & STATE_DROPPED);
}

/* Is it a signal stack that the kernel still has? Then a stop may come to run there. */
static bool is_signal_stack(const struct cell *cell) {
  return UNLIKELY(atomic_get(&cell->page->hints) & HINT_STACK) && options.collect &&
         !permit_forbidden() && thread_alternate_stack_in(cell->address, cell->page->size);
}

/* Not what the program may have protected: its pages are made anew. */
static void wipe(const struct cell *cell) {
  if (!(atomic_get(&cell->page->hints) & HINT_OWN))
    memset((void *)cell->address, 0, cell_usable(cell));
}

static void give_up(void *pointer, const char *by, uintptr_t caller) {
  struct cell cell;
  if (!is_in_use(pointer, &cell, by, caller)) {
    bad_pointer(by, pointer);
    return;
  }
  if (UNLIKELY(options.drop_free) && drop(&cell)) return;
  bool in_use = is_signal_stack(&cell);
  if (UNLIKELY(heap.pads != NULL)) {
    canaries_check(&cell, by);
    if (options.free_policy == FREE_TRUST && !in_use) canary_wipe(cell.address, cell.page->size);
  }
  if (options.free_policy == FREE_IGNORE) {
    pin_end(&cell);
    page_heap_reopen_large(cell.page);
    return;
  }
  if (in_use) {
    if (!quarantine_in_use(&cell)) bad_pointer(by, pointer);
    return;
  }
  if (options.free_policy == FREE_QUARANTINE) {
    if (!quarantine(&cell)) bad_pointer(by, pointer);
    else if (UNLIKELY(options.zero) && !is_emptied(&cell)) wipe(&cell);
    return;
  }
  if (UNLIKELY(options.zero)) wipe(&cell);
  if (release(pointer) == RELEASE_NOT_LIVE) bad_pointer(by, pointer);
  if (atomic_get(&page_heap_counts.dirty_free) >= MIB / HEAP_PAGE ||
      atomic_get(&mutator_pages_emptied))
    background_attention();
}

/* All there is to do for most objects when free() does not free. */
static inline bool free_quickly(void *pointer) {
  switch (heap.free_quickly) {
  case FREE_QUARANTINE: return quarantine_fast(pointer);
  case FREE_IGNORE: {
    unsigned class;
    const uint8_t *state = state_if_ours(pointer, &class);
    return state && class != CLASS_LARGE && atomic_get(state) == STATE_LIVE;
  }
  default: return false;
  }
}

static NOINLINE void free_slowly(void *pointer) {
  if (!pointer || free_quickly(pointer)) return;
  int error = errno;
  if (heap_holds((uintptr_t)pointer)) {
    give_up(pointer, "free", CALLER);
  } else if (UNLIKELY(zero_size_holds(pointer))) {
    bool live = options.free_policy == FREE_IGNORE ? zero_size_is_live(pointer)
                                                   : zero_size_release(pointer);
    if (!live) bad_zero_size("free", pointer);
  } else {
    const struct foreign_allocator *other = bad_pointer_or_foreign("free", pointer);
    if (other) other->free(pointer);
  }
  errno = error;
}

EXPORT FAST void free(void *pointer) {
  if (UNLIKELY(!release_fast(pointer))) free_slowly(pointer);
}

EXPORT void cfree(void *pointer) { free(pointer); }

/* --- the rest of the family
 * ------------------------------------------------------------------------ */

EXPORT FAST void *calloc(size_t count, size_t size) {
  size_t bytes;
  if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes))) {
    errno = ENOMEM;
    return NULL;
  }
  void *object = allocate_fast(bytes);
  bool zero = false;
  if (UNLIKELY(!object)) object = make(GRANULE, bytes, &zero, CALLER);
  return object && !zero && !WITHOUT(calloc_zeroes) ? memset(object, 0, bytes) : object;
}

static FAST NOINLINE void *make_quickly(size_t alignment, size_t size, uintptr_t caller) {
  void *object = allocate_fast(size);
  return LIKELY(object != NULL) ? object : make(alignment, size, NULL, caller);
}

/* Exchanged: a mark may settle that it is suspected, or is no more. */
static void set_leaf(void *object) {
  __atomic_fetch_or(state_at((uintptr_t)object), STATE_LEAF, __ATOMIC_RELAXED);
}

/* Moves an object's contents to a new one. Both are live until the contents are over, so that a
   collection in between finds what they point to. Pages are taken from the old one only where its
   free() is one: else the program may still have a pointer to it, and reads what was there. */
static void *move(void *pointer, const struct cell *cell, size_t size, uintptr_t caller) {
  static uint32_t moves;
  size_t old = cell_usable(cell);
  void *target = make_quickly(size > old ? GROWING : GRANULE, size, caller);
  if (!target) return NULL;
  struct cell place = {0};
  bool by_pages =
      size > old && old >= MOVE_PAGES && object_find(target, &place) &&
      place.page->class == CLASS_LARGE && options.check == CHECK_OFF &&
      options.free_policy == FREE_TRUST &&
      !(atomic_get(&cell->page->hints) & (HINT_STACK | HINT_OWN)) &&
      ((atomic_get(&moves) < MOVES && atomic_add(&moves, 1) < MOVES) || WITHOUT(bounded_moves));
  if (UNLIKELY(heap.pads != NULL) && by_pages) canary_wipe(cell->address, cell->page->size);
  enum port_move moved =
      by_pages ? port_move_pages(pointer, target, cell->page->size) : PORT_NOT_MOVED;
  if (UNLIKELY(moved == PORT_MOVE_LOST) && !WITHOUT(lost_target)) {
    /* Its place is never handed out again; and the program's next mapping may come to lie there,
       where no root is looked for. */
    permit_forbid("memory of the heap was lost");
    errno = ENOMEM;
    return NULL;
  }
  if (moved != PORT_MOVED) memcpy(target, pointer, size_min(old, size));
  if (UNLIKELY(heap.pads != NULL) && by_pages) canary_move(place.address, place.page->size, size);
  uint8_t state = atomic_get(cell->state);
  if (UNLIKELY(state & STATE_PINNED)) pin_object((uintptr_t)target);
  if (UNLIKELY(state_is_leaf(state))) set_leaf(target);
  free(pointer);
  return target;
}

static void *resize_zero_size(void *pointer, size_t size, uintptr_t caller) {
  if (!zero_size_is_live(pointer)) {
    bad_zero_size("realloc", pointer);
    errno = ENOMEM;
    return NULL;
  }
  void *target = make_quickly(GRANULE, size, caller);
  if (target) free(pointer);
  return target;
}

static void *resize(void *pointer, size_t size, uintptr_t caller) {
  if (UNLIKELY(zero_size_holds(pointer))) return resize_zero_size(pointer, size, caller);
  if (!heap_holds((uintptr_t)pointer)) {
    const struct foreign_allocator *other = bad_pointer_or_foreign("realloc", pointer);
    if (other) return other->realloc(pointer, size);
    errno = ENOMEM;
    return NULL;
  }
  struct cell cell;
  if (!is_in_use(pointer, &cell, "realloc", caller)) {
    bad_pointer("realloc", pointer);
    errno = ENOMEM;
    return NULL;
  }
  if (size > PTRDIFF_MAX) {
    errno = ENOMEM;
    return NULL;
  }
  size_t usable = cell_usable(&cell), room = cell_room(&cell);
  if (UNLIKELY(heap.pads != NULL)) canaries_check(&cell, "realloc");
  if (UNLIKELY(options.zero) && size < usable && !(atomic_get(&cell.page->hints) & HINT_OWN))
    memset((char *)pointer + size, 0, usable - size);
  bool fits = size <= room && (size >= room / 2 || room < 64);
  if (UNLIKELY(heap.pads != NULL) ? canaries_resize(&cell, size, usable, fits)
                                  : fits || resize_in_place(&cell, size))
    return pointer;
  return move(pointer, &cell, size, caller);
}

EXPORT void *reclaim_malloc_leaf(size_t size) {
  void *object = make_quickly(GRANULE, size, CALLER);
  if (object && heap_holds((uintptr_t)object)) set_leaf(object); /* not of no bytes */
  return object;
}

static NOINLINE void *realloc_slowly(void *pointer, size_t size) {
  if (!pointer) return make_quickly(GRANULE, size, CALLER);
  if (!size) {
    free(pointer);
    return NULL;
  }
  return resize(pointer, size, CALLER);
}

/* Mostly the block grows or shrinks within its cell. */
EXPORT void *realloc(void *pointer, size_t size) {
  if (LIKELY(fits_fast(pointer, size)) && LIKELY(!options.zero)) return pointer;
  return realloc_slowly(pointer, size);
}

EXPORT void *reallocarray(void *pointer, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return NULL;
  }
  return realloc(pointer, bytes);
}

static bool is_power_of_two(size_t value) { return value && !(value & (value - 1)); }

/* As glibc: any alignment is raised to the next power of two; one too large to be is EINVAL. */
static FAST NOINLINE void *make_aligned(size_t alignment, size_t size, uintptr_t caller) {
  if (UNLIKELY(alignment > SIZE_MAX / 2 + 1)) {
    errno = EINVAL;
    return NULL;
  }
  size_t power = GRANULE;
  if (alignment > GRANULE) power = (size_t)1 << (64 - __builtin_clzll(alignment - 1));
  void *object = size || !zero_size.size ? allocate_aligned_fast(power, size) : NULL;
  return LIKELY(object != NULL) ? object : make(power, size, NULL, caller);
}

EXPORT void *memalign(size_t alignment, size_t size) {
  return make_aligned(alignment, size, CALLER);
}
EXPORT void *aligned_alloc(size_t alignment, size_t size) {
  return make_aligned(alignment, size, CALLER);
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t size) {
  if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0) return EINVAL;
  void *object = make_aligned(alignment, size, CALLER);
  if (!object) return ENOMEM;
  *result = object;
  return 0;
}

EXPORT void *valloc(size_t size) { return make_aligned(KERNEL_PAGE, size, CALLER); }

EXPORT void *pvalloc(size_t size) {
  if (size > PTRDIFF_MAX) {
    errno = ENOMEM;
    return NULL;
  }
  return make_aligned(KERNEL_PAGE, round_up(size, KERNEL_PAGE), CALLER);
}

static NOINLINE size_t usable_slowly(void *pointer) {
  if (!pointer) return 0;
  if (UNLIKELY(zero_size_holds(pointer))) {
    if (!zero_size_is_live(pointer)) bad_zero_size("malloc_usable_size", pointer);
    return 0;
  }
  if (!heap_holds((uintptr_t)pointer)) {
    const struct foreign_allocator *other = bad_pointer_or_foreign("malloc_usable_size", pointer);
    return other ? other->usable_size(pointer) : 0;
  }
  struct cell cell;
  if (!is_in_use(pointer, &cell, "usable", CALLER)) {
    bad_pointer("malloc_usable_size", pointer);
    return 0;
  }
  return cell_usable(&cell);
}

/* Some programs ask after each malloc and before each free, to count what they use. */
EXPORT size_t malloc_usable_size(void *pointer) {
  size_t cell = cell_size_fast(pointer);
  return LIKELY(cell) ? cell - 1 : usable_slowly(pointer);
}
