/* malloc_info.c: what glibc's statistics functions say, told truly of our heap. Where glibc counts
   chunks, we count heap pages: `arena` is what was made usable, `uordblks` what is in objects
   (cells that wait in threads' buffers not included), `hblkhd` large objects. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "api/reclaim.h"
#include "collect/cycle.h"
#include "collect/roots.h"
#include "heap/page_heap.h"
#include "mutator/allocate.h"
#include "mutator/orphans.h"
#include "mutator/pages.h"
#include "ports/port.h"
#include "report/report.h"

struct census {
  size_t objects, bytes; /* allocated cells and large objects, those in buffers included */
  size_t large_objects, large_bytes;
};

/* Counts without stopping anybody: figures of about one moment. */
static struct census take_census(void) {
  struct census census;
  memset(&census, 0, sizeof census);
  size_t top = atomic_get_acquire(&heap.top);
  for (size_t i = 1; i < top; i++) {
    const struct page *page = &heap.pages[i];
    uint32_t cells = atomic_get_acquire(&page->cells);
    if (!cells || page_first(i) != i) continue;
    size_t used = 1;
    if (page->class == CLASS_LARGE) {
      if (state_is_none(atomic_get(state_at(page_address(page))))) continue; /* kept by a thread */
      census.large_objects++;
      census.large_bytes += page->size;
    } else {
      used = cells - page_free_cells(page);
    }
    census.objects += used;
    census.bytes += used * page->size;
  }
  return census;
}

static size_t in_objects(const struct census *census) {
  size_t buffered = mutator_buffered_bytes();
  return census->bytes > buffered ? census->bytes - buffered : 0;
}

EXPORT struct mallinfo2 mallinfo2(void) {
  struct census census = take_census();
  size_t used = in_objects(&census), committed = heap.committed_pages * HEAP_PAGE;
  return (struct mallinfo2){.arena = committed - census.large_bytes,
                            .ordblks = 1,
                            .hblks = census.large_objects,
                            .hblkhd = census.large_bytes,
                            .uordblks = used - size_min(census.large_bytes, used),
                            .fordblks = committed - used,
                            .keepcost = page_heap_counts.dirty_free * HEAP_PAGE};
}

static int narrow(size_t value) { return value > INT32_MAX ? INT32_MAX : (int)value; }

EXPORT struct mallinfo mallinfo(void) {
  struct mallinfo2 info = mallinfo2();
  return (struct mallinfo){.arena = narrow(info.arena),
                           .ordblks = narrow(info.ordblks),
                           .hblks = narrow(info.hblks),
                           .hblkhd = narrow(info.hblkhd),
                           .uordblks = narrow(info.uordblks),
                           .fordblks = narrow(info.fordblks),
                           .keepcost = narrow(info.keepcost)};
}

EXPORT void malloc_stats(void) {
  struct census census = take_census();
  struct reclaim_stats stats;
  reclaim_stats(&stats, sizeof stats);
  fprintf(stderr,
          "system bytes     = %10zu\nin use bytes     = %10zu\nlarge objects    = %10zu\n"
          "large bytes      = %10zu\ncollections      = %10llu\nreclaimed bytes  = %10llu\n",
          heap.committed_pages * HEAP_PAGE, in_objects(&census), census.large_objects,
          census.large_bytes, (unsigned long long)stats.cycles,
          (unsigned long long)stats.reclaimed_bytes);
}

