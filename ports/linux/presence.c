/* presence.c: which pages hold something, by PAGEMAP_SCAN, the pagemap, mincore and smaps
 * (presence.h).
 */
#include "ports/linux/presence.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/remedy.h"
#include "base/text.h"
#include "ports/x86_64/system_call.h"

/* From linux/fs.h of 6.7, which the oldest supported distribution's headers lack. */
struct page_region {
  uint64_t begin, end, categories;
};
struct page_scan {
  uint64_t size, flags, begin, end, walk_end, regions, region_count, max_pages;
  uint64_t inverted, all_of, any_of, returned;
};
#define PAGE_SCAN _IOWR('f', 16, struct page_scan)
enum { IS_FILE = 1 << 2, IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4, IS_ZERO = 1 << 5 };
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_FILE (1ull << 61)

/* Whether any page of the process is swapped, which mincore takes for absent. By a sum over all of
   them: VmSwap in status is inaccurate, as proc_pid_status(5) says. Where it cannot be told some
   are. */
static bool holds_swapped_pages(struct port_maps *maps) {
  char *text = maps->copy;
  long got = port_read_file("/proc/thread-self/smaps_rollup", text, maps->copy_size - 1);
  text[got > 0 ? got : 0] = 0;
  const char *line = strstr(text, "\nSwap:");
  if (!line) return true;
  line += sizeof "\nSwap:" - 1;
  while (*line == ' ') line++;
  return *line != '0';
}

void presence_begin(struct port_maps *maps) {
  maps->scan_works = maps->swapped = false;
  if (maps->pagemap < 0) {
    maps->swapped = holds_swapped_pages(maps);
  } else if (!maps->baseline) {
    struct page_scan probe = {.size = sizeof probe, .begin = 0, .end = 0, .returned = IS_PRESENT};
    maps->scan_works = SYSTEM_CALL(SYS_ioctl, maps->pagemap, PAGE_SCAN, &probe) == 0;
  }
}

/* presence_list with PAGEMAP_SCAN. */
static long scan_pages(struct port_maps *maps, uintptr_t begin, uintptr_t end, bool files,
                       uintptr_t *stopped) {
  struct page_region *regions = (struct page_region *)maps->ranges;
  size_t capacity = maps->range_capacity * sizeof(struct port_range) / sizeof *regions;
  uint64_t excluded = IS_ZERO | (files ? 0 : IS_FILE);
  struct page_scan scan = {.size = sizeof scan,
                           .begin = begin,
                           .end = end,
                           .regions = (uint64_t)regions,
                           .region_count = capacity,
                           .inverted = excluded,
                           .all_of = excluded,
                           .any_of = IS_PRESENT | IS_SWAPPED,
                           .returned = IS_PRESENT};
  if (WITHOUT(present_only)) {
    maps->ranges[0] = (struct port_range){begin, end};
    *stopped = end;
    return 1;
  }
  long count = SYSTEM_CALL(SYS_ioctl, maps->pagemap, PAGE_SCAN, &scan);
  if (count < 0) return count;
  *stopped = scan.walk_end;
  long ranges = 0;
  for (long i = 0; i < count; i++) { /* three words a region become two a range, in place */
    struct page_region region = regions[i];
    struct port_range *last = ranges ? &maps->ranges[ranges - 1] : NULL;
    if (last && last->end == region.begin) last->end = region.end; /* of pages that are swapped */
    else maps->ranges[ranges++] = (struct port_range){region.begin, region.end};
  }
  /* No room for more: what comes next may go on where the last ends. */
  bool cut = ranges && *stopped < end && maps->ranges[ranges - 1].end == *stopped;
  if (cut && *stopped - KERNEL_PAGE > begin && !WITHOUT(words_across)) *stopped -= KERNEL_PAGE;
  return ranges;
}

/* One more page that holds something; they come in order. False: no room. */
static bool add_page(struct port_maps *maps, long *count, uintptr_t address) {
  if (*count && maps->ranges[*count - 1].end == address) {
    maps->ranges[*count - 1].end += KERNEL_PAGE;
    return true;
  }
  if ((size_t)*count == maps->range_capacity) return false;
  maps->ranges[(*count)++] = (struct port_range){address, address + KERNEL_PAGE};
  return true;
}

/* The last page of a window is the first of the next, too: a word may lie across its end. */
static uintptr_t window_stop(uintptr_t begin, size_t pages, size_t all) {
  uintptr_t end = begin + pages * KERNEL_PAGE;
  return pages < all && pages > 1 && !WITHOUT(words_across) ? end - KERNEL_PAGE : end;
}

/* Reservations have many pages and next to none that hold anything. */
enum { AT_ONCE = 16 };

static bool any_holds(const uint64_t entries[AT_ONCE]) {
  uint64_t any = 0;
  for (int i = 0; i < AT_ONCE; i++) any |= entries[i];
  return (any & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) != 0;
}

static bool any_is_resident(const unsigned char *resident) {
  uint64_t words[AT_ONCE / 8];
  memcpy(words, resident, sizeof words);
  return ((words[0] | words[1]) & 0x0101010101010101) != 0;
}

