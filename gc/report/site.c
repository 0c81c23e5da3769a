/* site.c: see site.h. */
#include "report/site.h"

#include <string.h>

#include "base/lock.h"
#include "base/text.h"
#include "heap/heap.h"
#include "ports/port.h"

enum { MAPS_TEXT = 1 << 20 };

static struct {
  uintptr_t *sites;
  uint64_t *checksums;
  struct lock lock; /* the text buffer */
  char *maps;
} state;

size_t site_tables_size(size_t heap_size) {
  return heap_size / GRANULE * (sizeof *state.sites + sizeof *state.checksums) + 2 * MAPS_TEXT;
}

bool site_init(void) {
  state.sites = heap_metadata(heap.size / GRANULE * sizeof *state.sites);
  state.checksums = heap_metadata(heap.size / GRANULE * sizeof *state.checksums);
  state.maps = heap_metadata(MAPS_TEXT);
  return state.sites && state.checksums && state.maps;
}

static size_t granule_of(uintptr_t object) { return (object - heap.base) >> GRANULE_SHIFT; }

void site_record(uintptr_t object, uintptr_t caller) {
  if (state.sites) state.sites[granule_of(object)] = caller;
}

uintptr_t site_of(uintptr_t object) { return state.sites ? state.sites[granule_of(object)] : 0; }

void site_describe(uintptr_t address, struct text *text) {
  if (!address || !state.maps) {
    text_add(text, "?");
    return;
  }
  lock_acquire(&state.lock);
  port_describe_address(address, state.maps, MAPS_TEXT, text);
  lock_release(&state.lock);
}

/* Multiplication by a large odd number and rotation, word by word: only has to notice a write. */
static uint64_t checksum(uintptr_t object, size_t size) {
  uint64_t sum = 0x9e3779b97f4a7c15u;
  for (size_t i = 0; i + 8 <= size; i += 8) {
    uint64_t word;
    memcpy(&word, (const void *)(object + i), 8);
    sum = (sum ^ word) * 0xff51afd7ed558ccdu;
    sum ^= sum >> 32;
  }
  return sum;
}

enum { WHOLE = 1024 * 1024 }; /* of larger objects the first part, so that cycles stay bearable */

void site_remember(uintptr_t object, size_t size) {
  state.checksums[granule_of(object)] = checksum(object, size_min(size, WHOLE));
}

bool site_unchanged(uintptr_t object, size_t size) {
  return state.checksums[granule_of(object)] == checksum(object, size_min(size, WHOLE));
}
