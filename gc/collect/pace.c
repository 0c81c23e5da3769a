/* pace.c: see pace.h. */
#include "collect/pace.h"

#include "base/option.h"
#include "base/remedy.h"
#include "mutator/pages.h"
#include "mutator/quarantine.h"
#include "ports/port.h"

enum {
  LEAST_STEP = 32 << 20,
  QUARANTINE_STEP = 3 << 20,  /* instead, while cycles take no more than ... */
  QUARANTINE_PARTS = 10,      /* ... one part in so many of the time; else more, ... */
  QUARANTINE_MOST = 16 << 20, /* ... up to this or the usual share of what is live */
  FIRST_LOOK = 2 << 20,       /* most programs never grow so far, and look at no control group */
  IDLE_STEP = 1 << 20,
  LARGEST_BACK_OFF = 3,
  EMPTIED_PARTS = 50,
  GROUP_SHARE = 8, /* one part in so many of a group's limit is left to what is not ours */
};
static const uint64_t look_again = 1000000000; /* at groups in which no limit was found */

struct pace pace = {.due_pages = SIZE_MAX,
                    .overdue_pages = SIZE_MAX,
                    .attention_pages = SIZE_MAX,
                    .limit_pages = SIZE_MAX,
                    .most_pages = SIZE_MAX};
const struct port_groups *pace_groups = &port_groups_of_system;

static struct {
  size_t filled;      /* heap pages, at the start */
  uint64_t looked_at; /* when the groups were looked at */
  size_t group_pages; /* what the groups leave to the heap; SIZE_MAX: all it wants */
  size_t group_left;  /* bytes that all who are in the group may take yet */
  size_t step;        /* bytes that the heap was to grow by before this cycle */
  size_t latest;      /* heap pages filled at which a cycle is put off no more */
  size_t quarantined; /* bytes that had been when the last cycle began ... */
  size_t freed;       /* ... and when this one did */
} state = {.group_pages = SIZE_MAX, .group_left = SIZE_MAX};

/* The kernel counts what all processes of the group use, our heap and its tables among it: so the
   heap may have what it has and the part of what is left that we may take. */
static void look_at_groups(void *unused) {
  (void)unused;
  struct port_memory memory;
  state.group_pages = state.group_left = SIZE_MAX;
  if (!port_memory_left(pace_groups, &memory)) return;
  size_t share = memory.limit / GROUP_SHARE, room = memory.left - size_min(share, memory.left);
  state.group_left = memory.left;
  state.group_pages = page_heap_backed() + heap_pages_within(room);
}

static void settle_limit(void) {
  size_t option = options.limit ? heap_pages_within(options.limit) : SIZE_MAX;
  pace.most_pages = size_min(option, state.group_pages);
  pace.limited_by = pace.most_pages == SIZE_MAX ? PACE_NO_LIMIT
                    : pace.most_pages == option ? PACE_OPTION
                                                : PACE_GROUP;
  atomic_set(&page_heap_limit, pace.most_pages);
}

/* Of what room is left a quarter stays; but so many pages may come in any case, and beyond the
   limit the more the less the last cycles found. */
static size_t within(size_t from, size_t least) {
  if (from >= pace.most_pages) return from + (least << pace.fruitless);
  return from + size_max((pace.most_pages - from) / 4 * 3, least);
}

/* `step`: bytes to grow by before the next cycle, from so many heap pages; `least`: the same where
   the limit is near. */
static void set(size_t step, size_t least, size_t from) {
  atomic_set(&state.step, step);
  size_t filled = page_heap_filled(), used = page_heap_used(), grown = step / HEAP_PAGE;
  size_t due = size_max(from + grown, filled + grown / 4), overdue = due + grown / 4;
  size_t limit = SIZE_MAX;
  settle_limit();
  pace.due_by_limit = false;
  if (pace.most_pages != SIZE_MAX) {
    /* At the end of a group's limit the program is ended: garbage is looked for half the way. */
    size_t most = pace.limited_by == PACE_GROUP ? size_max(state.group_left / 2, MIB) : SIZE_MAX;
    least = size_min(least, most >> pace.fruitless) / HEAP_PAGE;
    /* Pages in use are what the limit is on; but it is what fills them that a cycle can lessen, and
       where free cells lie among others pages may be filled without one more being taken. */
    limit = within(used, size_max(least, 1));
    size_t near = within(filled, size_max(least, 1));
    if (near < due) {
      pace.due_by_limit = true;
      due = near;
      overdue = due + (due - filled) / 4 + 1;
    }
  }
  atomic_set(&pace.limit_pages, limit);
  atomic_set(&pace.due_pages, due);
  atomic_set(&pace.overdue_pages, overdue);
  atomic_set(&pace.attention_pages, filled + IDLE_STEP / HEAP_PAGE);
  if (!pace.looked) atomic_set(&pace.limit_pages, size_min(limit, used + FIRST_LOOK / HEAP_PAGE));
}

static size_t least_step(void) {
  return options.free_policy == FREE_QUARANTINE ? QUARANTINE_STEP : LEAST_STEP;
}

/* All that is freed under quarantine takes a cycle to serve again: a small heap that is used up
   fast would be marked all the time if it could not grow, and if it grew by as much as others may
   it would be many times as large as without quarantine. So it grows by what lies between, such
   that cycles are no more than a part of the time; half the way at once, and by no more than half,
   since one cycle's time says little. */
