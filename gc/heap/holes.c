/* holes.c: see holes.h. */
#include "heap/holes.h"

#include "heap/page_heap.h"
#include "ports/port.h"

enum {
  LEAST_REFILLED = 64, /* kernel pages wanted again: fewer of them say nothing */
  REFILLED_PART = 4,   /* what is given back pays where so large a part of it or more is not, ... */
  SOON_PART = 2,       /* ... and less than such a part is within ... */
  SOON = 64,           /* ... so many ms */
};

/* Kernel pages, of late. */
static struct {
  size_t opened;   /* given back, ... */
  size_t refilled; /* ... of these wanted again, ... */
  size_t soon;     /* ... and of those soon */
} state;

/* 0: a filter of the program's may forbid to ask. */
static uint64_t milliseconds(void) { return atomic_get(&port_sealed) ? 0 : port_now() / 1000000; }

/* The count comes round in a minute: one of a thousand pages that have been left alone for longer
   seems to have been given back just now, too. Where there is no clock, none does. */
static bool just_now(uint16_t then) {
  uint64_t now = milliseconds();
  return now && (uint16_t)(now - then) < SOON;
}

void holes_note(struct page *page, size_t holes) {
  page_heap_counts.holes += holes - page->purged;
  if (holes > page->purged) atomic_set(&state.opened, state.opened + holes - page->purged);
  page->purged = (uint8_t)holes;
  page->purged_when = (uint16_t)milliseconds();
}

void holes_fill(struct page *page) {
  page_heap_counts.holes -= page->purged;
  atomic_set(&state.refilled, state.refilled + page->purged);
  if (just_now(page->purged_when)) atomic_set(&state.soon, state.soon + page->purged);
  page->purged = 0;
}

bool holes_pay(void) {
  size_t refilled = atomic_get(&state.refilled), opened = atomic_get(&state.opened);
  return refilled < LEAST_REFILLED || (refilled < opened - opened / REFILLED_PART &&
                                       atomic_get(&state.soon) < opened / SOON_PART);
}

void holes_decay(void) {
  atomic_set(&state.opened, state.opened / 2);
  atomic_set(&state.refilled, state.refilled / 2);
  atomic_set(&state.soon, state.soon / 2);
}
