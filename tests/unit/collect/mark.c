/* mark.c: what is reached from a range of words, exactly: the roots here are arrays of the tests,
   and no root of the process is scanned. */
#include "tests/unit/unit.h"

#include <setjmp.h>
#include <sys/mman.h>

#include "collect/mark.h"
#include "collect/sweep.h"

static void start(void) {
  unit_start_heap();
  cr_assert(mark_init());
}

TestSuite(mark, .init = start, .timeout = 60);

static bool is_marked(const void *object) {
  struct cell cell;
  if (!cell_of((uintptr_t)object, &cell)) return false;
  return page_marked(cell.page)[cell.index / 64] >> (cell.index % 64) & 1;
}

static struct mark_counts mark_by(unsigned markers, const struct mark_words *words,
                                  const void *roots, size_t size) {
  sweep_cancel();
  mark_prepare(markers);
  mark_begin(words, NULL);
  mark_range((uintptr_t)roots, (uintptr_t)roots + size);
  cr_assert(mark_drain());
  struct mark_counts counts = mark_end();
  cr_assert_eq(counts.markers, markers);
  return counts;
}

enum { MARKERS = 3 };
static uint64_t *bitmaps(void) { return (uint64_t *)heap.marked; }

/* A whole marking from one array of words: by one thread, and with helpers, who must come to the
   same. */
static struct mark_counts mark_as(struct mark_words words, const void *roots, size_t size) {
  size_t all = heap.top * sizeof *heap.marked;
  struct mark_counts with = mark_by(MARKERS, &words, roots, size);
  uint64_t *marked = malloc(all);
  memcpy(marked, bitmaps(), all);
  struct mark_counts alone = mark_by(1, &words, roots, size);
  cr_assert_eq(memcmp(marked, bitmaps(), all), 0, "other objects are marked with helpers");
  free(marked);
  cr_assert_eq(with.objects, alone.objects);
  cr_assert_eq(with.bytes, alone.bytes);
  return alone;
}
static struct mark_counts mark_from(const void *roots, size_t size, unsigned stride) {
  return mark_as((struct mark_words){.stride = stride}, roots, size);
}
static const struct mark_words plain = {.stride = 8};

/* An object whose words are all zero. */
static void *make(size_t size) {
  void *object = allocate(size, NULL);
  cr_assert(object);
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  return memset(object, 0, cell.page->size);
}

/* A list of `length` objects, linked by their first words. */
static void **make_list(size_t length, size_t size, size_t inside) {
  void **head = NULL;
  for (size_t i = 0; i < length; i++) {
    void **object = make(size);
    *object = head ? (char *)head + inside : NULL;
    head = object;
  }
  return head;
}

Test(mark, a_list_is_followed_to_its_end) {
  void **list = make_list(100000, 40, 0), **other = make_list(1000, 40, 0);
  struct mark_counts counts = mark_from(&list, sizeof list, 8);
  cr_expect_eq(counts.objects, 100000);
  cr_expect_eq(counts.bytes, 100000 * 48u);
  cr_expect_eq(counts.overflows, 0);
  for (void **at = list; at; at = *at)
    if (!is_marked(at)) cr_assert_fail("an object of the list was missed");
  for (void **at = other; at; at = *at)
    if (is_marked(at)) cr_assert_fail("nobody points to the other list");
}

Test(mark, interior_pointers_count) {
  static const size_t sizes[] = {16, 24, 100, 1000, 5000, 20000, 32767};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    void **list = make_list(500, sizes[i], sizes[i] / 2 + 1);
    char *root = (char *)list + sizes[i] - 1;
    cr_expect_eq(mark_from(&root, sizeof root, 8).objects, 500, "size %zu", sizes[i]);
  }
}

Test(mark, a_pointer_one_past_the_end_counts_for_its_object_alone) {
  static const size_t sizes[] = {0, 1, 15, 16, 17, 32, 48, 112, 128, 256, 4096, 16384, 32767};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *objects[3] = {make(sizes[i]), make(sizes[i]), make(sizes[i])};
    char *root = objects[1] + sizes[i];
    cr_expect_eq(mark_from(&root, sizeof root, 8).objects, 1, "size %zu", sizes[i]);
    cr_expect(is_marked(objects[1]));
    cr_expect(!is_marked(objects[0]) && !is_marked(objects[2]));
  }
  static const size_t large[] = {32768, 65535, 65536, 1 << 20};
  for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
    char *object = make(large[i]), *root = object + large[i];
    cr_expect_eq(mark_from(&root, sizeof root, 8).objects, 1, "size %zu", large[i]);
  }
}

