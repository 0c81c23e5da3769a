/* mappings.c: which memory may hold the program's pointers, by what the kernel says.

   /proc/thread-self/maps gives the mappings (/proc/self/maps is empty after main's pthread_exit)
   and PAGEMAP_SCAN (Linux 6.7) the pages that are present or swapped and not unmodified file
   pages. One scan covers a whole gap between our own ranges, several times cheaper than one a
   mapping; the two sorted lists are then intersected. Before 6.7 /proc/thread-self/pagemap is
   read instead; where that cannot be opened (a process that dropped its privileges) mincore
   tells which anonymous pages are resident, and smaps which mappings hold some.

   Of shared memory the page tables tell too little: fork does not copy their entries, and
   MADV_DONTNEED drops them. There mincore tells what the page cache has, and what was swapped is
   read whole.

   Anonymous private memory is read in place. What another process could truncate (files), and
   shared memory, is copied by process_vm_readv, which reports a fault instead of raising it;
   what is present but unreadable (PROT_NONE) through /proc/thread-self/mem. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "base/remedy.h"
#include "base/text.h"
#include "ports/port.h"
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

#define ADDRESS_END ((uintptr_t)0x7ffffffff000)

struct mapping {
  uintptr_t begin, end;
  char permissions[4];
  const char *name; /* not terminated */
  size_t name_length;
};

/* Parses one line of maps and steps to the next; false at the end. */
static bool next_mapping(const char **at, const char *end, struct mapping *mapping) {
  if (*at >= end) return false;
  mapping->begin = text_read_hex(at, end);
  ++*at;
  mapping->end = text_read_hex(at, end);
  ++*at;
  if (*at + 5 > end) return false;
  memcpy(mapping->permissions, *at, 4);
  *at += 5;
  for (int field = 0; field < 3; field++) { /* offset, device, inode */
    while (*at < end && **at != ' ' && **at != '\n') ++*at;
    while (*at < end && **at == ' ') ++*at;
  }
  mapping->name = *at;
  while (*at < end && **at != '\n') ++*at;
  mapping->name_length = (size_t)(*at - mapping->name);
  ++*at;
  return true;
}

static bool name_is(const struct mapping *mapping, const char *name) {
  return mapping->name_length == strlen(name) && !memcmp(mapping->name, name, strlen(name));
}
static bool name_begins(const struct mapping *mapping, const char *name) {
  return mapping->name_length >= strlen(name) && !memcmp(mapping->name, name, strlen(name));
}

/* How a mapping's pages are filtered and read. */
enum reading { SKIP, IN_PLACE, COPY, COPY_SHARED };

static enum reading reading_of(const struct mapping *mapping) {
  if (name_begins(mapping, "[v")) return SKIP; /* vvar, vdso, vsyscall: the kernel's */
  if (mapping->permissions[3] == 's') {
    /* Shared anonymous memory, memfds, System V segments and io_uring rings may hold private
       pointers; other shared files and devices do not. */
    bool readable = mapping->permissions[0] == 'r';
    bool ours = name_begins(mapping, "/dev/zero") || name_begins(mapping, "/memfd:") ||
                name_begins(mapping, "/SYSV") || name_begins(mapping, "/dev/shm/");
    bool special =
        name_begins(mapping, "/anon_hugepage") || name_begins(mapping, "anon_inode:[io_uring]");
    bool closed = ours && !readable && !WITHOUT(unreadable_pages);
    if (WITHOUT(shared_memory)) return SKIP;
    return closed || (readable && (ours || special)) ? COPY_SHARED : SKIP;
  }
  if (mapping->permissions[0] != 'r') return WITHOUT(unreadable_pages) ? SKIP : COPY;
  bool anonymous = mapping->name_length == 0 || mapping->name[0] == '[';
  if (anonymous) return IN_PLACE;
  if (WITHOUT(private_files)) return SKIP;
  return WITHOUT(truncated_files) ? IN_PLACE : COPY;
}

void port_maps_close(struct port_maps *maps) {
  if (maps->pagemap >= 0) port_close(maps->pagemap);
  if (maps->memory >= 0) port_close(maps->memory);
  maps->pagemap = maps->memory = -1;
}

