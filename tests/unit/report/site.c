/* site.c: who allocated what, and whether a condemned object was written. */
#include "tests/unit/unit.h"

#include <link.h>
#include <stdio.h>

#include "base/text.h"
#include "report/site.h"

static void start(void) {
  unit_start_heap_of(256 * MIB, site_tables_size);
  cr_assert(site_init());
}

TestSuite(site, .init = start, .timeout = 30);
TestSuite(no_site, .timeout = 30);

Test(site, is_remembered_for_each_object) {
  enum { COUNT = 3000 };
  static void *objects[COUNT];
  for (uintptr_t i = 0; i < COUNT; i++) {
    objects[i] = allocate(i % 500, NULL);
    site_record((uintptr_t)objects[i], i * 3 + 1);
  }
  for (uintptr_t i = 0; i < COUNT; i++) cr_assert_eq(site_of((uintptr_t)objects[i]), i * 3 + 1);
  site_record((uintptr_t)objects[7], 99);
  cr_expect_eq(site_of((uintptr_t)objects[7]), 99);
}

Test(site, is_zero_where_none_was_recorded) {
  cr_expect_eq(site_of((uintptr_t)allocate(10, NULL)), 0);
}

Test(no_site, without_tables_nothing_is_known) {
  unit_start_heap();
  void *object = allocate(10, NULL);
  site_record((uintptr_t)object, 5);
  cr_expect_eq(site_of((uintptr_t)object), 0);
  char buffer[64];
  struct text text = text_in(buffer, sizeof buffer - 1);
  site_describe((uintptr_t)start, &text);
  *text.end = 0;
  cr_expect_str_eq(buffer, "?");
}

static const char *describe(uintptr_t address) {
  static char buffer[512];
  struct text text = text_in(buffer, sizeof buffer - 1);
  site_describe(address, &text);
  *text.end = 0;
  return buffer;
}

static int find_base(struct dl_phdr_info *info, size_t size, void *base) {
  (void)size;
  *(uintptr_t *)base = info->dlpi_addr;
  return 1; /* the first is the program */
}

Test(site, is_described_as_library_and_offset) {
  uintptr_t base = 0;
  dl_iterate_phdr(find_base, &base);
  char expected[64];
  snprintf(expected, sizeof expected, "+0x%lx", (uintptr_t)start - base);
  const char *got = describe((uintptr_t)start);
  cr_expect(strlen(got) > strlen(expected));
  cr_expect_str_eq(got + strlen(got) - strlen(expected), expected, "%s", got);
  cr_expect_null(strchr(got, '/'), "%s", got);
  got = describe((uintptr_t)&read);
  cr_expect_eq(strncmp(got, "libc", 4), 0, "%s", got);
  cr_expect_str_eq(describe(0), "?");
  cr_expect_str_eq(describe(0x10), "0x10", "in no mapping");
}

Test(site, a_write_is_noticed) {
  static const size_t sizes[] = {16, 64, 1024, 32768, 65536};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *object = allocate(sizes[i] - 1, NULL);
    memset(object, 0x11, sizes[i]);
    site_remember((uintptr_t)object, sizes[i]);
    cr_expect(site_unchanged((uintptr_t)object, sizes[i]));
    for (size_t at = 0; at<sizes[i]; at += sizes[i]> 1024 ? 997 : 1) {
      object[at] ^= 0x40;
      if (site_unchanged((uintptr_t)object, sizes[i])) cr_assert_fail("byte %zu", at);
      object[at] ^= 0x40;
    }
    cr_expect(site_unchanged((uintptr_t)object, sizes[i]));
  }
}

Test(site, words_that_change_places_are_noticed) {
  uint64_t *object = allocate(63, NULL);
  for (uint64_t i = 0; i < 8; i++) object[i] = i;
  site_remember((uintptr_t)object, 64);
  object[2] = 3;
  object[3] = 2;
  cr_expect(!site_unchanged((uintptr_t)object, 64));
}

Test(site, of_a_large_object_the_first_part_counts) {
  const size_t size = 3 * MIB;
  char *object = allocate(size, NULL);
  memset(object, 0, size);
  site_remember((uintptr_t)object, size);
  object[MIB - 1] = 1;
  cr_expect(!site_unchanged((uintptr_t)object, size));
  object[MIB - 1] = 0;
  object[2 * MIB] = 1;
  cr_expect(site_unchanged((uintptr_t)object, size));
}
