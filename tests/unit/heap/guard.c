/* guard.c: which pages are closed behind large objects, and that none is once they are another's.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "heap/guard.h"

static void start(void) {
  unit_start_heap_of(128 * GIB, NULL); /* so large that objects get room to grow */
  options.guard = true;
}
TestSuite(guard, .init = start, .timeout = 60);

/* Asks the kernel, which says no where we would fault. */
static bool is_open(uintptr_t address) {
  static int ends[2];
  char byte;
  if (!ends[1]) cr_assert_eq(pipe(ends), 0);
  bool open = write(ends[1], (void *)address, 1) == 1;
  if (open) cr_assert_eq(read(ends[0], &byte, 1), 1);
  else cr_assert_eq(errno, EFAULT);
  return open;
}

/* In the part of the heap that is in use. */
static size_t closed_bytes(size_t *mappings) {
  FILE *file = fopen("/proc/self/maps", "r");
  char line[512], permissions[8];
  unsigned long begin, end, sum = 0, limit = heap.base + heap.committed_pages * HEAP_PAGE;
  if (mappings) *mappings = 0;
  while (fgets(line, sizeof line, file)) {
    cr_assert_eq(sscanf(line, "%lx-%lx %7s", &begin, &end, permissions), 3);
    if (mappings) ++*mappings;
    if (begin < heap.base || begin >= limit || permissions[0] == 'r') continue;
    sum += size_min(end, limit) - begin;
  }
  fclose(file);
  return sum;
}

static void fill(const struct page *page) { memset((void *)page_address(page), 0x5a, page->size); }
static void expect_guarded(const struct page *page) {
  uintptr_t end = page_address(page) + page->size;
  cr_assert_eq(page->barred, BARRED_BEHIND);
  cr_assert(is_open(page_address(page)) && is_open(end - 1), "%zu bytes", (size_t)page->size);
  cr_assert(!is_open(end) && !is_open(end + KERNEL_PAGE - 1), "%zu bytes", (size_t)page->size);
}

static const size_t sizes[] = {KERNEL_PAGE,   HEAP_PAGE - 1,
                               HEAP_PAGE,     HEAP_PAGE + 1,
                               100000,        4 * HEAP_PAGE - KERNEL_PAGE,
                               4 * HEAP_PAGE, 300001,
                               4 * MIB,       4 * MIB - HEAP_PAGE / 2};
enum { SIZES = sizeof sizes / sizeof *sizes };

Test(guard, stands_behind_each_size_and_goes_with_its_object) {
  struct page *pages[SIZES];
  for (int turn = 0; turn < 3; turn++) {
    bool zero;
    for (size_t i = 0; i < SIZES; i++) {
      pages[i] = page_heap_large(sizes[i], turn == 1 ? MIB : GRANULE, &zero);
      fill(pages[i]);
      if (turn == 1) cr_expect_eq(page_address(pages[i]) % MIB, 0);
    }
    for (size_t i = 0; i < SIZES; i++) expect_guarded(pages[i]);
    cr_expect_eq(closed_bytes(NULL), SIZES * KERNEL_PAGE);
    for (size_t i = 0; i < SIZES; i++) page_heap_release_large(pages[i]);
    cr_expect_eq(closed_bytes(NULL), 0);
    cr_expect_eq(page_heap_counts.used, 0);
  }
}

Test(guard, off_nothing_is_closed) {
  options.guard = false;
  bool zero;
  for (size_t i = 0; i < SIZES; i++) cr_assert(page_heap_large(sizes[i], GRANULE, &zero));
  cr_expect_eq(closed_bytes(NULL), 0);
}

Test(guard, is_no_page_of_the_object_that_is_counted) {
  bool zero;
  struct page *page = page_heap_large(HEAP_PAGE, GRANULE, &zero);
  cr_expect_eq(page->run, 2);
  cr_expect_eq(page_heap_counts.used, 1);
  cr_expect_eq(page_heap_counts.large, HEAP_PAGE / KERNEL_PAGE);
  page_heap_release_large(page);
  cr_expect_eq(page_heap_counts.used, 0);
  cr_expect_eq(page_heap_purge(0) % HEAP_PAGE, 0);
  cr_expect_eq(page_heap_backed(), 0);
}

