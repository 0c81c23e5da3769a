/* bad_pointer.c: see bad_pointer.h. */
#include "api/bad_pointer.h"

#include <execinfo.h>

#include "base/message.h"
#include "base/option.h"
#include "mutator/allocate.h"
#include "report/report.h"

enum { FRAMES = 64, ROOM = 256 };

/* The linker's: where this library begins, and where its code ends. */
extern HIDDEN const char __ehdr_start[], etext[];

/* Where we are, a line a call, from the program's own on: places in files, for addr2line(1). Names
   would need the loader's lock. */
static void trace(void) {
  void *frames[FRAMES];
  int count = backtrace(frames, FRAMES), i = 0;
  while (i < count && (char *)frames[i] >= __ehdr_start && (char *)frames[i] < etext) i++;
  for (; i < count; i++) {
    char buffer[ROOM];
    struct text text = text_in(buffer, sizeof buffer);
    text_add(&text, "  called from ");
    foreign_add_place((uintptr_t)frames[i] - 1, &text); /* the call, not where it returns to */
    message_text(&text);
  }
}

void bad_pointer_start(void) {
  foreign_start();
  if (options.errors != ERRORS_ABORT) return;
  void *frame;
  backtrace(&frame, 1); /* loads what it needs while that is sure to work */
  report_trace = trace;
}

/* Did the collector take a block back that began here? There is no cell now, and of what class it
   was is not known any more. */
static bool was_reclaimed(uintptr_t pointer) {
  uintptr_t offset = pointer - heap.base;
  if (offset / HEAP_PAGE >= atomic_get(&heap.committed_pages)) return false;
  for (unsigned t = 0; t < STATE_TABLES; t++)
    if (is_at_step(pointer, state_shifts[t]) &&
        atomic_get(&heap.state[t][offset >> state_shifts[t]]) == STATE_RECLAIMED)
      return true;
  return false;
}

void bad_pointer(const char *by, void *pointer) {
  struct cell cell;
  struct report_pointer report = {.by = by, .address = (uintptr_t)pointer};
  if (!cell_of(report.address, &cell)) {
    report.what = was_reclaimed(report.address) ? "a block that the collector took back"
                                                : "an address of the heap where no block is";
  } else {
    uint8_t state = atomic_get(cell.state);
    report.block = cell.address;
    report.size = cell_usable(&cell);
    if (cell.address != report.address)
      report.what = state_is_none(state) ? "inside a free block" : "inside a block";
    else if (state == STATE_RECLAIMED) report.what = "a block that the collector took back,";
    else if (state == STATE_NONE)
      report.what = "a block that was freed already or never allocated,";
    else report.what = "a block that was freed already,";
  }
  report_bad_free(&report);
}

void bad_zero_size(const char *by, void *pointer) {
  bool inside = (uintptr_t)pointer % GRANULE != 0;
  report_bad_free(&(struct report_pointer){
      .by = by,
      .address = (uintptr_t)pointer,
      .what = inside ? "behind a block of 0 bytes"
                     : "a block of 0 bytes that was freed already or never allocated"});
}

const struct foreign_allocator *bad_pointer_or_foreign(const char *by, void *pointer) {
  char buffer[ROOM];
  struct text what = text_in(buffer, sizeof buffer - 1);
  const struct foreign_allocator *allocator = foreign_allocator_of((uintptr_t)pointer, &what);
  if (allocator) return allocator;
  *what.end = 0;
  report_bad_free(
      &(struct report_pointer){.by = by, .address = (uintptr_t)pointer, .what = buffer});
  return NULL;
}