/* Notes what of a mapping is watched and cannot be written. False: no room. */
static bool note_protected(struct port_maps *maps, const struct mapping *mapping) {
  uintptr_t begin = size_max(mapping->begin, maps->watched.begin);
  uintptr_t end = size_min(mapping->end, maps->watched.end);
  bool readable = mapping->permissions[0] == 'r';
  if (begin >= end || (readable && mapping->permissions[1] == 'w')) return true;
  if (maps->protected_count == maps->protected_capacity) return false;
  maps->protected[maps->protected_count++] = (struct port_protected){begin, end, readable};
  return true;
}

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

enum port_maps_result port_maps_open(struct port_maps *maps) {
  maps->pagemap = maps->memory = -1;
  maps->scan_works = maps->swapped = false;
  maps->rings = false;
  maps->mappings = maps->protected_count = 0;
  maps->asking = 0;
  maps->main_stack = (struct port_range){0, 0};
  const char *list = WITHOUT(thread_self_maps) ? "/proc/self/maps" : "/proc/thread-self/maps";
  long length = port_read_file(list, maps->text, maps->text_size);
  if (length == -EFBIG) return PORT_MAPS_TRUNCATED;
  if (length <= 0) return PORT_MAPS_OPEN;
  maps->text_length = (size_t)length;
  maps->pagemap = port_open_read("/proc/thread-self/pagemap");
  bool refused = maps->pagemap == -EACCES || maps->pagemap == -EPERM;
  if (maps->pagemap < 0 && (!refused || WITHOUT(undumpable_fallback))) return PORT_MAPS_OPEN;
  if (maps->pagemap >= 0 && !maps->baseline) {
    struct page_scan probe = {.size = sizeof probe, .begin = 0, .end = 0, .returned = IS_PRESENT};
    maps->scan_works = SYSTEM_CALL(SYS_ioctl, maps->pagemap, PAGE_SCAN, &probe) == 0;
  }
  if (maps->pagemap < 0) maps->swapped = holds_swapped_pages(maps);
  const char *at = maps->text, *end = at + length;
  struct mapping mapping;
  bool ours = false, room = true;
  while (next_mapping(&at, end, &mapping)) {
    maps->mappings++;
    room &= note_protected(maps, &mapping);
    ours |= mapping.begin <= maps->exclude[0].begin && maps->exclude[0].begin < mapping.end;
    maps->rings |= name_begins(&mapping, "anon_inode:[io_uring]");
    if (name_is(&mapping, "[stack]"))
      maps->main_stack = (struct port_range){mapping.begin, mapping.end};
  }
  if (ours && room) return PORT_MAPS_OK;
  port_maps_close(maps);
  return ours ? PORT_MAPS_TRUNCATED : PORT_MAPS_FOREIGN;
}

/* Hands out memory that cannot be read in place. False: present, but unreadable. */
static bool visit_copies(struct port_maps *maps, const struct mapping *mapping, uintptr_t begin,
                         uintptr_t end) {
  maps->code = mapping->permissions[2] == 'x';
  while (begin < end) {
    size_t size = size_min(end - begin, maps->copy_size);
    long got = -EFAULT;
    if (mapping->permissions[0] == 'r') {
      struct iovec to = {maps->copy, size}, from = {(void *)begin, size};
      got = SYSTEM_CALL(SYS_process_vm_readv, port_thread_id(), &to, 1, &from, 1, 0);
      if (got <= 0 && size > KERNEL_PAGE) { /* a hole somewhere: go by single pages */
        size = KERNEL_PAGE;
        to.iov_len = from.iov_len = size;
        got = SYSTEM_CALL(SYS_process_vm_readv, port_thread_id(), &to, 1, &from, 1, 0);
      }
      if (got == -EFAULT) { /* truncated under us: nothing is there any more */
        begin += size;
        continue;
      }
    }
    if (got <= 0) {
      if (maps->memory < 0) maps->memory = port_open_read("/proc/thread-self/mem");
      if (maps->memory < 0) return false;
      got = SYSTEM_CALL(SYS_pread64, maps->memory, maps->copy, size, begin);
      if (got == -EIO) { /* absent after all */
        begin += KERNEL_PAGE;
        continue;
      }
      if (got <= 0) return false;
    }
    maps->visit(maps->context, (uintptr_t)maps->copy, (uintptr_t)maps->copy + (size_t)got, begin);
    begin += (size_t)got;
    /* A word may lie across the end of what was copied. */
    if (begin < end && (size_t)got > sizeof(uintptr_t) && !WITHOUT(words_across))
      begin -= sizeof(uintptr_t);
  }
  return true;
}

