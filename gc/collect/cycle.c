/* cycle.c: see cycle.h. The pause holds only what must be stopped: stop, roots, mark and the flip
   of the bitmaps; sweeping, the log and trimming run beside the program. */
#include "collect/cycle.h"

#include <string.h>

#include "base/identity.h"
#include "base/lock.h"
#include "base/option.h"
#include "base/remedy.h"
#include "collect/mark.h"
#include "collect/pace.h"
#include "collect/permit.h"
#include "collect/roots.h"
#include "collect/sweep.h"
#include "collect/world.h"
#include "heap/page_heap.h"
#include "mutator/orphans.h"
#include "mutator/pages.h"
#include "ports/port.h"
#include "report/report.h"
#include "report/site.h"

enum {
  STACK_SIZE = 256 * 1024,
  CHANGED_MAX = 64,
  HARVEST_PAGES = 4096,
  LEAST_SHARED = 128,    /* heap pages filled, 8 MiB: below, a helper costs more than it gains */
  LEAST_BY_PAGES = 3072, /* heap pages filled, 192 MiB: a smaller heap is largely in the cache */
  MARKERS_DEFAULT = 8,   /* at most, where nobody said how many */
  FORGOTTEN_PART = 64,   /* of what is expected to be used, at each cycle that begins with less */
};

static struct {
  bool ready;
  struct lock lock;   /* held for a whole cycle, and by fork and exec */
  uint32_t announced; /* how many of those wait: no cycle starts meanwhile */
  int announcer;      /* the thread that holds the lock for its fork or exec, 0: none */
  unsigned nested;    /* announcements by handlers that interrupted it there; its own */
  uint32_t disabled;
  char *stack;       /* of STACK_SIZE bytes */
  uintptr_t spilled; /* the collecting thread's stack pointer */
  enum cycle_reason reason;
  bool completed;
  size_t most_of_late; /* heap pages in use when a cycle began; less by and by */
  struct cycle_event event;
  struct {
    uintptr_t object;
    size_t size;
  } changed[CHANGED_MAX]; /* condemned, yet written */
  size_t changed_count;
  bool scattered; /* so the last marking found the heap */
  bool knows_processor;
} cycle;

static const char *const reason_names[] = {"growth", "request",  "memory",
                                           "every",  "interval", "idle"};

static const char *const limit_names[] = {
    [PACE_NO_LIMIT] = "none", [PACE_OPTION] = "option", [PACE_GROUP] = "group"};

/* The second form of the condemn oracle: a condemned object that was written is in use. */
static void check_condemned(uintptr_t object, size_t size, enum condemned condemned) {
  if (condemned == CONDEMNED_NOW) {
    site_remember(object, size);
  } else if (!site_unchanged(object, size)) {
    if (cycle.changed_count < CHANGED_MAX) {
      cycle.changed[cycle.changed_count].object = object;
      cycle.changed[cycle.changed_count++].size = size;
    }
    struct cell cell;
    if (cell_of(object, &cell)) cell.page->hints |= HINT_PINNED;
    *state_at(object) = STATE_LIVE | STATE_PINNED; /* told once, and kept with all it points to */
  }
}

bool cycle_init(void) {
  cycle.stack = heap_metadata(STACK_SIZE);
  if (!cycle.stack || !world_init() || !roots_init() || !mark_init()) return false;
  sweep_init();
  if (options.check == CHECK_CONDEMN) sweep_condemned = check_condemned;
  cycle.ready = true;
  return true;
}

static const char *stop_failure(enum world_result result) {
  switch (result) {
  case WORLD_TASKS: return "tasks";
  case WORLD_TIMEOUT: return "timeout";
  case WORLD_SIGNAL: return "signal";
  case WORLD_COUNT: return "threads";
  case WORLD_SMALL_STACK: return "small-stack";
  default: return NULL;
  }
}

static const char *roots_failure(enum roots_result result) {
  switch (result) {
  case ROOTS_OPEN: return "maps";
  case ROOTS_TRUNCATED: return "mappings";
  case ROOTS_UNREADABLE: return "unreadable";
  case ROOTS_FOREIGN: return "foreign";
  default: return NULL;
  }
}