/* presence_list by reading the pagemap, a window at a time. */
static long list_by_pagemap(struct port_maps *maps, uintptr_t begin, uintptr_t end, bool files,
                            uintptr_t *stopped) {
  size_t all = (end - begin) / KERNEL_PAGE, pages = size_min(all, maps->copy_size / 8);
  const uint64_t *entries = (const uint64_t *)maps->copy;
  long count = 0;
  if (SYSTEM_CALL(SYS_pread64, maps->pagemap, entries, pages * 8, begin / KERNEL_PAGE * 8) !=
      (long)pages * 8)
    return -EIO;
  *stopped = window_stop(begin, pages, all);
  for (size_t i = 0; i < pages; i++) {
    if (i % AT_ONCE == 0 && i + AT_ONCE <= pages && !any_holds(entries + i)) {
      i += AT_ONCE - 1;
      continue;
    }
    if (!(entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED))) continue;
    if (!files && (entries[i] & PAGEMAP_FILE)) continue;
    if (add_page(maps, &count, begin + i * KERNEL_PAGE)) continue;
    *stopped = begin + i * KERNEL_PAGE;
    break;
  }
  return count;
}

long presence_list_resident(struct port_maps *maps, uintptr_t begin, uintptr_t end,
                            uintptr_t *stopped) {
  size_t all = (end - begin) / KERNEL_PAGE, pages = size_min(all, maps->copy_size);
  const unsigned char *resident = (const unsigned char *)maps->copy;
  long result = SYSTEM_CALL(SYS_mincore, begin, pages * KERNEL_PAGE, resident), count = 0;
  if (result < 0) return result;
  *stopped = window_stop(begin, pages, all);
  for (size_t i = 0; i < pages; i++) {
    if (i % AT_ONCE == 0 && i + AT_ONCE <= pages && !any_is_resident(resident + i)) {
      i += AT_ONCE - 1;
      continue;
    }
    if (!(resident[i] & 1) || add_page(maps, &count, begin + i * KERNEL_PAGE)) continue;
    *stopped = begin + i * KERNEL_PAGE;
    break;
  }
  return count;
}

long presence_list(struct port_maps *maps, uintptr_t begin, uintptr_t end, bool files,
                   uintptr_t *stopped) {
  if (maps->scan_works) return scan_pages(maps, begin, end, files, stopped);
  if (maps->pagemap >= 0) return list_by_pagemap(maps, begin, end, files, stopped);
  if (!maps->swapped) return presence_list_resident(maps, begin, end, stopped);
  maps->ranges[0] = (struct port_range){begin, end}; /* everything may be there */
  *stopped = end;
  return 1;
}

/* What smaps has told of a mapping so far: not met, its lines are being read, all read. */
enum own_pages { UNKNOWN, READING, NONE, SOME };

static void read_smaps_line(const char *at, const char *newline, uintptr_t wanted,
                            enum own_pages *pages) {
  if (*at < 'A' || *at > 'Z') { /* the first line of a mapping */
    if (*pages == READING) *pages = NONE;
    else if (text_read_hex(&at, newline) == wanted) *pages = READING;
    return;
  }
  static const char *const names[] = {"Anonymous:", "Swap:", "Private_Hugetlb:", "Shared_Hugetlb:"};
  bool counts = false;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    size_t length = strlen(names[i]);
    counts |= (size_t)(newline - at) > length && !memcmp(at, names[i], length);
  }
  for (; *pages == READING && counts && at < newline; at++)
    if (*at >= '1' && *at <= '9') *pages = SOME;
}

bool presence_of_own(struct port_maps *maps, uintptr_t wanted) {
  enum own_pages pages = UNKNOWN;
  int descriptor = port_open_read("/proc/thread-self/smaps");
  if (descriptor < 0) return true;
  char *text = maps->copy;
  for (size_t held = 0; pages < NONE;) {
    long got = port_read(descriptor, text + held, maps->copy_size - held);
    if (got == 0 && held == 0 && pages == READING) pages = NONE; /* it was the last */
    if (got <= 0) break;
    held += (size_t)got;
    const char *at = text, *newline;
    while (pages < NONE && (newline = memchr(at, '\n', (size_t)(text + held - at)))) {
      read_smaps_line(at, newline, wanted, &pages);
      at = newline + 1;
    }
    held -= (size_t)(at - text);
    memmove(text, at, held);
  }
  port_close(descriptor);
  return pages != NONE;
}

bool presence_of_swap(struct port_maps *maps) {
  char *text = maps->copy;
  long got = port_read_file("/proc/swaps", text, maps->copy_size - 1);
  if (got < 0 && got != -ENOENT) return true;
  text[got > 0 ? got : 0] = 0;
  for (const char *line = strchr(text, '\n'); line && line[1]; line = strchr(line + 1, '\n')) {
    const char *at = line + 1;
    for (int field = 0; field < 3; field++) { /* name, type, size */
      while (*at && *at != ' ' && *at != '\t' && *at != '\n') at++;
      while (*at == ' ' || *at == '\t') at++;
    }
    if (*at != '0') return true;
  }
  return false;
}
