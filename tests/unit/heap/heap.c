/* heap.c: the reservation, its tables, and which word lies in which cell. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/option.h"

TestSuite(heap, .timeout = 60);

Test(heap, geometry) {
  unit_start_heap();
  cr_expect_eq(heap.base % (2 * MIB), 0);
  cr_expect_eq(heap.page_limit, GIB / HEAP_PAGE);
  cr_expect_eq(heap.size, GIB);
  cr_expect_eq(unit_reservation().begin, heap.base);
  cr_expect(unit_reservation().end >= heap.base + GIB + GIB / GRANULE);
  cr_expect_eq(heap.top, 1, "page 0 is never handed out");
  cr_expect(heap_holds(heap.base));
  cr_expect(heap_holds(heap.base + GIB - 1));
  cr_expect(!heap_holds(heap.base - 1));
  cr_expect(!heap_holds(heap.base + GIB));
  cr_expect(!heap_holds(0));
  cr_expect(!heap_holds(UINTPTR_MAX));
}

/* Of the mapping that begins in the heap's chunk: its flags in smaps(5), without "hg" or with. */
static bool is_for_huge_pages(uintptr_t address) {
  FILE *file = fopen("/proc/self/smaps", "re");
  char line[512];
  bool here = false, advised = false;
  while (file && fgets(line, sizeof line, file)) {
    uintptr_t begin, end;
    if (sscanf(line, "%lx-%lx ", &begin, &end) == 2) here = begin <= address && address < end;
    if (here && strncmp(line, "VmFlags:", 8) == 0) advised = strstr(line, " hg") != NULL;
  }
  if (file) fclose(file);
  return advised;
}

Test(heap, huge_pages_are_asked_for_where_the_option_says_so) {
  if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0) cr_skip_test("no huge pages here");
  options_default(&options);
  options.huge_pages = true;
  cr_assert(heap_init(GIB, NULL) && heap_commit(100));
  cr_expect(is_for_huge_pages(heap.base));
  cr_expect(is_for_huge_pages(heap.base + 99 * HEAP_PAGE));
  cr_expect(!is_for_huge_pages((uintptr_t)heap.state[0]));
}

Test(heap, no_huge_pages_are_asked_for_otherwise) {
  unit_start_heap();
  cr_assert(heap_commit(100));
  cr_expect(!is_for_huge_pages(heap.base));
}

static uintptr_t end_of_states(unsigned table) {
  return (uintptr_t)heap.state[table] + (heap.page_limit * HEAP_PAGE >> state_shifts[table]);
}

Test(heap, tables_lie_in_the_reservation_and_apart) {
  unit_start_heap();
  struct {
    const char *name;
    uintptr_t begin, end;
  } tables[] = {
      {"heap", heap.base, heap.base + GIB},
      {"states 0", (uintptr_t)heap.state[0], end_of_states(0)},
      {"states 1", (uintptr_t)heap.state[1], end_of_states(1)},
      {"states 2", (uintptr_t)heap.state[2], end_of_states(2)},
      {"states 3", (uintptr_t)heap.state[3], end_of_states(3)},
      {"allocated", (uintptr_t)heap.allocated, (uintptr_t)(heap.allocated + heap.page_limit)},
      {"marked", (uintptr_t)heap.marked, (uintptr_t)(heap.marked + heap.page_limit)},
      {"class", (uintptr_t)heap.page_class, (uintptr_t)(heap.page_class + heap.page_limit)},
      {"first", (uintptr_t)heap.page_first, (uintptr_t)(heap.page_first + heap.page_limit)},
      {"pages", (uintptr_t)heap.pages, (uintptr_t)(heap.pages + heap.page_limit)},
  };
  enum { COUNT = sizeof tables / sizeof *tables };
  cr_assert_eq(COUNT, STATE_TABLES + 6);
  for (int i = 0; i < COUNT; i++) {
    cr_expect(tables[i].begin >= unit_reservation().begin &&
                  tables[i].end <= unit_reservation().end,
              "%s", tables[i].name);
    for (int j = i + 1; j < COUNT; j++)
      cr_expect(tables[i].end + KERNEL_PAGE <= tables[j].begin ||
                    tables[j].end + KERNEL_PAGE <= tables[i].begin,
                "an inaccessible page parts %s and %s", tables[i].name, tables[j].name);
  }
}