Test(mark, leaves_are_reached_and_not_searched) {
  static const size_t sizes[] = {16, 24, 100, 1000, 5000, 32767, 40000, 300000, 3000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    void **leaf = make(sizes[i]), **object = make(sizes[i]), *roots[2] = {leaf, object};
    leaf[0] = make(50);
    leaf[sizes[i] / 8 - 1] = make(50);
    object[0] = make(50);
    object[sizes[i] / 8 - 1] = make(50);
    void *kept = object[0], *lost = leaf[0];
    *state_at((uintptr_t)leaf) |= STATE_LEAF;
    struct mark_counts counts = mark_from(roots, sizeof roots, 8);
    cr_expect_eq(counts.objects, 4, "size %zu", sizes[i]);
    cr_expect(is_marked(leaf) && is_marked(kept) && !is_marked(lost), "size %zu", sizes[i]);
    struct cell cell = {0};
    cell_of((uintptr_t)leaf, &cell);
    cr_expect_eq(counts.bytes, 2 * cell.page->size + 2 * 64, "size %zu", sizes[i]);
  }
}

Test(mark, cycles_end) {
  void **a = make(16), **b = make(100), **self_made = make(50), *roots[2] = {a, self_made};
  a[0] = b;
  b[3] = a;
  self_made[1] = self_made;
  self_made[2] = a;
  cr_expect_eq(mark_from(roots, sizeof roots, 8).objects, 3);
}

Test(mark, a_full_tree) {
  enum { COUNT = (1 << 15) - 1 };
  static void **nodes[COUNT];
  for (int i = 0; i < COUNT; i++) nodes[i] = make(16);
  for (int i = 0; 2 * i + 2 < COUNT; i++) {
    nodes[i][0] = nodes[2 * i + 1];
    nodes[i][1] = nodes[2 * i + 2];
  }
  cr_expect_eq(mark_from(&nodes[0], sizeof nodes[0], 8).objects, COUNT);
  cr_expect_eq(mark_from(&nodes[1], sizeof nodes[1], 8).objects, COUNT / 2);
}

Test(mark, words_that_point_to_no_object) {
  char *object = make(10);
  struct cell cell = {0};
  cr_assert(cell_of((uintptr_t)object, &cell));
  bool zero;
  struct page *freed = unit_large(3, GRANULE, &zero);
  unit_large(1, GRANULE, &zero);
  page_heap_release_large(freed);
  struct page *odd = page_heap_span(size_class_of(100)); /* 112 does not divide a page */
  uintptr_t words[] = {0,
                       1,
                       UINTPTR_MAX,
                       heap.base,
                       heap.base + 16,
                       heap.base + HEAP_PAGE - 1,
                       heap.base - 1,
                       heap.base + heap.top * HEAP_PAGE,
                       heap.base + GIB - 1,
                       heap.base + GIB,
                       (uintptr_t)words,
                       (uintptr_t)heap.pages,
                       (uintptr_t)&cell,
                       page_address(freed),
                       page_address(freed) + 100000,
                       page_address(odd) + HEAP_PAGE - 1,
                       ~(uintptr_t)object};
  cr_expect_eq(mark_from(words, sizeof words, 8).objects, 0);
}

