/* address_space.c: reserving, committing and giving back memory on Linux.

   Reservations are PROT_NONE and NORESERVE: no commit charge, and under RLIMIT_DATA uncounted;
   they do count against RLIMIT_AS. Ranges become writable only by port_commit, so that
   overcommit_memory=2 charges what is used and no more. What is merely reserved is left out of core
   dumps: the kernel does so by itself, but gcore(1) writes every byte of it. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/remedy.h"
#include "base/text.h"
#include "ports/port.h"
#include "ports/x86_64/system_call.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* The last reservation, which is left out of core dumps but for what was committed; once it no
   longer is, or where it never was, size 0. */
static struct {
  uintptr_t begin;
  size_t size;
} undumped;

static void *map(void *address, size_t size, int protection, int flags) {
  long result = SYSTEM_CALL(SYS_mmap, address, size, protection, flags, -1, 0);
  return result < 0 && result > -4096 ? NULL : (void *)result;
}

void *port_reserve(size_t size, size_t alignment) {
  size_t whole = size + alignment;
  if (whole < size) return NULL;
  char *got = map(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  if (!got) return NULL;
  char *aligned = (char *)round_up((size_t)got, alignment);
  if (aligned > got) port_unreserve(got, (size_t)(aligned - got));
  size_t tail = (size_t)(got + whole - (aligned + size));
  if (tail) port_unreserve(aligned + size, tail);
  /* A filter that we were started under may answer an advice it does not know by an end. */
  undumped.begin = (uintptr_t)aligned;
  bool advised = !port_is_filtered() && SYSTEM_CALL(SYS_madvise, aligned, size, MADV_DONTDUMP) == 0;
  atomic_set(&undumped.size, advised ? size : 0);
  return aligned;
}

static bool is_undumped(const void *address) {
  return (uintptr_t)address - undumped.begin < atomic_get(&undumped.size);
}

void port_unreserve(void *address, size_t size) {
  if (is_undumped(address)) port_dump_all(); /* what comes to lie there is not ours to advise on */
  SYSTEM_CALL(SYS_munmap, address, size);
}

bool port_commit(void *address, size_t size) {
  bool done = SYSTEM_CALL(SYS_mprotect, address, size, PROT_READ | PROT_WRITE) == 0;
  if (!is_undumped(address)) return done;
  if (done) {
    SYSTEM_CALL(SYS_madvise, address, size, MADV_DODUMP);
    return true;
  }
  /* Until that call there is one mapping more, which a program may not have left. */
  port_dump_all();
  return SYSTEM_CALL(SYS_mprotect, address, size, PROT_READ | PROT_WRITE) == 0;
}

void port_dump_all(void) {
  size_t size = atomic_get(&undumped.size);
  if (size) SYSTEM_CALL(SYS_madvise, undumped.begin, size, MADV_DODUMP);
  atomic_set(&undumped.size, 0);
}

void port_ask_for_huge_pages(void *address, size_t size) {
  SYSTEM_CALL(SYS_madvise, address, size, MADV_HUGEPAGE);
}

void port_populate(void *address, size_t size) {
  SYSTEM_CALL(SYS_madvise, address, size, MADV_POPULATE_WRITE);
}

bool port_purge(void *address, size_t size) {
  return SYSTEM_CALL(SYS_madvise, address, size, MADV_DONTNEED) == 0 || WITHOUT(locked_memory);
}

bool port_renew(void *address, size_t size) {
  return map(address, size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED) != NULL;
}

bool port_map_replaces(int flags) { return flags & MAP_FIXED; }
bool port_remap_replaces(int flags) { return flags & MREMAP_FIXED; }
bool port_advice_on_children(int advice) {
  return advice == MADV_DONTFORK || advice == MADV_WIPEONFORK;
}

bool port_protect_read(void *address, size_t size) {
  return SYSTEM_CALL(SYS_mprotect, address, size, PROT_READ) == 0;
}

bool port_protect_write(void *address, size_t size) {
  return SYSTEM_CALL(SYS_mprotect, address, size, PROT_READ | PROT_WRITE) == 0;
}

bool port_protect_none(void *address, size_t size) {
  return SYSTEM_CALL(SYS_mprotect, address, size, PROT_NONE) == 0;
}

enum port_move port_move_pages(void *old_address, void *new_address, size_t size) {
  long result = SYSTEM_CALL(SYS_mremap, old_address, size, size,
                            MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, new_address);
  if (result == (long)new_address) return PORT_MOVED;
  /* The kernel may have unmapped the target before it failed: put fresh pages there. It may refuse
     them too, having left the target as it was. */
  if (port_renew(new_address, size)) return PORT_NOT_MOVED;
  return SYSTEM_CALL(SYS_mprotect, new_address, size, PROT_READ | PROT_WRITE) == 0 ? PORT_NOT_MOVED
                                                                                   : PORT_MOVE_LOST;
}

void *port_wiped_on_fork_page(void) {
  void *page = map(NULL, KERNEL_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (page && SYSTEM_CALL(SYS_madvise, page, KERNEL_PAGE, MADV_WIPEONFORK) != 0) {
    port_unreserve(page, KERNEL_PAGE);
    return NULL;
  }
  return page;
}

size_t port_address_space_mapped(void) {
  char text[128];
  long length = port_read_file("/proc/self/statm", text, sizeof text);
  if (length <= 0) return 64 * MIB; /* without /proc: a guess on the careful side */
  const char *at = text;
  return text_read_number(&at, text + length) * KERNEL_PAGE;
}

size_t port_address_space_left(void) {
  struct rlimit limit;
  if (SYSTEM_CALL(SYS_prlimit64, 0, RLIMIT_AS, 0, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return SIZE_MAX;
  size_t used = port_address_space_mapped();
  return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}
