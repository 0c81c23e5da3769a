/* report.h: what happened, told to those who listen: counters and the log. Listeners never act.

   Events are reported by the thread they happen in, outside the pause, with no lock held. */
#ifndef RECLAIM_REPORT_H
#define RECLAIM_REPORT_H

#include "base/base.h"
#include "base/text.h"

/* One cycle, done or given up. Times in nanoseconds, sizes in bytes. */
struct cycle_event {
  const char *reason;   /* why it began */
  const char *given_up; /* why it was given up; NULL: it was completed */
  uint64_t pause, stop, roots, mark, flip, sweep;
  uint64_t heap;   /* in spans and large objects when it began */
  uint64_t filled; /* in objects and buffers then */
  uint64_t due;    /* how much of that made it due */
  uint64_t limit;  /* of what is in spans and large objects; 0: none */
  const char *limited_by;
  uint64_t live;    /* reached or kept */
  uint64_t suspect; /* not reached, but not yet confirmed */
  uint64_t reclaimed, cells;
  uint64_t root_bytes, threads, mappings, markers;
  const char *order; /* in which objects were marked */
  uint64_t recovered, condemned, revived;
  uint64_t next; /* heap size at which the next begins */
};

struct report_totals {
  uint64_t cycles, skipped;
  uint64_t reclaimed, cells;
  uint64_t longest_pause, total_pause; /* nanoseconds */
  uint64_t dropped, recovered;         /* injected leaks: made, taken back (objects) */
  uint64_t condemned;                  /* condemned now */
  uint64_t false_reclaims;
  uint64_t bad_frees;
  uint64_t last_live;
};
extern HIDDEN struct report_totals report_totals;

/* Why cycles were given up: a count for each word that stood in cycle_event.given_up. */
enum { REPORT_REASONS = 24 };
struct report_reason {
  const char *why; /* NULL behind the last */
  uint64_t count;
};
extern HIDDEN struct report_reason report_reasons[REPORT_REASONS + 1];

HIDDEN void report_cycle(const struct cycle_event *event);
HIDDEN void report_exit(void);
/* A proven wrong reclaim: a condemned object was used. `by` is the call (or "write"). */
HIDDEN void report_false_reclaim(const char *by, uintptr_t object, size_t size, uintptr_t caller);
/* A free, realloc or malloc_usable_size of what is no live object. */
struct report_pointer {
  const char *by;
  uintptr_t address;
  const char *what;
  uintptr_t block; /* the cell that it lies in, and what fits into it; 0: none */
  size_t size;
};
HIDDEN void report_bad_free(const struct report_pointer *pointer);
/* Behind a block something was written, first at this distance from its beginning; found by that
   call, or by the sweep, which none of the program's calls led to. */
struct report_overflow {
  const char *by;
  uintptr_t block;
  size_t size, at;
  bool untraced;
};
HIDDEN COLD void report_overflow(const struct report_overflow *overflow);
/* Called before errors=abort ends the process, if set: shows how it came there. */
extern HIDDEN void (*report_trace)(void);
/* Something was given up for good or for a while: one line, in the log only. */
HIDDEN void report_note(const char *text);
HIDDEN void report_fork_child(void);

/* Writes one line ("reclaim[PID] " and a newline are added) to log=, if any. */
HIDDEN void log_text(const struct text *text);
HIDDEN bool log_wanted(void);

#endif
