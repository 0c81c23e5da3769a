/* report.c: the list of events; counters and the log's lines. See report.h; the fields of a line
   are documented in reclaim(1). */
#include "report/report.h"

#include <string.h>

#include "base/message.h"
#include "base/option.h"
#include "ports/port.h"
#include "report/site.h"

struct report_totals report_totals;
struct report_reason report_reasons[REPORT_REASONS + 1];
void (*report_trace)(void);

/* By whoever holds the cycle lock. A word that finds no room is in `skipped` alone. */
static void count_reason(const char *why) {
  struct report_reason *entry = report_reasons;
  while (entry->why && strcmp(entry->why, why) != 0) entry++;
  if (entry == report_reasons + REPORT_REASONS) return;
  atomic_set(&entry->count, entry->count + 1);
  atomic_set_release(&entry->why, why);
}

static void add_count(struct text *text, const char *name, uint64_t value) {
  text_add(text, " ");
  text_add(text, name);
  text_add(text, "=");
  text_add_number(text, value);
}

static void add_time(struct text *text, const char *name, uint64_t nanoseconds) {
  text_add(text, " ");
  text_add(text, name);
  text_add(text, "=");
  text_add_milliseconds(text, nanoseconds);
}

static void add_totals(struct text *text) {
  add_count(text, "skipped", report_totals.skipped);
  add_count(text, "dropped", report_totals.dropped);
  add_count(text, "recovered", report_totals.recovered);
  add_count(text, "condemned", report_totals.condemned);
  add_count(text, "false", report_totals.false_reclaims);
}

void report_cycle(const struct cycle_event *event) {
  struct report_totals *t = &report_totals;
  if (event->given_up) {
    t->skipped++;
    count_reason(event->given_up);
  } else {
    t->cycles++;
    t->reclaimed += event->reclaimed;
    t->cells += event->cells;
    t->recovered += event->recovered;
    t->condemned = event->condemned;
    t->last_live = event->live;
    t->total_pause += event->pause;
    if (event->pause > t->longest_pause) t->longest_pause = event->pause;
  }
  if (!log_wanted()) return;
  char buffer[1536];
  struct text text = text_in(buffer, sizeof buffer);
  text_add(&text, "cycle=");
  text_add_number(&text, t->cycles + t->skipped);
  text_add(&text, " reason=");
  text_add(&text, event->reason);
  text_add(&text, event->given_up ? " result=skipped why=" : " result=done");
  if (event->given_up) text_add(&text, event->given_up);
  add_time(&text, "pause", event->pause);
  add_time(&text, "stop", event->stop);
  add_time(&text, "roots", event->roots);
  add_time(&text, "mark", event->mark);
  add_time(&text, "flip", event->flip);
  add_time(&text, "sweep", event->sweep);
  add_count(&text, "heap", event->heap);
  add_count(&text, "filled", event->filled);
  add_count(&text, "due", event->due);
  add_count(&text, "limit", event->limit);
  text_add(&text, " limit_by=");
  text_add(&text, event->limited_by);
  add_count(&text, "live", event->live);
  add_count(&text, "next", event->next);
  add_count(&text, "suspect", event->suspect);
  add_count(&text, "reclaimed", event->reclaimed);
  add_count(&text, "cells", event->cells);
  add_count(&text, "threads", event->threads);
  add_count(&text, "mappings", event->mappings);
  add_count(&text, "root_bytes", event->root_bytes);
  add_count(&text, "markers", event->markers);
  text_add(&text, " order=");
  text_add(&text, event->order);
  add_totals(&text);
  log_text(&text);
}

void report_exit(void) {
  struct report_totals *t = &report_totals;
  if (!log_wanted()) return;
  char buffer[1536];
  struct text text = text_in(buffer, sizeof buffer);
  text_add(&text, "exit");
  add_count(&text, "cycles", t->cycles);
  add_count(&text, "reclaimed", t->reclaimed);
  add_count(&text, "cells", t->cells);
  add_time(&text, "longest_pause", t->longest_pause);
  add_time(&text, "total_pause", t->total_pause);
  add_totals(&text);
  const char *before = " given_up=";
  for (const struct report_reason *entry = report_reasons; entry->why; entry++) {
    text_add(&text, before);
    text_add(&text, entry->why);
    text_add(&text, ":");
    text_add_number(&text, entry->count);
    before = "+";
  }
  log_text(&text);
}

/* To the log where there is one, else to stderr if an oracle was asked for. */
static void send(const struct text *text) {
  if (log_wanted()) log_text(text);
  else if (options.check != CHECK_OFF) message_text(text);
}

void report_false_reclaim(const char *by, uintptr_t object, size_t size, uintptr_t caller) {
  __atomic_fetch_add(&report_totals.false_reclaims, 1, __ATOMIC_RELAXED);
  char buffer[1024];
  struct text text = text_in(buffer, sizeof buffer);
  text_add(&text, "false-reclaim by=");
  text_add(&text, by);
  text_add(&text, " address=");
  text_add_hex(&text, object);
  add_count(&text, "size", size);
  text_add(&text, " allocated-at=");
  site_describe(site_of(object), &text);
  if (caller) {
    text_add(&text, " used-at=");
    site_describe(caller, &text);
  }
  send(&text);
}

static void add_site(struct text *text, uintptr_t block) {
  if (!site_of(block)) return;
  text_add(text, ", allocated at ");
  site_describe(site_of(block), text);
}

/* Counts what a program did wrong. Is it to be told? */
static bool is_told(void) {
  __atomic_fetch_add(&report_totals.bad_frees, 1, __ATOMIC_RELAXED);
  return options.errors != ERRORS_IGNORE;
}

static void tell(const struct text *text, bool traced) {
  message_text(text);
  if (options.errors != ERRORS_ABORT) return;
  if (report_trace && traced) report_trace();
  port_abort();
}

void report_overflow(const struct report_overflow *o) {
  if (!is_told()) return;
  char buffer[1000];
  struct text text = text_in(buffer, sizeof buffer);
  text_add(&text, o->by);
  text_add(&text, "(");
  text_add_hex(&text, o->block);
  text_add(&text, "): overflow, byte ");
  text_add_number(&text, o->at);
  text_add(&text, " was written of a block of ");
  text_add_number(&text, o->size);
  text_add(&text, " bytes");
  add_site(&text, o->block);
  tell(&text, !o->untraced);
}

void report_bad_free(const struct report_pointer *p) {
  if (!is_told()) return;
  char buffer[1000];
  struct text text = text_in(buffer, sizeof buffer);
  text_add(&text, p->by);
  text_add(&text, "(");
  text_add_hex(&text, p->address);
  text_add(&text, "): ");
  text_add(&text, p->what);
  if (p->block) {
    text_add(&text, " of ");
    text_add_number(&text, p->size);
    text_add(&text, " bytes");
    if (p->address != p->block) {
      text_add(&text, ", ");
      text_add_number(&text, p->address - p->block);
      text_add(&text, " behind its beginning ");
      text_add_hex(&text, p->block);
    }
    add_site(&text, p->block);
  }
  tell(&text, true);
}

void report_note(const char *note) {
  char buffer[512];
  struct text text = text_in(buffer, sizeof buffer);
  text_add(&text, "note ");
  text_add(&text, note);
  log_text(&text);
}

void report_fork_child(void) {
  memset(&report_totals, 0, sizeof report_totals);
  memset(report_reasons, 0, sizeof report_reasons);
}
