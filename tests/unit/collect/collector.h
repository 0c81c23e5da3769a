/* collector.h: what the tests of roots.c and cycle.c share: a collector, and a stop-mark-resume
   that leaves the mark bits for a look. */
#ifndef RECLAIM_UNIT_COLLECTOR_H
#define RECLAIM_UNIT_COLLECTOR_H

#include "tests/unit/unit.h"

#include "collect/cycle.h"
#include "collect/mark.h"
#include "collect/pace.h"
#include "collect/roots.h"
#include "collect/sweep.h"
#include "collect/world.h"
#include "report/report.h"

static inline void unit_start_collector(void) {
  unit_start_heap();
  options.confirm = 1; /* what is lost is gone after one cycle */
  identity_init();
  pace_init();
  cr_assert(cycle_init());
}

static struct {
  uintptr_t spilled;
  bool baseline;
  unsigned stride;
  enum world_result stopped;
  enum roots_result opened, marked;
  struct roots_counts roots;
  struct mark_counts counts;
} unit_marking;

static void unit_mark_stopped(void *unused) {
  (void)unused;
  unit_marking.stopped = world_stop();
  if (unit_marking.stopped != WORLD_STOPPED) return;
  sweep_cancel();
  unit_marking.opened = roots_open(unit_marking.baseline);
  if (unit_marking.opened == ROOTS_MARKED) {
    struct mark_words words = {.stride = unit_marking.stride};
    mark_begin(&words, roots_maps());
    unit_marking.marked = roots_mark(unit_marking.spilled, &unit_marking.roots);
    unit_marking.counts = mark_end();
    roots_close();
  }
  world_resume();
}

/* Marks from all roots of this process; afterwards unit_is_marked tells what was reached. */
static inline void unit_mark(bool baseline) {
  enum { STACK = 128 * 1024 };
  static char *stack; /* outside the scan, as the cycle's own */
  if (!stack) stack = heap_metadata(STACK);
  unit_marking.baseline = baseline;
  unit_marking.stride = 4;
  uint64_t mask = port_signals_block_all();
  port_call_on_stack(unit_mark_stopped, NULL, stack + STACK, &unit_marking.spilled);
  port_signals_restore(mask);
  cr_assert_eq(unit_marking.stopped, WORLD_STOPPED);
  cr_assert_eq(unit_marking.opened, ROOTS_MARKED);
  cr_assert_eq(unit_marking.marked, ROOTS_MARKED);
}

static inline bool unit_is_marked(const void *object) {
  struct cell cell;
  if (!cell_of((uintptr_t)object, &cell)) return false;
  return page_marked(cell.page)[cell.index / 64] >> (cell.index % 64) & 1;
}

#endif