Test(mark, strides) {
  static unsigned char roots[8 * 16] __attribute__((aligned(16)));
  static const struct {
    unsigned stride, offset;
    bool found;
  } cases[] = {{8, 0, true},   {8, 8, true},   {8, 4, false},  {8, 1, false}, {4, 0, true},
               {4, 4, true},   {4, 12, true},  {4, 2, false},  {4, 7, false}, {1, 0, true},
               {1, 1, true},   {1, 4, true},   {1, 7, true},   {1, 13, true}, {1, 120, true},
               {4, 120, true}, {8, 120, true}, {4, 116, true}, {1, 119, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *object = make(150), *child = make(100);
    memcpy(object + cases[i].offset, &child, sizeof child);
    cr_expect_eq(mark_from(&object, sizeof object, cases[i].stride).objects, 1 + cases[i].found,
                 "stride %u, offset %u in an object", cases[i].stride, cases[i].offset);
    memset(roots, 0, sizeof roots);
    memcpy(roots + cases[i].offset, &object, sizeof object);
    mark_from(roots, sizeof roots, cases[i].stride);
    cr_expect_eq(is_marked(object), cases[i].found, "stride %u, offset %u", cases[i].stride,
                 cases[i].offset);
  }
}

static bool reaches(struct mark_words words, uintptr_t word, const void *object) {
  mark_as(words, &word, sizeof word);
  return is_marked(object);
}

Test(mark, slop_reaches_up_to_so_many_bytes_below) {
  static const size_t sizes[] = {1, 16, 40, 100, 3000, 20000, 100000};
  static const unsigned slops[] = {1, 7, 16, 100, 4096};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (size_t s = 0; s < sizeof slops / sizeof *slops; s++)
      for (unsigned stride = 1; stride <= 8; stride += stride == 1 ? 3 : 4) {
        char *object = make(sizes[i]);
        struct mark_words words = {.stride = stride, .slop = slops[s]};
        uintptr_t word = (uintptr_t)object;
        cr_expect(reaches(words, word, object));
        cr_expect(reaches(words, word + sizes[i], object), "interior pointers as ever");
        cr_expect(reaches(words, word - 1, object));
        cr_expect(reaches(words, word - slops[s], object), "size %zu, slop %u", sizes[i], slops[s]);
        cr_expect(!reaches(words, word - slops[s] - 1, object), "size %zu, slop %u", sizes[i],
                  slops[s]);
        release(object);
      }
}

Test(mark, slop_marks_all_that_begin_in_reach_and_the_one_pointed_to) {
  char *objects[40];
  for (int i = 0; i < 40; i++) objects[i] = make(100);
  uintptr_t low = UINTPTR_MAX;
  for (int i = 0; i < 40; i++) low = size_min(low, (uintptr_t)objects[i]);
  struct mark_words words = {.stride = 8, .slop = 1000};
  uintptr_t word = low + 50;
  mark_as(words, &word, sizeof word);
  for (int i = 0; i < 40; i++) {
    uintptr_t at = (uintptr_t)objects[i];
    cr_expect_eq(is_marked(objects[i]), at == low || (at > word && at <= word + 1000));
  }
}

Test(mark, slop_at_the_heaps_ends_and_across_pages) {
  bool zero;
  struct page *large = unit_large(3, GRANULE, &zero), *next = unit_large(1, GRANULE, &zero);
  *state_at(page_address(large)) = *state_at(page_address(next)) = STATE_LIVE;
  large->size = 2 * HEAP_PAGE + KERNEL_PAGE; /* the run is longer than the object */
  void *first = (void *)page_address(large), *second = (void *)page_address(next);
  struct mark_words words = {.stride = 8, .slop = 4096};
  cr_assert_eq(page_index(large), 1);
  cr_expect(reaches(words, page_address(large) - 4096, first), "below the first page");
  cr_expect(reaches(words, page_address(next) - 100, second), "from an unused part of a run");
  cr_expect(!reaches(words, page_address(next) - 4097, second));
  uintptr_t top = heap.base + heap.top * HEAP_PAGE;
  cr_expect(!reaches(words, top, first) && !reaches(words, top, second));
  cr_expect(!reaches(words, UINTPTR_MAX - 100, second), "no wrap around");
}

Test(mark, high_bits_are_a_tag_when_told_so) {
  static const uintptr_t tags[] = {(uintptr_t)1 << 47, (uintptr_t)1 << 48, (uintptr_t)0xffff << 48,
                                   (uintptr_t)0x1ffff << 47, (uintptr_t)0x8000 << 48};
  char *object = make(100);
  for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
    for (unsigned stride = 1; stride <= 8; stride += stride == 1 ? 3 : 4) {
      uintptr_t word = ((uintptr_t)object + 60) | tags[i];
      cr_expect(!reaches((struct mark_words){.stride = stride}, word, object));
      struct mark_words words = {.stride = stride, .strip_high_bits = true};
      cr_expect(reaches(words, word, object));
      cr_expect(reaches(words, (uintptr_t)object, object), "plain ones as ever");
      words.slop = 16;
      cr_expect(reaches(words, ((uintptr_t)object - 16) | tags[i], object), "both at once");
    }
}

static uintptr_t mangle(const void *pointer) {
  uintptr_t word = (uintptr_t)pointer ^ port_jump_guard();
  return word << 17 | word >> 47;
}

Test(mark, registers_of_jump_buffers_once_the_program_switches_stacks) {
  static const struct mark_words kinds[] = {{.stride = 8},
                                            {.stride = 4},
                                            {.stride = 1},
                                            {.stride = 4, .strip_high_bits = true},
                                            {.stride = 8, .slop = 16}};
  char *object = make(100);
  void **holder = make(100);
  holder[3] = (void *)mangle(object + 20);
  for (int on = 0; on < 2; on++) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
      cr_expect_eq(reaches(kinds[i], mangle(object), object), on, "kind %zu", i);
      cr_expect_eq(reaches(kinds[i], (uintptr_t)holder, object), on, "kind %zu", i);
      cr_expect(reaches(kinds[i], (uintptr_t)object, object), "plain ones as ever");
      struct mark_words asked = kinds[i];
      asked.demangle = true;
      cr_expect(reaches(asked, mangle(object), object));
    }
    mark_demangle();
  }
}