static bool visit_pages(struct port_maps *maps, const struct mapping *mapping, enum reading reading,
                        uintptr_t begin, uintptr_t end) {
  if (reading != IN_PLACE) return visit_copies(maps, mapping, begin, end);
  maps->code = mapping->permissions[2] == 'x';
  maps->visit(maps->context, begin, end, begin);
  return true;
}

/* Fills maps->ranges with stretches of pages in [begin, end) that hold something; *stopped says
   how far it came. A negative result: cannot be told. */
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

/* Reservations have many pages and next to none that hold anything. */
enum { AT_ONCE = 16 };
static bool any_is(const unsigned char *resident) {
  uint64_t words[AT_ONCE / 8];
  memcpy(words, resident, sizeof words);
  return ((words[0] | words[1]) & 0x0101010101010101) != 0;
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

static bool any_holds(const uint64_t entries[AT_ONCE]) {
  uint64_t any = 0;
  for (int i = 0; i < AT_ONCE; i++) any |= entries[i];
  return (any & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) != 0;
}

/* The same by reading the pagemap, or by mincore, a window at a time. */
static long list_pages(struct port_maps *maps, uintptr_t begin, uintptr_t end, bool files,
                       uintptr_t *stopped) {
  if (maps->scan_works) return scan_pages(maps, begin, end, files, stopped);
  size_t all = (end - begin) / KERNEL_PAGE;
  size_t pages = size_min(all, maps->pagemap >= 0 ? maps->copy_size / 8 : maps->copy_size);
  uintptr_t window_end = begin + pages * KERNEL_PAGE;
  *stopped = window_stop(begin, pages, all);
  uint64_t *entries = (uint64_t *)maps->copy;
  unsigned char *resident = (unsigned char *)maps->copy;
  if (maps->pagemap >= 0) {
    long got = SYSTEM_CALL(SYS_pread64, maps->pagemap, entries, pages * 8, begin / KERNEL_PAGE * 8);
    if (got != (long)pages * 8) return -EIO;
  } else if (maps->swapped) { /* everything may be there: read it all */
    maps->ranges[0] = (struct port_range){begin, window_end};
    return 1;
  } else if (SYSTEM_CALL(SYS_mincore, begin, pages * KERNEL_PAGE, resident) != 0) {
    return -EIO;
  }
  long count = 0;
  for (size_t i = 0; i < pages; i++) {
    bool holds;
    if (maps->pagemap >= 0 && i % AT_ONCE == 0 && i + AT_ONCE <= pages && !any_holds(entries + i)) {
      i += AT_ONCE - 1;
      continue;
    }
    if (maps->pagemap < 0 && i % AT_ONCE == 0 && i + AT_ONCE <= pages && !any_is(resident + i)) {
      i += AT_ONCE - 1;
      continue;
    }
    if (maps->pagemap >= 0)
      holds = (entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) &&
              (files || !(entries[i] & PAGEMAP_FILE));
    else holds = resident[i] & 1;
    if (!holds) continue;
    if (add_page(maps, &count, begin + i * KERNEL_PAGE)) continue;
    *stopped = begin + i * KERNEL_PAGE;
    break;
  }
  return count;
}

/* The same for shared memory, by what is in the page cache. */
static long list_cached(struct port_maps *maps, uintptr_t begin, uintptr_t end,
                        uintptr_t *stopped) {
  size_t all = (end - begin) / KERNEL_PAGE, pages = size_min(all, maps->copy_size);
  unsigned char *cached = (unsigned char *)maps->copy;
  long result = SYSTEM_CALL(SYS_mincore, begin, pages * KERNEL_PAGE, cached), count = 0;
  if (result < 0) return result;
  *stopped = window_stop(begin, pages, all);
  for (size_t i = 0; i < pages; i++) {
    if (!(cached[i] & 1) || add_page(maps, &count, begin + i * KERNEL_PAGE)) continue;
    *stopped = begin + i * KERNEL_PAGE;
    break;
  }
  return count;
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

/* Whether there are pages of our own in a mapping of a file, by smaps, which every process may
   open. Where it cannot be told there are. */
static bool holds_own_pages(struct port_maps *maps, uintptr_t wanted) {
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

static long list_pages_timed(struct port_maps *maps, uintptr_t begin, uintptr_t end,
                             uintptr_t *stopped) {
  uint64_t from = port_now();
  long count = list_pages(maps, begin, end, false, stopped);
  maps->asking += port_now() - from;
  return count;
}

/* Is anything swapped, by anybody? Where it cannot be told it is. */
static bool swap_is_used(struct port_maps *maps) {
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

/* To read a page is to make it, so nothing of great size is read whole. False: it cannot be
   searched. */
static bool visit_shared_whole(struct port_maps *maps, const struct mapping *mapping) {
  enum { MOST = 1 << 30 };
  if (mapping->end - mapping->begin > MOST) return false;
  return visit_copies(maps, mapping, mapping->begin, mapping->end);
}

/* Shared memory, even where it was put over memory of ours: a block, then, dead or alive. */
static bool visit_shared(struct port_maps *maps, const struct mapping *mapping) {
  uintptr_t begin = mapping->begin, stopped;
  bool whole = name_begins(mapping, "/anon_hugepage"); /* mincore does not tell */
  bool cached = !name_begins(mapping, "anon_inode:");  /* the kernel's: they have entries */
  if (WITHOUT(shared_after_fork)) cached = whole = false;
  while (begin < mapping->end && !whole) {
    uint64_t from = port_now();
    long count = cached ? list_cached(maps, begin, mapping->end, &stopped)
                        : list_pages(maps, begin, mapping->end, true, &stopped);
    maps->asking += port_now() - from;
    whole = cached && count < 0; /* a filter refuses it */
    if (!whole && (count < 0 || stopped <= begin)) return false;
    for (long i = 0; i < count; i++)
      if (!visit_copies(maps, mapping, maps->ranges[i].begin, maps->ranges[i].end)) return false;
    begin = stopped;
  }
  /* Asked last: what left the page cache while it was looked through counts. */
  if (cached && !whole) whole = swap_is_used(maps) && holds_own_pages(maps, mapping->begin);
  return !whole || visit_shared_whole(maps, mapping);
}

/* mariadbd reserves 8 TiB: 3 seconds to ask for each page, of which there are none. */
#define LARGE_RESERVATION ((size_t)1 << 30)

/* One private mapping on its own, where PAGEMAP_SCAN is missing. */
static bool visit_mapping(struct port_maps *maps, const struct mapping *mapping,
                          enum reading reading, uintptr_t begin, uintptr_t end) {
  bool file_backed = reading == COPY && mapping->permissions[0] == 'r';
  if (maps->pagemap < 0 && file_backed) /* mincore tells of the page cache, not of our copies */
    return visit_pages(maps, mapping, reading, begin, end);
  /* The gaps that the loader leaves between the parts of a library are such, and cannot be read. */
  bool closed_file = mapping->permissions[0] != 'r' && mapping->name_length != 0;
  bool ask =
      (maps->pagemap < 0 && closed_file) || mapping->end - mapping->begin >= LARGE_RESERVATION;
  if (ask && !holds_own_pages(maps, mapping->begin)) return true;
  while (begin < end) {
    uintptr_t stopped;
    long count = list_pages_timed(maps, begin, end, &stopped);
    if (count < 0 || stopped <= begin) return false;
    for (long i = 0; i < count; i++) {
      /* visit_copies overwrites maps->copy, where list_pages worked, but not maps->ranges */
      if (!visit_pages(maps, mapping, reading, maps->ranges[i].begin, maps->ranges[i].end))
        return false;
    }
    begin = stopped;
  }
  return true;
}

/* A place in the list of mappings. */
struct cursor {
  const char *at, *end;
  struct mapping mapping;
  bool more;
};

static void go_on(struct cursor *cursor) {
  cursor->more = next_mapping(&cursor->at, cursor->end, &cursor->mapping);
}

static struct cursor first_mapping(const struct port_maps *maps) {
  struct cursor cursor = {.at = maps->text, .end = maps->text + maps->text_length};
  go_on(&cursor);
  return cursor;
}

/* All private mappings in a range that holds none of ours and no shared one, by one scan. The list
   is gone through but once: ranges come in order. */
static bool visit_gap(struct port_maps *maps, struct cursor *list, uintptr_t begin, uintptr_t end) {
  const struct mapping *mapping = &list->mapping;
  while (list->more && mapping->end <= begin) go_on(list);
  while (begin < end) {
    uintptr_t stopped;
    long count = list_pages_timed(maps, begin, end, &stopped);
    if (count < 0 || stopped <= begin) return false;
    for (long i = 0; i < count; i++) {
      struct port_range range = maps->ranges[i];
      while (range.begin < range.end) {
        while (list->more && mapping->end <= range.begin) go_on(list);
        if (!list->more || mapping->begin >= range.end) break; /* not in the list: too new */
        uintptr_t from = size_max(range.begin, mapping->begin);
        uintptr_t to = size_min(range.end, mapping->end);
        enum reading reading = reading_of(mapping);
        if (reading == IN_PLACE || reading == COPY)
          if (!visit_pages(maps, mapping, reading, from, to)) return false;
        range.begin = to;
      }
    }
    begin = stopped;
  }
  return true;
}

/* The same of a range that may hold ours. */
static bool visit_private(struct port_maps *maps, struct cursor *list, uintptr_t begin,
                          uintptr_t end) {
  for (size_t i = 0; i < maps->exclude_count; i++) {
    const struct port_range *ours = &maps->exclude[i];
    if (ours->end <= begin) continue;
    if (ours->begin >= end) break;
    if (begin < ours->begin && !visit_gap(maps, list, begin, ours->begin)) return false;
    begin = ours->end;
  }
  return begin >= end || visit_gap(maps, list, begin, end);
}

/* With PAGEMAP_SCAN: what lies between shared mappings at once, and they one by one, so that all is
   visited in the order of addresses. */
static bool visit_by_scans(struct port_maps *maps) {
  struct cursor list = first_mapping(maps), shared = list;
  uintptr_t begin = 0;
  for (; shared.more && shared.mapping.begin < ADDRESS_END; go_on(&shared)) {
    const struct mapping *mapping = &shared.mapping;
    if (reading_of(mapping) != COPY_SHARED) continue;
    if (!visit_private(maps, &list, begin, mapping->begin)) return false;
    if (!visit_shared(maps, mapping)) return false;
    begin = mapping->end;
  }
  return visit_private(maps, &list, begin, ADDRESS_END);
}

/* Without: mapping by mapping. */
static bool visit_by_mappings(struct port_maps *maps) {
  for (struct cursor list = first_mapping(maps); list.more; go_on(&list)) {
    const struct mapping *mapping = &list.mapping;
    enum reading reading = reading_of(mapping);
    if (reading == SKIP) continue;
    if (mapping->begin >= ADDRESS_END) continue;
    if (reading == COPY_SHARED) {
      if (!visit_shared(maps, mapping)) return false;
      continue;
    }
    /* The kernel may have merged a neighbour with a range of ours: visit what is between them. */
    uintptr_t begin = mapping->begin;
    for (size_t i = 0; i <= maps->exclude_count; i++) {
      bool last = i == maps->exclude_count;
      uintptr_t stop = last ? mapping->end : size_min(mapping->end, maps->exclude[i].begin);
      if (begin < stop && !visit_mapping(maps, mapping, reading, begin, stop)) return false;
      if (!last) begin = size_max(begin, maps->exclude[i].end);
    }
  }
  return true;
}

enum port_maps_result port_maps_visit(struct port_maps *maps) {
  bool visited = maps->scan_works ? visit_by_scans(maps) : visit_by_mappings(maps);
  return visited ? PORT_MAPS_OK : PORT_MAPS_UNREADABLE;
}

bool port_present_ranges(struct port_maps *maps, uintptr_t begin, uintptr_t end,
                         void (*visit)(void *context, uintptr_t begin, uintptr_t end),
                         void *context) {
  while (begin < end) {
    uintptr_t stopped;
    long count = list_pages(maps, begin, end, true, &stopped);
    if (count < 0 || stopped <= begin) return false;
    for (long i = 0; i < count; i++) visit(context, maps->ranges[i].begin, maps->ranges[i].end);
    begin = stopped;
  }
  return true;
}

struct copies {
  void (*visit)(void *context, uintptr_t begin, uintptr_t end);
  void *context;
};

static void pass_on(void *context, uintptr_t begin, uintptr_t end, uintptr_t origin) {
  const struct copies *copies = context;
  (void)origin;
  copies->visit(copies->context, begin, end);
}

bool port_present_copies(struct port_maps *maps, uintptr_t begin, uintptr_t end, bool closed,
                         void (*visit)(void *context, uintptr_t begin, uintptr_t end),
                         void *context) {
  struct mapping mapping = {begin, end, {closed ? '-' : 'r', '-', '-', 'p'}, NULL, 0};
  struct copies copies = {visit, context};
  void (*before)(void *, uintptr_t, uintptr_t, uintptr_t) = maps->visit;
  void *context_before = maps->context;
  maps->visit = pass_on;
  maps->context = &copies;
  bool read = true;
  while (read && begin < end) {
    uintptr_t stopped;
    long count = list_pages(maps, begin, end, true, &stopped);
    read = count >= 0 && stopped > begin;
    for (long i = 0; read && i < count; i++)
      read = visit_copies(maps, &mapping, maps->ranges[i].begin, maps->ranges[i].end);
    begin = stopped;
  }
  maps->visit = before;
  maps->context = context_before;
  return read;
}

static void note_mapping(const struct mapping *from, struct port_mapping *to) {
  const char *name = from->name;
  size_t length = from->name_length;
  bool huge = name_begins(from, "/anon_hugepage"); /* MAP_HUGETLB without a file */
  bool anonymous = length == 0 || huge || name_is(from, "[heap]") || name_begins(from, "[anon");
  for (const char *slash; (slash = memchr(name, '/', length)); name = slash + 1)
    length -= (size_t)(slash + 1 - name);
  length = size_min(length, sizeof to->name - 1);
  to->begin = from->begin;
  to->end = from->end;
  to->kind = anonymous && from->permissions[3] == 'p' ? PORT_MAPPING_ANONYMOUS : PORT_MAPPING_OTHER;
  to->readable = from->permissions[0] == 'r';
  to->writable = from->permissions[1] == 'w';
  memcpy(to->name, name, length);
  to->name[length] = 0;
}

int port_find_mapping(uintptr_t address, struct port_mapping *mapping) {
  char text[4096 + 256]; /* the longest name and what stands before it */
  int descriptor = port_open_read("/proc/thread-self/maps");
  if (descriptor < 0) return descriptor;
  size_t held = 0;
  int found = -EIO; /* an empty list tells nothing */
  for (bool more = true; more;) {
    long got = port_read(descriptor, text + held, sizeof text - held);
    if (got <= 0) break;
    found = 0;
    held += (size_t)got;
    const char *at = text, *newline;
    while (more && (newline = memchr(at, '\n', (size_t)(text + held - at)))) {
      struct mapping line;
      const char *begin = at;
      if (!next_mapping(&begin, newline + 1, &line)) break;
      at = newline + 1;
      if (address >= line.end) continue;
      more = false;
      if (address < line.begin) break;
      note_mapping(&line, mapping);
      found = 1;
    }
    held -= (size_t)(at - text);
    memmove(text, at, held);
    if (held == sizeof text) { /* no line is as long */
      found = -EIO;
      break;
    }
  }
  port_close(descriptor);
  return found;
}

long port_peek(uintptr_t address, void *buffer, size_t size) {
  struct iovec to = {buffer, size}, from = {(void *)address, size};
  return SYSTEM_CALL(SYS_process_vm_readv, port_thread_id(), &to, 1, &from, 1, 0);
}

void port_describe_address(uintptr_t address, char *maps_text, size_t size, struct text *out) {
  long length = port_read_file("/proc/thread-self/maps", maps_text, size);
  const char *at = maps_text, *end = at + (length > 0 ? length : 0);
  struct mapping mapping;
  uintptr_t base = 0;
  const char *name = NULL;
  size_t name_length = 0;
  while (next_mapping(&at, end, &mapping)) {
    if (!name || mapping.name_length != name_length ||
        memcmp(mapping.name, name, name_length) != 0) { /* a new object begins here */
      base = mapping.begin;
      name = mapping.name;
      name_length = mapping.name_length;
    }
    if (address < mapping.begin || address >= mapping.end) continue;
    while (name_length && memchr(name, '/', name_length)) {
      const char *slash = memchr(name, '/', name_length);
      name_length -= (size_t)(slash + 1 - name);
      name = slash + 1;
    }
    text_add_bytes(out, name, name_length);
    text_add(out, "+");
    text_add_hex(out, address - base);
    return;
  }
  text_add_hex(out, address);
}