static struct sweep_policy policy(void) {
  return (struct sweep_policy){.live = options.reclaim && permit_takes_unfreed(),
                               .quarantined = true,
                               .confirm = options.confirm,
                               .condemn = options.check == CHECK_CONDEMN,
                               .poison = options.check == CHECK_POISON};
}

/* World stopped. NULL, or why nothing may be reclaimed this time. */
static const char *mark_all(struct cycle_event *event, struct mark_counts *marked) {
  const char *failure = roots_failure(roots_open(options.kernel == KERNEL_BASELINE));
  if (failure) return failure;
  if (roots_maps()->rings && !WITHOUT(rings)) permit_keep_unfreed("io_uring");
  uint64_t begin = port_now();
  struct roots_counts roots;
  struct mark_words words = {
      .stride = options.stride, .slop = options.slop, .strip_high_bits = options.strip_high_bits};
  mark_begin(&words, roots_maps());
  if (options_keep_unfreed()) mark_live();
  failure = roots_failure(roots_mark(cycle.spilled, &roots));
  *marked = mark_end();
  if (!failure) cycle.scattered = mark_scattered(marked);
  roots_close();
  event->roots = begin + roots.asking; /* which goes on while roots are marked */
  event->root_bytes = roots.bytes;
  event->threads = roots.threads;
  event->mappings = roots.mappings;
  event->markers = marked->markers;
  return failure;
}

/* Takes from a thread that waits in a blocking call the cells it had ready and its pages that are
   not full (of very many the rest in another cycle). A handler that interrupted one of its mutators
   and now waits shows in `interrupted`. */
static void harvest(struct thread *thread) {
  for (unsigned level = 0; level < HANDLER_LEVELS; level++)
    if (thread->levels[level] && !thread->interrupted[level] &&
        mutator_harvest(thread->levels[level], HARVEST_PAGES) == HARVEST_PAGES)
      atomic_set(&mutator_pages_emptied, true);
}

static bool has_harvest(const struct thread *thread) {
  for (unsigned level = 0; level < HANDLER_LEVELS; level++) {
    const struct mutator *mutator = atomic_get_acquire(&thread->levels[level]);
    if (mutator && mutator_has_harvest(mutator)) return true;
  }
  return false;
}

/* In which order objects are marked; where all are that were not freed, there is but one. */
static bool goes_by_pages(size_t to_search) {
  if (options_keep_unfreed()) return false;
  if (options.mark_order != ORDER_AUTO) return options.mark_order == ORDER_PAGES;
  return cycle.scattered && to_search >= LEAST_BY_PAGES;
}

/* How is marked, and with whom this is shared, is settled before the world is stopped. */
static void prepare(size_t to_search) {
  if (!cycle.knows_processor) port_cpu_init();
  cycle.knows_processor = true;
  unsigned markers = options.markers             ? options.markers
                     : to_search >= LEAST_SHARED ? MARKERS_DEFAULT
                                                 : 1;
  if (markers > 1 && !permit_helpers(cycle.stack, STACK_SIZE)) markers = 1;
  if (markers > 1 && !options.markers)
    markers = (unsigned)size_min(markers, port_processors(&port_groups_of_system));
  mark_prepare(markers);
  mark_by_pages(goes_by_pages(to_search));
}

/* A program that grew into this cycle will grow into the next; of others nothing is known. Under
   quarantine all that is freed waits for a cycle, and how much that is goes up and down: the most
   of late is expected, or each low would cost the page faults of the next high. */
static void expect_growth(size_t pages) {
  if (cycle.reason != CYCLE_GROWTH) pages = 0;
  else if (options.free_policy == FREE_QUARANTINE) pages = size_max(pages, cycle.most_of_late);
  page_heap_expect(pages);
}

static void note_use(size_t used) {
  cycle.most_of_late = size_max(used, cycle.most_of_late - cycle.most_of_late / FORGOTTEN_PART);
}