Test(heap, what_is_committed_can_be_written_with_its_tables) {
  unit_start_heap();
  for (size_t pages = 1; pages < 3000; pages += 400) {
    cr_assert(heap_commit(pages));
    size_t have = heap.committed_pages;
    cr_expect(have >= pages);
    for (size_t p = have - 1; p < have; p -= 97) {
      *(volatile char *)(heap.base + p * HEAP_PAGE) = 1;
      *(volatile char *)(heap.base + p * HEAP_PAGE + HEAP_PAGE - 1) = 1;
      for (unsigned t = 0; t < STATE_TABLES; t++) {
        cr_expect_eq(heap.state[t][p * HEAP_PAGE >> state_shifts[t]], 0);
        cr_expect_eq(heap.state[t][((p + 1) * HEAP_PAGE - 1) >> state_shifts[t]], 0);
      }
      cr_expect_eq(heap.allocated[p][PAGE_WORDS - 1], 0);
      cr_expect_eq(heap.marked[p][PAGE_WORDS - 1], 0);
      cr_expect_eq(heap.page_class[p], CLASS_NONE);
      cr_expect_eq(heap.page_first[p], 0);
      cr_expect_eq(heap.pages[p].cells, 0);
    }
  }
  size_t before = heap.committed_pages;
  cr_expect(heap_commit(1));
  cr_expect_eq(heap.committed_pages, before, "it never shrinks");
}

Test(heap, cannot_grow_past_its_reservation) {
  unit_start_heap_of(16 * MIB, NULL);
  cr_expect(!heap_commit(heap.page_limit + 1));
  cr_expect(heap_commit(heap.page_limit));
  cr_expect_eq(heap.committed_pages, heap.page_limit);
  *(volatile char *)(heap.base + heap.page_limit * HEAP_PAGE - 1) = 1;
}

Test(heap, an_address_in_no_page_is_in_no_cell) {
  unit_start_heap();
  struct cell cell;
  cr_expect(!cell_of(heap.base, &cell), "page 0");
  cr_expect(!cell_of(heap.base + HEAP_PAGE - 1, &cell));
  cr_expect(!cell_of(heap.base + HEAP_PAGE, &cell), "a page that is not in use");
  cr_expect(!cell_of(heap.base + GIB - 1, &cell), "not committed");
  cr_expect(!cell_of(heap.base - 1, &cell));
  cr_expect(!cell_of(heap.base + GIB, &cell));
  cr_expect(!cell_of(0, &cell));
  cr_expect(!cell_of((uintptr_t)&cell, &cell));
}

Test(heap, every_byte_of_a_span_finds_its_cell) {
  unit_start_heap();
  for (unsigned class = 1; class < CLASS_SMALL_END; class ++) {
    struct page *page = page_heap_span(class);
    cr_assert(page);
    uintptr_t begin = page_address(page);
    size_t size = size_classes[class].size, end = size_classes[class].span * HEAP_PAGE;
    int wrong = 0;
    for (size_t byte = 0; byte<end; byte += byte % size> 20 && byte % size < size - 20 ? 7 : 1) {
      struct cell cell;
      bool known = cell_of(begin + byte, &cell);
      size_t index = byte / size;
      if (known != (index < page->cells)) wrong++;
      else if (known &&
               (cell.page != page || cell.index != index || cell.address != begin + index * size))
        wrong++;
    }
    cr_expect_eq(wrong, 0, "class %u", class);
  }
}

/* Spans of all classes side by side, each of whose cells has its own number for a state. */
Test(heap, no_two_cells_share_a_state_byte) {
  unit_start_heap();
  static struct page *spans[3 * CLASS_SMALL_END];
  size_t count = 0;
  for (int round = 0; round < 3; round++) {
    for (unsigned class = 1; class < CLASS_SMALL_END; class ++)
      cr_assert(spans[count++] = page_heap_span(class));
    bool zero;
    cr_assert(spans[count++] = unit_large(1, GRANULE, &zero));
  }
  uint8_t number = 0;
  for (size_t s = 0; s < count; s++)
    for (uint32_t c = 0; c < spans[s]->cells; c++) {
      uint8_t *state = state_at(page_address(spans[s]) + c * spans[s]->size);
      cr_assert_eq(*state, 0, "cell %u of %zu bytes", c, (size_t)spans[s]->size);
      number = number == 255 ? 1 : number + 1;
      *state = number;
    }
  number = 0;
  for (size_t s = 0; s < count; s++)
    for (uint32_t c = 0; c < spans[s]->cells; c++) {
      number = number == 255 ? 1 : number + 1;
      cr_assert_eq(*state_at(page_address(spans[s]) + c * spans[s]->size), number);
    }
}