Test(mark, what_setjmp_stores_is_found) {
  static jmp_buf buffer;
  uintptr_t found;
  char *object = make(100);
  /* rbp holds the pointer while setjmp runs, and nothing else does. */
  __asm__ volatile("push %%rbp\nmov %2, %%rbp\nsub $136, %%rsp\nlea %1, %%rdi\n"
                   "xor %%esi, %%esi\ncall *%3\nadd $136, %%rsp\npop %%rbp\nmov %%rsp, %0"
                   : "=&b"(found), "=m"(buffer)
                   : "r"((uintptr_t)object), "r"((void *)__sigsetjmp)
                   : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
  mark_from(&buffer, sizeof buffer, 8);
  cr_expect(!is_marked(object));
  mark_as((struct mark_words){.stride = 8, .demangle = true}, &buffer, sizeof buffer);
  cr_expect(is_marked(object));
  cr_expect(port_jump_stack_pointer(buffer) - (found - 4096) < 4096, "its stack pointer, too");
}

Test(mark, a_suspect_that_is_reached_is_none_any_more) {
  void **object = make(100), *child = make(100), *other = make(100000);
  object[0] = child;
  *state_at((uintptr_t)object) = STATE_LIVE | 3 * STATE_SUSPECT;
  *state_at((uintptr_t)child) = STATE_LIVE | STATE_DROPPED | STATE_SUSPECT;
  *state_at((uintptr_t)other) = STATE_LIVE | 7 * STATE_SUSPECT;
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 2);
  cr_expect_eq(*state_at((uintptr_t)object), STATE_LIVE);
  cr_expect_eq(*state_at((uintptr_t)child), STATE_LIVE | STATE_DROPPED);
  cr_expect_eq(*state_at((uintptr_t)other), STATE_LIVE | 7 * STATE_SUSPECT, "not reached");
}

Test(mark, a_range_may_begin_and_end_anywhere) {
  void *objects[4] = {make(30), make(30), make(30), make(30)};
  char *roots = (char *)objects;
  cr_expect_eq(mark_from(roots + 1, sizeof objects - 2, 8).objects, 2, "whole words only");
  cr_expect_eq(mark_from(roots + 8, 7, 8).objects, 0);
  cr_expect_eq(mark_from(roots + 8, 8, 8).objects, 1);
  cr_expect_eq(mark_from(roots, 0, 8).objects, 0);
  cr_expect_eq(mark_from(roots + 3, 5, 1).objects, 0);
  cr_expect_eq(mark_from(roots + 4, 12, 4).objects, 1);
}

Test(mark, single_words) {
  void *object = make(100);
  mark_begin(&plain, NULL);
  mark_word((uintptr_t)object + 50);
  mark_word((uintptr_t)object);
  mark_word(12345);
  cr_expect(mark_drain());
  cr_expect_eq(mark_end().objects, 1);
  cr_expect(is_marked(object));
}

Test(mark, a_cell_that_waits_in_a_buffer_is_neither_counted_nor_scanned) {
  void **object = make(100), *child = make(100);
  object[0] = child;
  *state_at((uintptr_t)object) = STATE_NONE; /* as between its pop and its last store */
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 0);
  cr_expect(!is_marked(child));
  *state_at((uintptr_t)object) = STATE_LIVE;
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 2);
}

