/* canaries.c: see canaries.h. */
#include "api/canaries.h"

#include "report/report.h"

void canaries_note(void *object, size_t size) {
  struct cell cell;
  if (object_find(object, &cell)) canary_set(cell.address, cell.page->size, size);
}

void canaries_check(const struct cell *cell, const char *by) {
  struct canary_change change;
  if (!canary_check(cell->address, cell->page->size, &change))
    report_overflow(&(struct report_overflow){
        .by = by, .block = cell->address, .size = change.request, .at = change.at});
}

bool canaries_resize(const struct cell *cell, size_t size, size_t usable, bool fits) {
  if (fits && cell->page->size - size <= CANARY_MOST) {
    canary_move(cell->address, cell->page->size, size);
    return true;
  }
  canary_wipe(cell->address, cell->page->size); /* it may be cut off */
  bool done = resize_in_place(cell, size);
  canary_set(cell->address, cell->page->size, done ? size : usable);
  return done;
}