static size_t step_in_quarantine(uint64_t now, size_t most) {
  uint64_t between = size_max(now - pace.last, 1), wanted = pace.took * QUARANTINE_PARTS;
  double ideal = (double)state.step * (double)wanted / (double)between;
  size_t step = state.step / 2 + (size_t)size_min((uint64_t)ideal, 2 * state.step) / 2;
  return size_max(size_min(size_max(step, state.step / 4 * 3), most), QUARANTINE_STEP);
}

static size_t freed_since(void) {
  size_t before = atomic_get_acquire(&state.quarantined);
  return atomic_get(&quarantine_bytes) - before;
}

size_t pace_freed_pages(void) { return size_min(freed_since() / HEAP_PAGE, page_heap_filled()); }

bool pace_put_off(void) {
  if (!options_keep_unfreed()) return false;
  size_t due = atomic_get(&pace.due_pages), filled = page_heap_filled();
  if (pace.due_by_limit || page_heap_used() >= atomic_get(&pace.limit_pages)) return false;
  size_t latest = atomic_get(&state.latest);
  if (filled >= latest) return false;
  size_t step = atomic_get(&state.step);
  size_t left = (step - size_min(freed_since(), step)) / HEAP_PAGE;
  if (!left) return false;
  size_t later = size_min(filled + left, latest);
  if (later > due && __atomic_compare_exchange_n(&pace.due_pages, &due, later, false,
                                                 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    atomic_set(&pace.overdue_pages, later + step / HEAP_PAGE / 4);
  return true;
}

void pace_init(void) {
  pace.fruitless = 0;
  state.filled = page_heap_filled();
  state.latest = state.filled + LEAST_STEP / HEAP_PAGE;
  set(least_step(), MIB, state.filled);
}

static void look(uint64_t now, void *stack, size_t size) {
  pace.looked = true;
  state.looked_at = now;
  if (WITHOUT(group_limit)) return;
  if (port_count_threads() == 1 || WITHOUT(own_descriptors)) look_at_groups(NULL);
  else port_call_apart(look_at_groups, NULL, stack, size); /* else what was known stays */
}

bool pace_look_first(uint64_t now, void *stack, size_t size) {
  if (!pace.looked) {
    if (port_is_filtered()) pace.looked = true; /* until a trial of the calls was made */
    else look(now, stack, size);
    set(least_step(), MIB, state.filled);
  }
  return pace_cycle_due();
}

void pace_look(uint64_t now, void *stack, size_t size) {
  bool none = state.group_pages == SIZE_MAX && state.looked_at;
  if (!none || now - state.looked_at >= look_again) look(now, stack, size);
}

void pace_begin(void) { state.freed = atomic_get(&quarantine_bytes); }

void pace_done(size_t left, size_t live, size_t reclaimed, size_t suspect, uint64_t now) {
  size_t freed = state.freed - state.quarantined; /* since the last cycle began */
  atomic_set_release(&state.quarantined, state.freed);
  bool worth = reclaimed + suspect >= live / 100 + 64 * KIB;
  if (options_keep_unfreed() && freed) worth |= reclaimed >= freed / 2;
  if (worth || WITHOUT(back_off)) pace.fruitless = 0;
  else if (pace.fruitless < LARGEST_BACK_OFF) pace.fruitless++;
  size_t share = live / 100 * options.growth, usual = size_max(share, LEAST_STEP), step = usual;
  if (options.free_policy == FREE_QUARANTINE)
    step = step_in_quarantine(now, size_max(share, QUARANTINE_MOST));
  size_t most = size_max(live, LEAST_STEP << LARGEST_BACK_OFF);
  step = size_max(step, size_min(step << pace.fruitless, most));
  usual = size_max(usual, size_min(usual << pace.fruitless, most));
  atomic_set(&state.latest, left + usual / HEAP_PAGE);
  /* Suspects are likely garbage: what they hold is taken off what the heap may grow by, so that
     confirmation costs collections rather than memory, four times as many at most. */
  set(size_max(step - size_min(step, suspect), step / 4), size_max(live / 16, MIB), left);
  if (suspect >= IDLE_STEP) atomic_set(&pace.attention_pages, page_heap_filled());
  pace.last = now;
}

void pace_skipped(uint64_t now) {
  set(LEAST_STEP / 4, MIB, page_heap_filled());
  pace.last = now;
}

bool pace_near_limit(void) {
  if (page_heap_used() >= atomic_get(&pace.limit_pages)) return true;
  return pace.due_by_limit && page_heap_filled() >= atomic_get(&pace.due_pages);
}

void pace_note_start(uint64_t now) {
  if (!pace.last) pace.last = now; /* the clock's beginning is not the program's */
}

bool pace_idle_due(uint64_t now) {
  if (!options.idle) return false;
  pace_note_start(now);
  uint64_t idle = now - pace.last;
  if (pace_attention_due() && idle >= (uint64_t)options.idle * 1000000000u) return true;
  if (!atomic_get(&mutator_pages_emptied)) return false;
  uint64_t parts = idle / EMPTIED_PARTS, pages = page_heap_filled();
  return parts >= pace.took || parts * pace.took_pages >= pace.took * pages;
}
