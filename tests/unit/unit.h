/* unit.h: what the unit tests share. Each Criterion test runs in a process of its own, so each
   begins with a heap that nobody has used; the process's own malloc is libc's, and what a test
   wants to be seen by the root scan it keeps in ordinary variables. Statistical bounds allow for
   stale words: a conservative scan may keep some garbage, never lose what is in use. */
#ifndef RECLAIM_UNIT_H
#define RECLAIM_UNIT_H

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/identity.h"
#include "base/option.h"
#include "heap/page_heap.h"
#include "mutator/allocate.h"
#include "mutator/orphans.h"
#include "mutator/pages.h"
#include "ports/port.h"

/* In the order of gc/api/start.c. */
static inline void unit_start_heap_of(size_t size, size_t (*extra)(size_t heap_size)) {
  options_default(&options);
  cr_assert(heap_init(size, extra), "no heap could be reserved");
  mutator_init();
}
static inline void unit_start_heap(void) { unit_start_heap_of(GIB, NULL); }

/* Steele, Lea, Flood, "Fast splittable pseudorandom number generators": the same run each time. */
static inline uint64_t unit_random(uint64_t *seed) {
  uint64_t z = *seed += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
static inline size_t unit_below(uint64_t *seed, size_t bound) {
  return (size_t)(unit_random(seed) % bound);
}

/* All that the heap reserved, before anything is cut out of it. */
static inline struct port_range unit_reservation(void) {
  struct heap_range ranges[HEAP_RANGES];
  cr_assert_eq(heap_ranges(ranges), 1);
  return (struct port_range){ranges[0].begin, ranges[0].end};
}

static inline struct page *unit_page_of(const void *object) {
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  return cell.page;
}

/* Kernel pages that are there, of those that lie wholly in so many bytes from the beginning of one.
 */
static inline size_t unit_resident(const void *begin, size_t size) {
  size_t pages = size / KERNEL_PAGE, count = 0;
  unsigned char *map = malloc(pages);
  cr_assert_eq(mincore((void *)begin, pages * KERNEL_PAGE, map), 0);
  for (size_t i = 0; i < pages; i++) count += map[i] & 1;
  free(map);
  return count;
}

/* Large objects by whole heap pages. */
static inline struct page *unit_large(size_t pages, size_t alignment, bool *zero) {
  return page_heap_large(pages * HEAP_PAGE, alignment, zero);
}
static inline bool unit_resize_large(struct page *page, size_t pages) {
  return page_heap_resize_large(page, pages * HEAP_PAGE);
}

/* A pointer that the scan cannot recognise. */
static inline uintptr_t unit_hide(const void *pointer) { return ~(uintptr_t)pointer; }
static inline void *unit_unhide(uintptr_t hidden) { return (void *)~hidden; }

static inline bool unit_is_live(const void *object) {
  struct cell cell;
  return object_find(object, &cell) & STATE_LIVE;
}

/* Overwrites what earlier calls left on the stack below the caller and in the vector registers,
   which a new thread inherits and the dynamic linker saves on the stack when it resolves a
   function. */
static __attribute__((noinline, unused)) void unit_clean_stack(void) {
  volatile char space[16384];
  for (size_t i = 0; i < sizeof space; i++) space[i] = 0;
  if (__builtin_cpu_supports("avx"))
    __asm__ volatile("vzeroall" ::
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                           "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  if (__builtin_cpu_supports("avx512f")) /* memmove likes these; nothing here is compiled to */
    __asm__ volatile(".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                     "vpxorq %%zmm\\n,%%zmm\\n,%%zmm\\n\n\t.endr" ::);
}

static inline void unit_sleep(unsigned milliseconds) { usleep(milliseconds * 1000); }

#endif