Test(guard, moves_as_its_object_grows_and_shrinks) {
  struct page *page = page_heap_large_growing(5 * HEAP_PAGE);
  size_t size = 5 * HEAP_PAGE;
  fill(page);
  expect_guarded(page);
  uint64_t seed = 5;
  size_t resized = 0, guarded = 0;
  for (int i = 0; i < 300; i++) {
    size = SMALL_LIMIT + unit_below(&seed, i % 3 ? 400000 : 2000000);
    if (!page_heap_resize_large(page, size)) continue;
    resized++;
    cr_assert_eq(page->size, round_up(size, KERNEL_PAGE));
    fill(page);
    if (!page->barred) continue; /* it fills its run */
    expect_guarded(page);
    guarded++;
    cr_assert_eq(closed_bytes(NULL), KERNEL_PAGE);
  }
  cr_expect(resized > 200 && guarded > resized * 4 / 5, "%zu, %zu", resized, guarded);
  page_heap_release_large(page);
  cr_expect_eq(closed_bytes(NULL), 0);
}

Test(guard, spare_pages_are_taken_back_without_it) {
  struct page *one = page_heap_large_growing(4 * HEAP_PAGE), *two;
  two = page_heap_large_growing(4 * HEAP_PAGE + 1);
  expect_guarded(one);
  expect_guarded(two);
  cr_assert_gt(page_heap_take_spare(), 0);
  cr_expect_eq(one->run, 4);
  cr_expect_eq(one->barred, 0);
  expect_guarded(two);
  cr_expect_eq(closed_bytes(NULL), KERNEL_PAGE);
  fill(one);
  page_heap_release_large(one);
  page_heap_release_large(two);
  cr_expect_eq(closed_bytes(NULL), 0);
}

Test(guard, there_is_a_budget_of_mappings) {
  enum { COUNT = 3000 };
  static struct page *pages[COUNT];
  size_t before, now, guarded = 0;
  bool zero;
  closed_bytes(&before);
  for (int i = 0; i < COUNT; i++) {
    pages[i] = page_heap_large(i % 2 ? HEAP_PAGE : 100000, GRANULE, &zero);
    guarded += pages[i]->barred;
  }
  cr_expect_eq(guarded, GUARDS_MOST);
  closed_bytes(&now);
  cr_expect_leq(now, before + 1000 + 10, "%zu, %zu", before, now);
  for (int i = 0; i < COUNT; i++) {
    fill(pages[i]);
    page_heap_release_large(pages[i]);
  }
  cr_expect_eq(closed_bytes(&now), 0);
  cr_expect_leq(now, before + 10, "%zu, %zu", before, now);
  expect_guarded(page_heap_large(100000, GRANULE, &zero));
}

Test(guard, random_objects_never_reach_a_closed_page) {
  enum { SLOTS = 40 };
  static struct page *slots[SLOTS];
  uint64_t seed = 11;
  for (int i = 0; i < 8000; i++) {
    struct page **slot = &slots[unit_below(&seed, SLOTS)];
    size_t size = SMALL_LIMIT + unit_below(&seed, 400000);
    bool zero = false;
    if (i % 2) size = round_up(size, HEAP_PAGE);
    if (!*slot) {
      *slot = i % 3 ? page_heap_large(size, i % 5 ? GRANULE : 4 * HEAP_PAGE, &zero)
                    : page_heap_large_growing(size);
      for (size_t at = 0; zero && at < (*slot)->size; at += 999)
        cr_assert_eq(((char *)page_address(*slot))[at], 0);
    } else if (i % 7 == 0) {
      page_heap_empty_large(*slot); /* and is not written any more */
      continue;
    } else if (i % 3 == 0) {
      page_heap_resize_large(*slot, size);
    } else {
      page_heap_release_large(*slot);
      *slot = NULL;
    }
    if (*slot) fill(*slot);
    if (i % 100 == 0) page_heap_take_spare();
    if (i % 300 == 0) page_heap_purge(0);
    if (i % 4 == 0) { /* what is free is open */
      struct page *span = page_heap_span(1 + (unsigned)unit_below(&seed, CLASS_SMALL_END - 1));
      memset((void *)page_address(span), 1, span->run * HEAP_PAGE);
      page_heap_release_span(span);
    }
  }
  size_t guarded = 0;
  for (int i = 0; i < SLOTS; i++) guarded += slots[i] && slots[i]->barred;
  cr_expect_eq(closed_bytes(NULL), guarded * KERNEL_PAGE);
}

