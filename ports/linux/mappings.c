/* mappings.c: which memory may hold the program's pointers, by what the kernel says.

   /proc/thread-self/maps gives the mappings (/proc/self/maps is empty after main's pthread_exit)
   and PAGEMAP_SCAN (Linux 6.7) the pages that are present or swapped and not unmodified file
   pages. One scan covers a whole gap between our own ranges, several times cheaper than one a
   mapping; the two sorted lists are then intersected. Before 6.7 /proc/thread-self/pagemap is
   read instead; where that cannot be opened (a process that dropped its privileges) mincore
   tells which pages are resident, those of files that are only cached among them, and smaps which
   mappings hold some of ours (presence.c).

   Of shared memory the page tables tell too little: fork does not copy their entries, and
   MADV_DONTNEED drops them. There mincore tells what the page cache has, and what was swapped is
   read whole.

   Anonymous private memory is read in place. What another process could truncate (files), and
   shared memory, is copied by process_vm_readv, which reports a fault instead of raising it;
   what is present but unreadable (PROT_NONE) through /proc/thread-self/mem. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

#include "base/remedy.h"
#include "base/text.h"
#include "ports/linux/presence.h"
#include "ports/port.h"
#include "ports/x86_64/system_call.h"

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

enum port_maps_result port_maps_open(struct port_maps *maps) {
  maps->pagemap = maps->memory = -1;
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
  presence_begin(maps);
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

static long list_timed(struct port_maps *maps, uintptr_t begin, uintptr_t end, uintptr_t *stopped) {
  uint64_t from = port_now();
  long count = presence_list(maps, begin, end, false, stopped);
  maps->asking += port_now() - from;
  return count;
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
    long count = cached ? presence_list_resident(maps, begin, mapping->end, &stopped)
                        : presence_list(maps, begin, mapping->end, true, &stopped);
    maps->asking += port_now() - from;
    whole = cached && count < 0; /* a filter refuses it */
    if (!whole && (count < 0 || stopped <= begin)) return false;
    for (long i = 0; i < count; i++)
      if (!visit_copies(maps, mapping, maps->ranges[i].begin, maps->ranges[i].end)) return false;
    begin = stopped;
  }
  /* Asked last: what left the page cache while it was looked through counts. */
  if (cached && !whole) whole = presence_of_swap(maps) && presence_of_own(maps, mapping->begin);
  return !whole || visit_shared_whole(maps, mapping);
}

/* mariadbd reserves 8 TiB: 3 seconds to ask for each page, of which there are none. To ask for a
   mapping as a whole takes as long as for some 500 pages a mapping in the list. */
#define LARGE_RESERVATION ((size_t)1 << 30)
#define LIKE_ONE_IN_THE_LIST ((size_t)2 << 20)

/* One private mapping on its own, where PAGEMAP_SCAN is missing. */
static bool visit_mapping(struct port_maps *maps, const struct mapping *mapping,
                          enum reading reading, uintptr_t begin, uintptr_t end) {
  /* mincore tells of the page cache, too: of a file more pages than are ours, and all of the gaps
     that the loader leaves between the parts of a library and that cannot be read. */
  bool of_file = reading == COPY && mapping->name_length != 0;
  bool closed = mapping->permissions[0] != 'r';
  size_t size = mapping->end - mapping->begin;
  bool large = size >= LARGE_RESERVATION;
  bool unsure = maps->pagemap < 0 && ((of_file && (closed || large)) || (maps->swapped && large));
  bool saves = !unsure && large && size / LIKE_ONE_IN_THE_LIST >= maps->mappings;
  if (unsure && !presence_of_own(maps, mapping->begin)) return true;
  while (begin < end) {
    uintptr_t stopped;
    long count = list_timed(maps, begin, end, &stopped);
    if (count < 0 || stopped <= begin) return false;
    for (long i = 0; i < count; i++) {
      /* visit_copies overwrites maps->copy, where presence_list worked, but not maps->ranges */
      if (!visit_pages(maps, mapping, reading, maps->ranges[i].begin, maps->ranges[i].end))
        return false;
    }
    if (count == 0 && saves && !presence_of_own(maps, mapping->begin)) return true;
    saves = false; /* the beginning is where most have something */
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
    long count = list_timed(maps, begin, end, &stopped);
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
    long count = presence_list(maps, begin, end, true, &stopped);
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
    long count = presence_list(maps, begin, end, true, &stopped);
    if (count < 0 && maps->pagemap < 0) { /* mincore refuses where a page is no memory */
      read = visit_copies(maps, &mapping, begin, end);
      break;
    }
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