EXPORT int malloc_info(int flags, FILE *stream) {
  if (flags != 0) return EINVAL;
  struct census census = take_census();
  size_t used = in_objects(&census), committed = heap.committed_pages * HEAP_PAGE;
  fprintf(stream,
          "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n</sizes>\n"
          "<total type=\"fast\" count=\"0\" size=\"0\"/>\n"
          "<total type=\"rest\" count=\"0\" size=\"%zu\"/>\n"
          "<system type=\"current\" size=\"%zu\"/>\n<system type=\"max\" size=\"%zu\"/>\n"
          "<aspace type=\"total\" size=\"%zu\"/>\n<aspace type=\"mprotect\" size=\"%zu\"/>\n"
          "</heap>\n",
          committed - used, committed, committed, heap_reserved(), committed);
  fprintf(stream,
          "<total type=\"fast\" count=\"0\" size=\"0\"/>\n"
          "<total type=\"rest\" count=\"0\" size=\"%zu\"/>\n"
          "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
          "<total type=\"used\" count=\"%zu\" size=\"%zu\"/>\n"
          "<system type=\"current\" size=\"%zu\"/>\n<system type=\"max\" size=\"%zu\"/>\n"
          "<aspace type=\"total\" size=\"%zu\"/>\n<aspace type=\"mprotect\" size=\"%zu\"/>\n",
          committed - used, census.large_objects, census.large_bytes, census.objects, used,
          committed, committed, heap_reserved(), committed);
  fprintf(stream, "<collections done=\"%llu\" given-up=\"%llu\">\n",
          (unsigned long long)report_totals.cycles, (unsigned long long)report_totals.skipped);
  for (const struct report_reason *entry = report_reasons; entry->why; entry++)
    fprintf(stream, "<given-up why=\"%s\" count=\"%llu\"/>\n", entry->why,
            (unsigned long long)entry->count);
  fputs("</collections>\n</malloc>\n", stream);
  return 0;
}

EXPORT int malloc_trim(size_t keep) {
  allocate_trim(true);
  return page_heap_purge(keep / HEAP_PAGE) > 0;
}

EXPORT int mallopt(int parameter, int value) {
  (void)parameter; /* every parameter is about how glibc's allocator works inside */
  (void)value;
  return 1;
}

/* --- reclaim.h
 * --------------------------------------------------------------------------------------- */

EXPORT void reclaim_collect(void) { cycle_run(CYCLE_REQUEST, true); }
EXPORT int reclaim_trim(void) { return malloc_trim(0); }
EXPORT void reclaim_disable(void) { cycle_disable(); }
EXPORT void reclaim_enable(void) { cycle_enable(); }

EXPORT int reclaim_add_root(const void *address, size_t size) {
  if (!size || (uintptr_t)address + size < (uintptr_t)address) {
    errno = EINVAL;
    return -1;
  }
  if (roots_add((uintptr_t)address, size)) return 0;
  errno = ENOMEM;
  return -1;
}

EXPORT int reclaim_remove_root(const void *address, size_t size) {
  if (roots_remove((uintptr_t)address, size)) return 0;
  errno = EINVAL;
  return -1;
}

EXPORT uint64_t reclaim_given_up(const char *why) {
  for (const struct report_reason *entry = report_reasons; why; entry++) {
    const char *known = atomic_get_acquire(&entry->why);
    if (!known) return 0;
    if (!strcmp(known, why)) return atomic_get(&entry->count);
  }
  return report_totals.skipped;
}

EXPORT int reclaim_stats(struct reclaim_stats *stats, size_t size) {
  if (!stats) {
    errno = EINVAL;
    return -1;
  }
  struct census census = take_census();
  const struct report_totals *t = &report_totals;
  struct reclaim_stats full = {
      .cycles = t->cycles,
      .skipped = t->skipped,
      .reclaimed_bytes = t->reclaimed,
      .reclaimed_objects = t->cells,
      .live_bytes = t->last_live,
      .heap_bytes = page_heap_counts.used * HEAP_PAGE,
      .used_bytes = census.bytes,
      .free_dirty_bytes = page_heap_counts.dirty_free * HEAP_PAGE,
      .reserved_bytes = heap.committed_pages * HEAP_PAGE,
      .longest_pause_ns = t->longest_pause,
      .total_pause_ns = t->total_pause,
      .bad_frees = t->bad_frees,
  };
  memcpy(stats, &full, size_min(size, sizeof full));
  return 0;
}