Test(mark, condemned_and_quarantined_objects_are_scanned) {
  void **object = make(100), *child = make(100);
  object[0] = child;
  *state_at((uintptr_t)object) = STATE_QUARANTINED;
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 2);
  *state_at((uintptr_t)object) = STATE_LIVE | STATE_CONDEMNED;
  cr_expect_eq(mark_from(&object, sizeof object, 8).objects, 2);
}

/* A word anywhere in a long range of zeros, across the borders of cache lines too; and of such a
   word only one half is in a line whose other words are zero. */
Test(mark, a_lone_word_in_a_long_range_is_found) {
  enum { SIZE = 40000 };
  static char range[SIZE] __attribute__((aligned(64)));
  void *object = make(50);
  for (unsigned stride = 4; stride <= 8; stride += 4)
    for (size_t begin = 0; begin <= 72; begin += 36)
      for (size_t at = 0; at + 8 <= SIZE; at = at == 400 ? SIZE - 400 : at + 4) {
        memcpy(range + at, &object, sizeof object);
        size_t size = mark_from(range + begin, SIZE - begin, stride).objects;
        cr_assert_eq(size, at % stride == 0 && at >= round_up(begin, stride),
                     "stride %u, from %zu, at %zu", stride, begin, at);
        memset(range + at, 0, sizeof object);
      }
}

/* --- large objects ---------------------------------------------------------------------------- */

Test(mark, large_objects_are_scanned_whole) {
  static const size_t sizes[] = {40000, 200000, 300000, 5 << 20, 20 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *object = make(sizes[i]);
    void **child[5];
    size_t places[5] = {0, 4096 - 8, sizes[i] / 2 / 8 * 8, sizes[i] / 8 * 8 - 8, 8};
    for (int c = 0; c < 5; c++) {
      child[c] = make(50);
      *(void **)(object + places[c]) = child[c];
    }
    char *root = object + sizes[i] / 3;
    struct mark_counts counts = mark_from(&root, sizeof root, 8);
    cr_expect_eq(counts.objects, 6, "size %zu", sizes[i]);
    for (int c = 0; c < 5; c++) cr_expect(is_marked(child[c]), "size %zu, place %d", sizes[i], c);
    cr_expect_eq(counts.bytes, round_up(sizes[i] + 1, KERNEL_PAGE) + 5 * 64);
    release(object);
  }
}

static size_t resident(const char *begin, size_t size) {
  size_t pages = size / KERNEL_PAGE, count = 0;
  unsigned char *map = malloc(pages);
  mincore((void *)begin, size, map);
  for (size_t i = 0; i < pages; i++) count += map[i] & 1;
  free(map);
  return count;
}

static void mark_sparse(bool baseline) {
  enum { SIZE = 64 << 20 };
  char *object = allocate(SIZE, NULL);
  void *near = make(50), *far = make(50);
  *(void **)(object + (3 << 20)) = near;
  *(void **)(object + SIZE - 8) = far;
  static char text[1 << 20], copy[65536];
  static struct port_range ranges[1000];
  struct port_range reservation = unit_reservation();
  struct port_maps maps = {.baseline = baseline,
                           .exclude = &reservation,
                           .exclude_count = 1,
                           .text = text,
                           .text_size = sizeof text,
                           .ranges = ranges,
                           .range_capacity = 600,
                           .copy = copy,
                           .copy_size = sizeof copy};
  cr_assert_eq(port_maps_open(&maps), PORT_MAPS_OK);
  mark_begin(&plain, &maps);
  mark_word((uintptr_t)object);
  cr_expect(mark_drain());
  cr_expect_eq(mark_end().objects, 3);
  port_maps_close(&maps);
  cr_expect(is_marked(near) && is_marked(far));
  cr_expect_eq(resident(object, SIZE), 2, "marking touches no page that the program did not");
}

Test(mark, a_sparse_large_object_stays_sparse) { mark_sparse(false); }
Test(mark, a_sparse_large_object_stays_sparse_by_pagemap) { mark_sparse(true); }

/* --- a mark stack that is too small ----------------------------------------------------------- */

Test(mark, a_wide_graph_overflows_the_stack_and_is_complete) {
  enum { WIDTH = 30000 };
  mark_limit_stack(16);
  void **hub = make(WIDTH * 8);
  for (int i = 0; i < WIDTH; i++) {
    void **object = make(24);
    object[1] = make_list(2, 40, 5);
    hub[i] = object;
  }
  struct mark_counts counts = mark_from(&hub, sizeof hub, 8);
  cr_expect(counts.overflows > 0);
  int missed = 0;
  for (int i = 0; i < WIDTH; i++) {
    void **object = hub[i];
    char *second = object[1], *third = *(void **)second;
    missed += !is_marked(object) + !is_marked(second) + !is_marked(third);
  }
  cr_expect_eq(missed, 0);
}