Test(heap, every_page_of_a_large_object_finds_its_beginning) {
  unit_start_heap();
  bool zero;
  struct page *page = unit_large(50, GRANULE, &zero);
  for (size_t byte = 0; byte < 50 * HEAP_PAGE; byte += 4099) {
    struct cell cell;
    cr_assert(cell_of(page_address(page) + byte, &cell));
    cr_assert_eq(cell.page, page);
    cr_assert_eq(cell.index, 0);
    cr_assert_eq(cell.address, page_address(page));
  }
  struct cell cell;
  cr_expect(!cell_of(page_address(page) + 50 * HEAP_PAGE, &cell));
  uintptr_t address = page_address(page);
  page_heap_release_large(page);
  cr_expect(!cell_of(address, &cell), "released");
  cr_expect(!cell_of(address + 50 * HEAP_PAGE - 1, &cell));
}

/* Asked for again and again, while there is no memory, it shall not eat the address space up. */
Test(heap, metadata_that_cannot_be_committed_costs_nothing) {
  unit_start_heap();
  char *before = heap_metadata(64 * KIB);
  struct rlimit limit, none;
  cr_assert(before);
  cr_assert_eq(getrlimit(RLIMIT_DATA, &limit), 0);
  none =
      (struct rlimit){KERNEL_PAGE, limit.rlim_max}; /* 0 has a meaning of its own, for valgrind */
  cr_assert_eq(setrlimit(RLIMIT_DATA, &none), 0);
  unsigned granted = 0;
  for (int i = 0; i < 10; i++) granted += heap_metadata(64 * KIB) != NULL;
  cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
  cr_expect_eq(granted, 0);
  char *after = heap_metadata(64 * KIB);
  cr_expect_eq(after - before, 64 * KIB, "%td", after - before);
}

Test(heap, metadata_is_zero_and_handed_out_once) {
  unit_start_heap();
  char *last = NULL;
  for (int i = 0; i < 100; i++) {
    char *block = heap_metadata(5000);
    cr_assert(block);
    cr_assert((uintptr_t)block >= unit_reservation().begin + GIB);
    cr_assert((uintptr_t)block + 5000 <= unit_reservation().end);
    if (last) cr_assert(block >= last + 5000);
    for (int b = 0; b < 5000; b++) cr_assert_eq(block[b], 0);
    memset(block, 0xff, 5000);
    last = block;
  }
  cr_expect_null(heap_metadata(unit_reservation().end - unit_reservation().begin),
                 "more than there is");
  cr_expect(heap_metadata(16), "a refusal costs nothing");
}