/* Heap pages in use when the next cycle is due; there were `used` when `filled` were filled. */
static size_t expected_pages(size_t used, size_t filled) {
  size_t pages = pace.due_pages + page_heap_unfilled();
  if (options.free_policy == FREE_TRUST) return pages;
  /* Large objects leave up to half of their pages unfilled; as before, it may be. */
  double loose = (double)size_min(used, 2 * filled) / (double)size_max(filled, 1);
  return size_max(pages, (size_t)((double)pace.due_pages * loose));
}

/* Where nothing serves again but by a cycle, a program that grew into this one uses all that it has
   freed before the next. If it does not, a cycle of an idle program gives that back. */
static void expect_use(void) {
  bool used = cycle.reason == CYCLE_GROWTH && options.free_policy != FREE_TRUST;
  atomic_set(&mutator_keeps_holes, used);
  atomic_set(&mutator_pages_emptied, used);
}

/* On the cycle's own stack. */
static void run(void *unused) {
  (void)unused;
  struct cycle_event *event = &cycle.event;
  memset(event, 0, sizeof *event);
  event->reason = reason_names[cycle.reason];
  if (cycle.reason == CYCLE_GROWTH && pace_near_limit()) event->reason = "limit";
  event->filled = (uint64_t)page_heap_filled() * HEAP_PAGE;
  event->due = (uint64_t)pace.due_pages * HEAP_PAGE;
  event->limit = pace.most_pages == SIZE_MAX ? 0 : (uint64_t)pace.most_pages * HEAP_PAGE;
  event->limited_by = limit_names[pace.limited_by];
  event->heap = (uint64_t)page_heap_counts.used * HEAP_PAGE;
  cycle.changed_count = 0;
  size_t filled = page_heap_filled(), used = page_heap_used();
  uint64_t begin = port_now();
  event->given_up = stop_failure(world_stop());
  uint64_t stopped = port_now(), marked = stopped, flipped = stopped;
  event->stop = stopped - begin;
  struct sweep_counts swept;
  struct mark_counts reached;
  memset(&swept, 0, sizeof swept);
  memset(&reached, 0, sizeof reached);
  if (!event->given_up) {
    uint32_t keys = WITHOUT(unreadable_pages) ? 0 : port_keys_open();
    pace_begin();
    event->given_up = mark_all(event, &reached);
    if (!WITHOUT(unreadable_pages)) port_keys_restore(keys);
    marked = port_now();
    if (event->given_up) {
      sweep_cancel();
      event->roots = 0;
    } else {
      event->mark = marked - event->roots; /* root scanning and marking go together */
      event->roots -= stopped;
      struct sweep_policy now = policy();
      swept = sweep_flip(&now);
    }
    flipped = port_now();
    world_resume();
  }
  mark_release();
  event->flip = flipped - marked;
  event->pause = flipped - begin;
  if (!event->given_up) {
    world_bury();
    note_use(used);
    expect_growth(page_heap_counts.used); /* what is empty now is filled again */
    sweep_rest();
  }
  uint64_t end = port_now();
  event->sweep = end - flipped;
  event->order = reached.by_pages ? "pages" : "pointers";
  event->live = reached.bytes + swept.kept_bytes;
  event->suspect = swept.suspect_bytes;
  event->reclaimed = swept.dead_bytes;
  event->cells = swept.dead_objects;
  event->recovered = swept.recovered;
  event->condemned = swept.condemned;
  event->revived = swept.revived;
  pace.took = end - begin;
  pace.took_pages = filled;
  size_t left = filled - size_min(swept.dead_bytes / HEAP_PAGE, filled);
  if (event->given_up) pace_skipped(end);
  else pace_done(left, event->live, swept.dead_bytes, swept.suspect_bytes, end);
  event->next = (uint64_t)pace.due_pages * HEAP_PAGE;
  if (!event->given_up) { /* else a thread that is held may hold their locks */
    expect_use();
    if (!WITHOUT(idle_threads)) world_visit_parked(has_harvest, harvest);
    mutator_bequeath();
    mutator_ask_to_trim();
    expect_growth(expected_pages(used, filled));
    page_heap_decay(end);
  }
  cycle.completed = !event->given_up;
}

