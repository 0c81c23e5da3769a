/* mappings.c: which pages are visited, in a made stretch of address space, in the three ways the
   kernel can be asked: PAGEMAP_SCAN, /proc/self/pagemap, mincore. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "base/text.h"

enum way { SCAN, PAGEMAP, MINCORE, WAYS };
static const char *const way_names[] = {"PAGEMAP_SCAN", "pagemap", "mincore"};
enum { PAGES = 64, AREA = PAGES * 4096 };

static char *area;                    /* tests make mappings inside it */
static struct port_range reservation; /* stands for our own */
static uint8_t visited[PAGES];
static int torn;
static char text[1 << 20], copy[32768];
static struct port_range ranges[512];

static void start(void) {
  reservation.begin = (uintptr_t)port_reserve(65536, 65536);
  reservation.end = reservation.begin + 65536;
}

TestSuite(mappings, .init = start, .timeout = 30);

static void note(void *context, uintptr_t begin, uintptr_t end, uintptr_t origin) {
  cr_assert_eq(context, &visited);
  for (uintptr_t at = origin; at < origin + (end - begin); at += 4096) {
    if (at - (uintptr_t)area >= AREA) continue;
    size_t page = (at - (uintptr_t)area) / 4096;
    visited[page]++;
    /* Tests write the page's number into what they write. */
    uint32_t word = *(uint32_t *)(begin + (at - origin));
    if (word != 0 && word != page + 1000) torn++;
  }
}

static struct port_maps make_maps(enum way way) {
  return (struct port_maps){.baseline = way != SCAN,
                            .exclude = &reservation,
                            .exclude_count = 1,
                            .text = text,
                            .text_size = sizeof text,
                            .ranges = ranges,
                            .range_capacity = 300,
                            .copy = copy,
                            .copy_size = sizeof copy,
                            .visit = note,
                            .context = &visited};
}

static void open_maps(struct port_maps *maps, enum way way) {
  cr_assert_eq(port_maps_open(maps), PORT_MAPS_OK);
  if (way == MINCORE) {
    port_close(maps->pagemap);
    maps->pagemap = -1;
  }
}

static void visit_by(enum way way, struct port_maps maps) {
  memset(visited, 0, sizeof visited);
  torn = 0;
  open_maps(&maps, way);
  uint64_t begin = port_now();
  cr_expect_eq(port_maps_visit(&maps), PORT_MAPS_OK, "%s", way_names[way]);
  uint64_t took = port_now() - begin;
  cr_expect(maps.asking > 0 && maps.asking < took, "%s: %ju of %ju ns", way_names[way],
            (uintmax_t)maps.asking, (uintmax_t)took);
  port_maps_close(&maps);
  cr_expect_eq(torn, 0, "%s: contents differ", way_names[way]);
}

