/* mark_scan.c: which words count as pointers: where they stand and what they say. */
#include "tests/unit/collect/marking.h"

#include <setjmp.h>

TestSuite(mark_scan, .init = start_marking, .timeout = 60);

Test(mark_scan, strides) {
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

Test(mark_scan, slop_reaches_up_to_so_many_bytes_below) {
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

Test(mark_scan, slop_marks_all_that_begin_in_reach_and_the_one_pointed_to) {
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

Test(mark_scan, slop_at_the_heaps_ends_and_across_pages) {
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

Test(mark_scan, high_bits_are_a_tag_when_told_so) {
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

Test(mark_scan, registers_of_jump_buffers_once_the_program_switches_stacks) {
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

Test(mark_scan, what_setjmp_stores_is_found) {
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

Test(mark_scan, a_range_may_begin_and_end_anywhere) {
  void *objects[4] = {make(30), make(30), make(30), make(30)};
  char *roots = (char *)objects;
  cr_expect_eq(mark_from(roots + 1, sizeof objects - 2, 8).objects, 2, "whole words only");
  cr_expect_eq(mark_from(roots + 8, 7, 8).objects, 0);
  cr_expect_eq(mark_from(roots + 8, 8, 8).objects, 1);
  cr_expect_eq(mark_from(roots, 0, 8).objects, 0);
  cr_expect_eq(mark_from(roots + 3, 5, 1).objects, 0);
  cr_expect_eq(mark_from(roots + 4, 12, 4).objects, 1);
}

/* Two cells of that size, side by side, of which the first is returned. */
static char *make_two(size_t size) {
  for (;;) {
    char *one = make(size - 1), *other = make(size - 1);
    if (other == one + size) return one;
    if (one == other + size) return other;
  }
}

/* The loops for small cells look at lines that overlap: each word of a cell counts, and none of the
   next cell's. */
Test(mark_scan, every_word_of_a_cell_of_any_size_and_none_of_the_next) {
  for (unsigned class = 1; class < CLASS_SMALL_END && size_classes[class].size <= 512; class ++) {
    size_t size = size_classes[class].size;
    for (unsigned stride = 4; stride <= 8; stride += 4)
      for (size_t offset = 0; offset < size; offset += 4) {
        char *object = make_two(size), *child = make(40);
        bool inside = offset + sizeof child <= size;
        memcpy(inside ? object + offset : object + size, &child, sizeof child);
        mark_from(&object, sizeof object, stride);
        cr_assert_eq(is_marked(child), inside && offset % stride == 0,
                     "size %zu, offset %zu, stride %u", size, offset, stride);
        release(object);
        release(object + size);
        release(child);
      }
  }
}

Test(mark_scan, a_lone_word_in_a_long_range_is_found) {
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