Test(guard, what_we_closed_is_told_from_the_rest) {
  bool zero;
  struct page *page = page_heap_large(100000, GRANULE, &zero);
  uintptr_t begin = page_address(page), end = begin + page->size, until;
  cr_expect(!guard_is_ours(begin + 5000, &until) && until == end);
  cr_expect(guard_is_ours(end, &until) && until == end + KERNEL_PAGE);
  cr_expect(guard_is_ours(end + 4000, &until) && until == end + KERNEL_PAGE);
  cr_expect(!guard_is_ours(end + KERNEL_PAGE, &until) && until > end + KERNEL_PAGE);
  page = page_heap_span(1);
  cr_expect(!guard_is_ours(page_address(page), &until) && until > page_address(page));
}

/* --- whole objects ---------------------------------------------------------------------------- */

static struct page *make_closed(size_t size) {
  bool zero;
  struct page *page = page_heap_large(size, GRANULE, &zero);
  fill(page);
  page_heap_close_large(page);
  cr_assert_eq(page->barred & BARRED_WHOLE, 0, "it holds something");
  page_heap_empty_large(page);
  page_heap_close_large(page);
  return page;
}

Test(guard, a_whole_object_is_closed_until_it_is_opened_or_released) {
  for (int guarded = 0; guarded < 2; guarded++) {
    options.guard = guarded;
    for (size_t i = 0; i < SIZES; i++) {
      struct page *page = make_closed(sizes[i]);
      uintptr_t begin = page_address(page), end = begin + page->size, until;
      for (uintptr_t at = begin; at < end; at += KERNEL_PAGE) cr_assert(!is_open(at));
      cr_assert(is_open(end) == !guarded || page->run * HEAP_PAGE == page->size);
      cr_assert(guard_is_ours(begin + KERNEL_PAGE / 2, &until) && until == end);
      if (i % 2) {
        cr_assert(page_heap_open_large(page));
        for (uintptr_t at = begin; at < end; at += KERNEL_PAGE) {
          cr_assert(is_open(at));
          cr_assert_eq(*(char *)at, 0);
        }
        cr_assert_eq(is_open(end), !guarded);
      }
      page_heap_release_large(page);
      cr_assert_eq(closed_bytes(NULL), 0);
    }
  }
}

Test(guard, closed_objects_share_the_budget) {
  enum { COUNT = 600 };
  static struct page *pages[COUNT];
  size_t closed = 0, before, now;
  closed_bytes(&before);
  for (int i = 0; i < COUNT; i++) {
    pages[i] = make_closed(300000);
    closed += (pages[i]->barred & BARRED_WHOLE) != 0;
  }
  closed_bytes(&now);
  cr_expect(closed > 100 && closed < GUARDS_MOST);
  cr_expect_leq(now, before + 1000 + 10, "%zu, %zu", before, now);
  for (int i = 0; i < COUNT; i++) page_heap_release_large(pages[i]);
  cr_expect_eq(closed_bytes(NULL), 0);
  expect_guarded(page_heap_large(100000, GRANULE, &(bool){false}));
}