/* On a kernel older than 6.7 SCAN comes down to PAGEMAP. */
static void make_area(void) {
  area = mmap(NULL, AREA + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(area, MAP_FAILED);
  area += 4096;
}

static void *map(int page, int pages, int protection, int flags, int descriptor) {
  void *result =
      mmap(area + page * 4096, (size_t)pages * 4096, protection, flags | MAP_FIXED, descriptor, 0);
  cr_assert_neq(result, MAP_FAILED);
  return result;
}

static void write_page(int page) {
  *(volatile uint32_t *)(area + page * 4096) = (uint32_t)page + 1000;
}
static void read_page(int page) { (void)*(volatile uint32_t *)(area + page * 4096); }

static int temporary_file(int pages) {
  char name[] = "/tmp/reclaim-unit-XXXXXX";
  int descriptor = mkstemp(name);
  cr_assert(descriptor >= 0);
  unlink(name);
  for (int i = 0; i < pages; i++) {
    char page[4096] = {0};
    cr_assert_eq(write(descriptor, page, sizeof page), 4096);
  }
  return descriptor;
}

static void expect_visited(const int *pages, int count) {
  for (enum way way = SCAN; way < WAYS; way++) {
    visit_by(way, make_maps(way));
    for (int p = 0; p < PAGES; p++) {
      bool expected = false;
      for (int i = 0; i < count; i++) expected |= pages[i] == p;
      cr_expect_eq(visited[p], expected, "%s: page %d, %d times", way_names[way], p, visited[p]);
    }
  }
}
#define EXPECT_VISITED(...)                                                                        \
  expect_visited((const int[]){-1, ##__VA_ARGS__}, sizeof(int[]){-1, ##__VA_ARGS__} / sizeof(int))

Test(mappings, nothing_is_there) {
  make_area();
  EXPECT_VISITED();
}

Test(mappings, anonymous_pages_that_were_written) {
  make_area();
  map(2, 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  write_page(2);
  write_page(5);
  write_page(6);
  write_page(21);
  EXPECT_VISITED(2, 5, 6, 21);
}

Test(mappings, whatever_their_protection) {
  make_area();
  map(0, 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (int page = 3; page < 12; page++) write_page(page);
  mprotect(area + 4 * 4096, 4096, PROT_NONE);
  mprotect(area + 6 * 4096, 2 * 4096, PROT_READ);
  mprotect(area + 9 * 4096, 4096, PROT_NONE);
  mprotect(area + 20 * 4096, 4096, PROT_NONE);
  EXPECT_VISITED(3, 4, 5, 6, 7, 8, 9, 10, 11);
}

Test(mappings, pages_given_back_are_gone) {
  make_area();
  map(0, 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (int page = 0; page < 10; page++) write_page(page);
  madvise(area + 3 * 4096, 4 * 4096, MADV_DONTNEED);
  EXPECT_VISITED(0, 1, 2, 7, 8, 9);
}

Test(mappings, shared_anonymous_memory) {
  make_area();
  map(10, 10, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
  write_page(12);
  write_page(19);
  for (enum way way = SCAN; way <= PAGEMAP; way++) {
    visit_by(way, make_maps(way));
    cr_expect(visited[12] && visited[19], "%s", way_names[way]);
  }
  visit_by(MINCORE, make_maps(MINCORE));
  cr_expect(visited[12] && visited[19]);
}

Test(mappings, shared_memory_files_yes_shared_files_no) {
  make_area();
  int memory = memfd_create("unit", 0);
  cr_assert_eq(ftruncate(memory, 10 * 4096), 0);
  map(0, 10, PROT_READ | PROT_WRITE, MAP_SHARED, memory);
  write_page(1);
  map(20, 4, PROT_READ | PROT_WRITE, MAP_SHARED, temporary_file(4));
  write_page(21);
  for (enum way way = SCAN; way < WAYS; way++) {
    visit_by(way, make_maps(way));
    cr_expect(visited[1], "%s", way_names[way]);
    cr_expect(!visited[20] && !visited[21], "%s", way_names[way]);
  }
}

Test(mappings, of_a_private_file_the_written_pages) {
  make_area();
  map(8, 10, PROT_READ | PROT_WRITE, MAP_PRIVATE, temporary_file(10));
  for (int page = 8; page < 18; page++) read_page(page);
  write_page(11);
  for (enum way way = SCAN; way <= PAGEMAP; way++) {
    visit_by(way, make_maps(way));
    for (int p = 0; p < PAGES; p++) cr_expect_eq(visited[p], p == 11, "%s: %d", way_names[way], p);
  }
  visit_by(MINCORE, make_maps(MINCORE)); /* cannot tell whose a page is: visits them all */
  cr_expect(visited[11]);
}

Test(mappings, of_a_protected_private_file_too) {
  make_area();
  map(8, 10, PROT_READ | PROT_WRITE, MAP_PRIVATE, temporary_file(10));
  write_page(11);
  mprotect(area + 8 * 4096, 10 * 4096, PROT_NONE);
  for (enum way way = SCAN; way < WAYS; way++) {
    visit_by(way, make_maps(way));
    cr_expect(visited[11], "%s", way_names[way]);
  }
}

/* A loader leaves such gaps between the parts of a library. By mincore they look full. */
Test(mappings, not_a_protected_file_that_nobody_wrote) {
  make_area();
  int file = temporary_file(20);
  map(8, 10, PROT_READ, MAP_PRIVATE, file);
  for (int page = 8; page < 18; page++) read_page(page);
  mprotect(area + 8 * 4096, 10 * 4096, PROT_NONE);
  map(30, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
  write_page(30);
  mprotect(area + 30 * 4096, 4096, PROT_NONE);
  for (enum way way = SCAN; way < WAYS; way++) {
    struct port_maps maps = make_maps(way);
    maps.copy_size = 8192; /* the lines of smaps come in pieces */
    visit_by(way, maps);
    for (int p = 0; p < PAGES; p++)
      cr_expect_eq(visited[p], p == 30, "%s: page %d", way_names[way], p);
  }
}

Test(mappings, a_file_that_shrank_is_survived) {
  make_area();
  int file = temporary_file(10);
  map(8, 10, PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
  for (int page = 8; page < 18; page++) read_page(page);
  write_page(9);
  cr_assert_eq(ftruncate(file, 0), 0);
  for (enum way way = SCAN; way < WAYS; way++) visit_by(way, make_maps(way));
}

Test(mappings, random_areas_agree) {
  uint64_t seed = 71;
  make_area();
  for (int round = 0; round < 40; round++) {
    bool expected[PAGES] = {0};
    map(0, PAGES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (int page = 0; page < PAGES;) {
      int pages = 1 + (int)unit_below(&seed, size_min(9, (size_t)(PAGES - page)));
      if (unit_below(&seed, 4)) {
        map(page, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        for (int p = page; p < page + pages; p++)
          if ((expected[p] = unit_below(&seed, 2))) write_page(p);
        static const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
        mprotect(area + page * 4096, (size_t)pages * 4096, protections[unit_below(&seed, 3)]);
      }
      page += pages;
    }
    for (enum way way = SCAN; way < WAYS; way++) {
      visit_by(way, make_maps(way));
      for (int p = 0; p < PAGES; p++)
        cr_assert_eq(visited[p], expected[p], "round %d, %s, page %d", round, way_names[way], p);
    }
  }
}

static void note_copy(void *context, uintptr_t begin, uintptr_t end) {
  cr_assert_eq(context, &visited);
  for (uintptr_t at = begin; at + 4 <= end; at += 4) { /* a copy begins with the last one's end */
    uint32_t number = *(uint32_t *)at;
    if (number >= 1000 && number < 1000 + PAGES) visited[number - 1000]++;
  }
}

Test(mappings, copies_of_what_is_there_though_a_part_is_no_memory) {
  make_area();
  map(0, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (int page = 0; page < PAGES; page += 2) write_page(page);
  munmap(area + 20 * 4096, 3 * 4096);
  munmap(area + 40 * 4096, 4096);
  for (enum way way = SCAN; way < WAYS; way++) {
    struct port_maps maps = make_maps(way);
    memset(visited, 0, sizeof visited);
    open_maps(&maps, way);
    cr_assert(port_present_copies(&maps, (uintptr_t)area, (uintptr_t)area + AREA, false, note_copy,
                                  &visited),
              "%s", way_names[way]);
    port_maps_close(&maps);
    for (int p = 0; p < PAGES; p++) {
      bool there = p % 2 == 0 && p != 20 && p != 22 && p != 40;
      cr_expect_eq(visited[p] > 0, there, "%s: page %d", way_names[way], p);
    }
  }
}

Test(mappings, little_working_memory_is_enough) {
  make_area();
  map(0, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (int page = 0; page < PAGES; page += 2) write_page(page);
  mprotect(area + 32 * 4096, 32 * 4096, PROT_NONE);
  for (enum way way = SCAN; way < WAYS; way++) {
    struct port_maps maps = make_maps(way);
    maps.range_capacity = 3; /* one more than PAGEMAP_SCAN needs for two */
    maps.copy_size = 4096;
    visit_by(way, maps);
    for (int p = 0; p < PAGES; p++)
      cr_expect_eq(visited[p], p % 2 == 0, "%s: page %d", way_names[way], p);
  }
}

static bool seen[AREA / 4]; /* a word at each multiple of four */
static void note_words(void *context, uintptr_t begin, uintptr_t end, uintptr_t origin) {
  (void)context;
  for (uintptr_t at = origin; at + 8 <= origin + (end - begin); at += 4)
    if (at - (uintptr_t)area < AREA) seen[(at - (uintptr_t)area) / 4] = true;
}

Test(mappings, no_word_is_cut_in_two) {
  make_area();
  map(0, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (int page = 0; page < PAGES; page++) write_page(page);
  enum { CLOSED = PAGES / 2 };
  mprotect(area + CLOSED * 4096, (PAGES - CLOSED) * 4096, PROT_NONE);
  static const size_t copies[] = {sizeof copy, 20000, 4096, 64};
  for (enum way way = SCAN; way < WAYS; way++)
    for (size_t c = 0; c < sizeof copies / sizeof *copies; c++) {
      struct port_maps maps = make_maps(way);
      maps.copy_size = copies[c];
      maps.visit = note_words;
      memset(seen, 0, sizeof seen);
      open_maps(&maps, way);
      cr_expect_eq(port_maps_visit(&maps), PORT_MAPS_OK);
      port_maps_close(&maps);
      for (size_t w = 0; w + 1 < AREA / 4; w++)
        if (!seen[w] && w * 4 + 4 != CLOSED * 4096) /* across two mappings */
          cr_assert_fail("%s, copies of %zu: word at %zu", way_names[way], copies[c], w * 4);
    }
}

Test(mappings, what_is_excluded_is_not_visited) {
  make_area();
  map(0, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (int page = 0; page < PAGES; page++) write_page(page);
  for (enum way way = SCAN; way < WAYS; way++) {
    struct port_maps maps = make_maps(way);
    const struct port_range excluded = {(uintptr_t)area + 10 * 4096, (uintptr_t)area + 50 * 4096};
    maps.exclude = &excluded;
    visit_by(way, maps);
    for (int p = 0; p < PAGES; p++)
      cr_expect_eq(visited[p], p < 10 || p >= 50, "%s: page %d", way_names[way], p);
  }
}

Test(mappings, several_ranges_are_excluded_and_what_is_between_is_visited) {
  make_area();
  map(0, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (int page = 0; page < PAGES; page++) write_page(page);
  uintptr_t base = (uintptr_t)area;
  const struct port_range excluded[] = {{base + 10 * 4096, base + 20 * 4096},
                                        {base + 21 * 4096, base + 30 * 4096},
                                        {base + 30 * 4096, base + 40 * 4096}};
  for (enum way way = SCAN; way < WAYS; way++) {
    struct port_maps maps = make_maps(way);
    maps.exclude = excluded;
    maps.exclude_count = 3;
    visit_by(way, maps);
    for (int p = 0; p < PAGES; p++)
      cr_expect_eq(visited[p], p < 10 || p == 20 || p >= 40, "%s: page %d", way_names[way], p);
  }
}

Test(mappings, a_list_that_does_not_fit_is_refused) {
  struct port_maps maps = make_maps(SCAN);
  maps.text_size = 200;
  cr_expect_eq(port_maps_open(&maps), PORT_MAPS_TRUNCATED);
}

Test(mappings, a_list_of_other_memory_is_refused) {
  struct port_maps maps = make_maps(SCAN);
  const struct port_range nowhere = {4096, 8192}; /* nobody has a mapping there */
  maps.exclude = &nowhere;
  cr_expect_eq(port_maps_open(&maps), PORT_MAPS_FOREIGN);
  cr_expect_eq(maps.pagemap, -1, "nothing stays open");
}

Test(mappings, the_list_is_counted_and_the_main_stack_found) {
  struct port_maps maps = make_maps(SCAN);
  cr_assert_eq(port_maps_open(&maps), PORT_MAPS_OK);
  port_maps_close(&maps);
  size_t lines = 0;
  for (size_t i = 0; i < maps.text_length; i++) lines += text[i] == '\n';
  cr_expect_eq(maps.mappings, lines);
  cr_expect((uintptr_t)&maps > maps.main_stack.begin && (uintptr_t)&maps < maps.main_stack.end);
}

Test(mappings, no_descriptor_stays_open) {
  int before = dup(0);
  close(before);
  make_area();
  map(0, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  write_page(0);
  mprotect(area, 4096, PROT_NONE);
  for (int i = 0; i < 10; i++)
    for (enum way way = SCAN; way < WAYS; way++) visit_by(way, make_maps(way));
  int after = dup(0);
  cr_expect_eq(after, before);
}

static void note_range(void *context, uintptr_t begin, uintptr_t end) {
  cr_assert_eq(context, &visited);
  for (uintptr_t at = begin; at < end; at += 4096) visited[(at - (uintptr_t)area) / 4096]++;
}

Test(mappings, present_pages_of_one_range) {
  make_area();
  map(0, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  write_page(1);
  write_page(30);
  write_page(31);
  write_page(63);
  for (enum way way = SCAN; way < WAYS; way++) {
    struct port_maps maps = make_maps(way);
    memset(visited, 0, sizeof visited);
    open_maps(&maps, way);
    cr_expect(
        port_present_ranges(&maps, (uintptr_t)area, (uintptr_t)area + AREA, note_range, &visited));
    port_maps_close(&maps);
    for (int p = 0; p < PAGES; p++)
      cr_expect_eq(visited[p], p == 1 || p == 30 || p == 31 || p == 63, "%s: %d", way_names[way],
                   p);
  }
}

Test(mappings, an_address_is_described_by_its_file) {
  char buffer[300];
  struct text out = text_in(buffer, sizeof buffer - 1);
  port_describe_address((uintptr_t)&read, text, sizeof text, &out);
  *out.end = 0;
  cr_expect_eq(strncmp(buffer, "libc", 4), 0, "%s", buffer);
  cr_expect(strstr(buffer, "+0x"));
  out = text_in(buffer, sizeof buffer - 1);
  port_describe_address(0x1000, text, sizeof text, &out);
  *out.end = 0;
  cr_expect_str_eq(buffer, "0x1000");
}

Test(mappings, one_is_found) {
  struct port_mapping found;
  static char data[8192];
  make_area();
  map(3, 2, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  cr_assert_eq(port_find_mapping((uintptr_t)area + 4 * 4096 + 77, &found), 1);
  cr_expect_eq(found.kind, PORT_MAPPING_ANONYMOUS);
  cr_expect(found.begin == (uintptr_t)area + 3 * 4096 && found.end == found.begin + 2 * 4096);
  cr_expect(found.readable && !found.writable);
  cr_expect_str_eq(found.name, "");
  map(10, 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
  cr_assert_eq(port_find_mapping((uintptr_t)area + 10 * 4096, &found), 1);
  cr_expect_eq(found.kind, PORT_MAPPING_OTHER, "shared");
  map(20, 4, PROT_NONE, MAP_PRIVATE, temporary_file(4));
  cr_assert_eq(port_find_mapping((uintptr_t)area + 21 * 4096, &found), 1);
  cr_expect(found.kind == PORT_MAPPING_OTHER && !found.readable && !found.writable);
  cr_expect(found.name[0] && !strchr(found.name, '/'), "%s", found.name);
  cr_assert_eq(port_find_mapping((uintptr_t)&found, &found), 1);
  cr_expect_eq(found.kind, PORT_MAPPING_OTHER);
  cr_expect_str_eq(found.name, "[stack]");
  cr_assert_eq(port_find_mapping((uintptr_t)sbrk(0) - 1, &found), 1);
  cr_expect_eq(found.kind, PORT_MAPPING_ANONYMOUS);
  cr_expect_str_eq(found.name, "[heap]");
  cr_assert_eq(port_find_mapping((uintptr_t)data, &found), 1);
  cr_assert_eq(munmap(area + 30 * 4096, 4096), 0);
  cr_expect_eq(port_find_mapping((uintptr_t)area + 30 * 4096, &found), 0);
  cr_expect_eq(port_find_mapping(0x10, &found), 0);
  cr_expect_eq(port_find_mapping(UINTPTR_MAX, &found), 0);
}

Test(mappings, memory_is_looked_at_that_may_not_be_there) {
  char buffer[8192];
  make_area();
  map(0, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  map(1, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  strcpy(area + 4000, "text");
  cr_expect_eq(port_peek((uintptr_t)area + 4000, buffer, 5), 5);
  cr_expect_str_eq(buffer, "text");
  cr_expect_eq(port_peek((uintptr_t)area, buffer, 8192), 4096, "as far as it is there");
  cr_expect_eq(port_peek((uintptr_t)area + 4096, buffer, 1), PORT_NO_MEMORY);
  cr_expect_eq(port_peek(0, buffer, 1), PORT_NO_MEMORY);
}