static void limit_address_space(size_t room) {
  size_t used = 0;
  char text[64];
  long length = port_read_file("/proc/self/statm", text, sizeof text - 1);
  cr_assert(length > 0);
  text[length] = 0;
  used = strtoul(text, NULL, 10) * KERNEL_PAGE;
  struct rlimit limit = {used + room, used + room};
  cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

Test(heap, takes_less_where_the_address_space_is_limited) {
  options_default(&options);
  limit_address_space(2 * GIB);
  cr_assert(heap_init(HEAP_LARGEST, NULL));
  size_t size = heap.page_limit * HEAP_PAGE;
  cr_expect(size >= 128 * MIB && size <= 3 * GIB / 2, "%zu MiB of 2 GiB", size / MIB);
  void *room = malloc(256 * MIB);
  cr_expect(room, "the program's own mappings fit beside it");
  free(room);
}

Test(heap, says_so_when_there_is_no_room_at_all) {
  limit_address_space(8 * MIB);
  cr_expect(!heap_init(HEAP_LARGEST, NULL));
}

/* Address space is to be had, but no memory: each further call of malloc begins anew. */
Test(heap, a_start_that_fails_leaves_nothing_behind) {
  options_default(&options);
  struct rlimit limit;
  cr_assert_eq(getrlimit(RLIMIT_DATA, &limit), 0);
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = 1 << 20;
  cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
  size_t mapped = port_address_space_mapped();
  for (int i = 0; i < 3; i++) cr_expect(!heap_init(HEAP_LARGEST, NULL));
  cr_expect_lt(port_address_space_mapped(), mapped + GIB);
  cr_expect(!heap_holds(heap.base + HEAP_PAGE));
  limit.rlim_cur = before;
  cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
  cr_expect(heap_init(HEAP_LARGEST, NULL), "later there is");
}

/* --- a heap that gives address space up ----------------------------------------------------- */

static bool is_ours(uintptr_t begin, uintptr_t end) {
  struct heap_range ranges[HEAP_RANGES];
  size_t count = heap_ranges(ranges);
  for (size_t i = 0; i < count; i++)
    if (begin >= ranges[i].begin && end <= ranges[i].end) return true;
  return false;
}

Test(heap, shrinks_to_a_budget) {
  unit_start_heap();
  char *kept[100];
  for (int i = 0; i < 100; i++) memset(kept[i] = allocate(300000, NULL), i, 300000);
  uintptr_t old_end = heap.base + GIB;
  size_t before = heap_reserved();
  page_heap_shrink(100 * MIB);
  cr_expect(heap_reserved() < 150 * MIB && before > GIB, "%zu MiB stay", heap_reserved() / MIB);
  cr_expect(heap.page_limit * HEAP_PAGE <= 100 * MIB);
  cr_expect_eq(heap.size, heap.page_limit * HEAP_PAGE);
  cr_expect(!heap_holds(heap.base + heap.page_limit * HEAP_PAGE));
  struct heap_range ranges[HEAP_RANGES];
  size_t count = heap_ranges(ranges);
  for (size_t i = 0; i < count; i++) {
    cr_expect(ranges[i].begin < ranges[i].end);
    if (i) cr_expect(ranges[i - 1].end < ranges[i].begin, "in order, with gaps");
  }
  size_t limit = heap.page_limit;
  cr_expect(is_ours(heap.base, heap.base + limit * HEAP_PAGE));
  for (unsigned t = 0; t < STATE_TABLES; t++)
    cr_expect(is_ours((uintptr_t)heap.state[t], end_of_states(t)));
  cr_expect(is_ours((uintptr_t)heap.allocated, (uintptr_t)(heap.allocated + limit)));
  cr_expect(is_ours((uintptr_t)heap.marked, (uintptr_t)(heap.marked + limit)));
  cr_expect(is_ours((uintptr_t)heap.page_class, (uintptr_t)(heap.page_class + limit)));
  cr_expect(is_ours((uintptr_t)heap.page_first, (uintptr_t)(heap.page_first + limit)));
  cr_expect(is_ours((uintptr_t)heap.pages, (uintptr_t)(heap.pages + limit)));
  size_t size;
  uintptr_t stack = (uintptr_t)heap_mark_stack(&size);
  cr_expect(is_ours(stack, stack + size));
  for (int i = 0; i < 100; i++) cr_assert(kept[i][0] == i && kept[i][299999] == i);
  /* What was given up is the program's now. */
  void *taken = mmap((void *)(old_end - 64 * MIB), 64 * MIB, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  cr_expect_eq(taken, (void *)(old_end - 64 * MIB));
}

Test(heap, goes_on_when_it_was_shrunk) {
  unit_start_heap();
  void *first = allocate(100, NULL);
  page_heap_shrink(64 * MIB);
  size_t limit = heap.page_limit, count = 0, after = 0;
  while (count < 10000 && allocate(60000, NULL)) count++;
  cr_expect(count > limit * 9 / 10 && count < limit);
  cr_expect_null(allocate(100000, NULL));
  cr_expect_eq(release(first), RELEASED);
  cr_expect(heap_metadata(100000), "working memory is left for threads to come");
  page_heap_shrink(32 * MIB);
  cr_expect_eq(heap.page_limit, limit, "once only");
  for (size_t p = 1; p < heap.top; p++)
    if (heap.pages[p].class == CLASS_LARGE &&
        release((void *)page_address(&heap.pages[p])) == RELEASED)
      after++;
  cr_expect_eq(after, count);
}

Test(heap, never_shrinks_below_what_is_in_use) {
  unit_start_heap();
  char *object = allocate(200 * MIB, NULL);
  object[200 * MIB - 1] = 7;
  page_heap_shrink(MIB);
  cr_expect_eq(object[200 * MIB - 1], 7);
  cr_expect(heap.page_limit * HEAP_PAGE >= 200 * MIB);
  page_heap_shrink(SIZE_MAX / 2);
}

/* --- overflows -------------------------------------------------------------------------------- */

static uint64_t sum_of(const void *begin, size_t size) {
  const uint64_t *words = begin;
  uint64_t sum = 0;
  for (size_t i = 0; i < size / 8; i++) sum = (sum ^ words[i]) * 0xff51afd7ed558ccdu;
  return sum;
}

/* Of all that the allocator goes by: tables, descriptors, the calling thread's buffers. */
static uint64_t sum_of_state(void) {
  size_t pages = heap.committed_pages;
  uint64_t states = 0;
  for (unsigned t = 0; t < STATE_TABLES; t++)
    states ^= sum_of(heap.state[t], pages * HEAP_PAGE >> state_shifts[t]);
  return states ^ sum_of(heap.allocated, pages * sizeof *heap.allocated) ^
         sum_of(heap.marked, pages * sizeof *heap.marked) ^ sum_of(heap.page_class, pages) ^
         sum_of(heap.page_first, pages * sizeof *heap.page_first) ^
         sum_of(heap.pages, pages * sizeof *heap.pages) ^ sum_of(self.real, sizeof *self.real);
}

static bool is_open(uintptr_t address) {
  unsigned char byte;
  return port_peek(address, &byte, 1) == 1;
}

enum { MOST_MADE = 16 << 20 >> 4 };
static void *made[MOST_MADE];

/* In turns as long as there are pages, then what is left of each size. */
static size_t make_all(void) {
  size_t count = 0;
  for (;; count++) {
    unsigned next = 1 + (unsigned)count % (CLASS_LARGE - 1);
    size_t size = count % 40 == 39 ? 150000 : size_classes[next].size - 1;
    if (!(made[count] = allocate(size, NULL))) break;
  }
  for (unsigned class = 1; class < CLASS_LARGE; class ++)
    while ((made[count] = allocate(size_classes[class].size - 1, NULL))) count++;
  return count;
}

/* The heap is full to its end; each block writes as many bytes behind itself as its cell has, which
   from the last of them ends at an inaccessible page. What it holds is lost, and nothing else: all
   are freed once, and all can be made again. */
Test(heap, overflow_by_up_to_one_cell_never_reaches_allocator_state) {
  unit_start_heap_of(16 * MIB, NULL);
  size_t count = make_all(), stopped = 0;
  uintptr_t end = heap.base + heap.page_limit * HEAP_PAGE;
  cr_assert_gt(count, 1000);
  cr_assert_eq(heap.top, heap.page_limit);
  uint64_t before = sum_of_state();
  for (size_t i = 0; i < count; i++) {
    struct cell cell;
    cr_assert(object_find(made[i], &cell));
    uintptr_t behind = cell.address + cell.page->size;
    memset((void *)behind, 'o', size_min(cell.page->size, end - behind));
    stopped += end - behind < cell.page->size;
  }
  cr_expect_gt(stopped, 0);
  for (uintptr_t at = end; at < end + KERNEL_PAGE; at++) cr_assert(!is_open(at));
  cr_expect_eq(sum_of_state(), before);
  heap.state[0][heap.size / GRANULE - 1] ^= 1;
  cr_expect_neq(sum_of_state(), before, "one bit of it would be seen");
  heap.state[0][heap.size / GRANULE - 1] ^= 1;
  for (size_t i = 0; i < count; i++) {
    cr_assert_eq(release(made[i]), RELEASED);
    cr_assert_eq(release(made[i]), RELEASE_NOT_LIVE);
  }
  allocate_trim(true);
  cr_expect_geq(make_all(), count * 9 / 10);
}