Test(mark, a_deep_list_with_a_short_stack_is_complete) {
  mark_limit_stack(2);
  void **list = make_list(50000, 24, 8);
  struct mark_counts counts = mark_from(&list, sizeof list, 8);
  cr_expect_eq(counts.objects, 50000);
}

Test(mark, what_overflowed_is_counted_once) {
  enum { WIDTH = 5000 };
  mark_limit_stack(16);
  void **hub = make(WIDTH * 8);
  for (int i = 0; i < WIDTH; i++) hub[i] = make(24);
  struct mark_counts counts = mark_from(&hub, sizeof hub, 8);
  cr_expect(counts.overflows > 0);
  cr_expect_eq(counts.objects, WIDTH + 1);
}

/* A large object is scanned in pieces and slices, on the stack or, where that is full, at once:
   words that lie in two of them, at the steps of the default stride, are found all the same. */
Test(mark, words_across_the_borders_of_a_large_object) {
  enum { SIZE = 3 << 20, STEP = 16 << 10, COUNT = SIZE / STEP - 1 };
  static const size_t limits[] = {0, 1, 2, 3, 4, 5, 30, 64, 65, 66, 67, 68};
  char *object = make(SIZE), *children[COUNT];
  for (int i = 0; i < COUNT; i++) {
    children[i] = make(40);
    memcpy(object + (i + 1) * STEP - 4, &children[i], sizeof children[i]);
  }
  for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
    mark_limit_stack(limits[l]);
    mark_from(&object, sizeof object, 4);
    for (int i = 0; i < COUNT; i++)
      cr_assert(is_marked(children[i]), "limit %zu, border %d", limits[l], i + 1);
  }
}

static void random_graphs(uint64_t seed, size_t stack);

Test(mark, random_graphs_agree_with_a_simple_search) { random_graphs(51, 0); }
Test(mark, random_graphs_with_a_short_stack) { random_graphs(52, 4); }

/* Nodes with up to eight edges that point anywhere into their targets. */
static void random_graphs(uint64_t seed, size_t stack) {
  enum { NODES = 3000, EDGES = 8 };
  static struct {
    char *object;
    size_t size;
    int edges[EDGES], count;
    bool reached;
  } nodes[NODES];
  static int todo[NODES];
  if (stack) mark_limit_stack(stack);
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < NODES; i++) {
      nodes[i].size = 64 + unit_below(&seed, unit_below(&seed, 30) ? 400 : 50000);
      nodes[i].object = make(nodes[i].size);
      nodes[i].reached = false;
    }
    for (int i = 0; i < NODES; i++) {
      nodes[i].count = (int)unit_below(&seed, round % 2 ? 3 : EDGES + 1);
      for (int e = 0; e < nodes[i].count; e++) {
        int target = nodes[i].edges[e] = (int)unit_below(&seed, NODES);
        ((char **)nodes[i].object)[e] =
            nodes[target].object + unit_below(&seed, nodes[target].size + 1);
      }
    }
    void *roots[5];
    int depth = 0, expected = 0;
    for (int r = 0; r < 5; r++) {
      int n = (int)unit_below(&seed, NODES);
      roots[r] = nodes[n].object;
      if (!nodes[n].reached) {
        nodes[n].reached = true;
        todo[depth++] = n;
      }
    }
    while (depth) {
      int n = todo[--depth];
      expected++;
      for (int e = 0; e < nodes[n].count; e++) {
        int target = nodes[n].edges[e];
        if (nodes[target].reached) continue;
        nodes[target].reached = true;
        todo[depth++] = target;
      }
    }
    struct mark_counts counts = mark_from(roots, sizeof roots, 8);
    if (!stack) cr_expect_eq(counts.objects, (uint64_t)expected);
    int wrong = 0;
    for (int i = 0; i < NODES; i++) wrong += is_marked(nodes[i].object) != nodes[i].reached;
    cr_assert_eq(wrong, 0, "round %d: %d of %d nodes", round, wrong, NODES);
    for (int i = 0; i < NODES; i++) cr_assert_eq(release(nodes[i].object), RELEASED);
  }
}