/* Is this a handler that interrupted its own thread's fork or exec, in which signals stay open? It
   must not wait for what it holds itself. */
static bool is_announcer(void) {
  int announcer = atomic_get(&cycle.announcer);
  return UNLIKELY(announcer != 0) && announcer == port_thread_id() && !WITHOUT(own_exec);
}

bool cycle_look(void) {
  if (!cycle.ready || permit_forbidden() || identity_check() != IDENTITY_SELF) return true;
  if (atomic_get(&cycle.announced)) return false;
  uint64_t mask = port_signals_block();
  bool due = false;
  if (lock_take_if_free(&cycle.lock)) {
    due = permit_forbidden() || pace_look_first(port_now(), cycle.stack, STACK_SIZE);
    lock_drop(&cycle.lock);
  }
  port_signals_restore(mask);
  return due;
}

bool cycle_run(enum cycle_reason reason, bool wait) {
  if (!cycle.ready || atomic_get(&cycle.disabled) || !options.collect || permit_forbidden())
    return false;
  if (identity_check() != IDENTITY_SELF) return false;
  if (atomic_get(&cycle.announced) && (!wait || is_announcer())) return false;
  uint64_t mask = port_signals_block(); /* the stop signal stays open while we wait */
  if (WITHOUT(stoppable_wait)) port_signals_block_all();
  if (wait) {
    lock_take(&cycle.lock);
  } else if (!lock_take_if_free(&cycle.lock)) {
    port_signals_restore(mask);
    return false;
  }
  if (!permit_cycle(cycle.stack, STACK_SIZE)) {
    lock_drop(&cycle.lock);
    port_signals_restore(mask);
    return false;
  }
  port_signals_block_all();
  pace_look(port_now(), cycle.stack, STACK_SIZE);
  prepare(page_heap_filled() - pace_freed_pages());
  cycle.reason = reason;
  port_call_on_stack(run, NULL, cycle.stack + STACK_SIZE, &cycle.spilled);
  bool completed = cycle.completed;
  for (size_t i = 0; i < cycle.changed_count; i++)
    report_false_reclaim("write", cycle.changed[i].object, cycle.changed[i].size, 0);
  report_cycle(&cycle.event);
  permit_report();
  lock_drop(&cycle.lock);
  port_signals_restore(mask);
  return completed;
}

void cycle_wait(void) {
  if (!cycle.ready || identity_check() != IDENTITY_SELF || is_announcer()) return;
  lock_acquire(&cycle.lock);
  lock_release(&cycle.lock);
}

void cycle_disable(void) { __atomic_fetch_add(&cycle.disabled, 1, __ATOMIC_SEQ_CST); }

void cycle_enable(void) {
  uint32_t depth = atomic_get(&cycle.disabled);
  while (depth && !__atomic_compare_exchange_n(&cycle.disabled, &depth, depth - 1, false,
                                               __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
    ;
}

/* In sections: a handler sees all of it or nothing. */
void cycle_announce(void) {
  bool nested = is_announcer();
  section_begin();
  __atomic_fetch_add(&cycle.announced, 1, __ATOMIC_SEQ_CST);
  if (nested) {
    cycle.nested++;
  } else {
    lock_take(&cycle.lock);
    atomic_set(&cycle.announcer, port_thread_id());
  }
  section_end();
}

void cycle_retract(void) {
  section_begin();
  if (cycle.nested) {
    cycle.nested--;
  } else {
    atomic_set(&cycle.announcer, 0);
    lock_drop(&cycle.lock);
  }
  __atomic_fetch_sub(&cycle.announced, 1, __ATOMIC_SEQ_CST);
  section_end();
}

/* A handler that forks may have interrupted a fork or exec of its own thread's: the child goes on
   with that, and retracts. Other threads' announcements are gone with them. */
void cycle_fork_child(bool announced) {
  unsigned outer = announced ? cycle.nested : 0;
  cycle.announced = outer;
  cycle.nested = outer ? outer - 1 : 0;
  cycle.announcer = outer ? port_thread_id() : 0;
  cycle.lock.state = outer ? 1 : 0;
  sweep_fork_child();
  report_fork_child();
  pace_init();
}
