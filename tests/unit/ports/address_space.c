/* address_space.c: reserving, committing, purging and moving pages. */
#include "tests/unit/ports/filters.h"
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

TestSuite(address_space, .timeout = 30);

/* Whether a page can be written: tried in a child. */
static bool can_write(volatile char *at) {
  pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    *at = 1;
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  return WIFEXITED(status);
}
static bool can_read(volatile char *at) {
  pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    (void)*at;
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  return WIFEXITED(status);
}

Test(address_space, reservations_are_aligned_and_inaccessible) {
  for (size_t alignment = 4096; alignment <= GIB; alignment *= 4) {
    char *range = port_reserve(10 * MIB, alignment);
    cr_assert(range);
    cr_expect_eq((uintptr_t)range % alignment, 0);
    if (alignment == 64 * KIB) cr_expect(!can_read(range) && !can_read(range + 10 * MIB - 1));
    port_unreserve(range, 10 * MIB);
  }
  cr_expect_null(port_reserve(SIZE_MAX - 4095, 4096));
  cr_expect_null(port_reserve((size_t)1 << 60, 4096));
}

/* The flag "dd" of the mapping that an address lies in, by smaps. */
static bool is_left_out_of_dumps(const void *address) {
  FILE *file = fopen("/proc/self/smaps", "r");
  cr_assert(file);
  char line[4096];
  bool inside = false, left_out = false;
  while (fgets(line, sizeof line, file)) {
    unsigned long begin, end;
    if (sscanf(line, "%lx-%lx", &begin, &end) == 2)
      inside = begin <= (uintptr_t)address && (uintptr_t)address < end;
    if (inside && strncmp(line, "VmFlags:", 8) == 0) left_out = strstr(line, " dd") != NULL;
  }
  fclose(file);
  return left_out;
}

/* A debugger's gcore of a process wrote 80 GB. */
Test(address_space, what_is_only_reserved_is_left_out_of_core_dumps) {
  char *range = port_reserve(MIB, 4096);
  cr_assert(range);
  cr_expect(is_left_out_of_dumps(range) && is_left_out_of_dumps(range + MIB - 1));
  cr_assert(port_commit(range + 8192, 8192));
  cr_expect(!is_left_out_of_dumps(range + 8192) && !is_left_out_of_dumps(range + 16383));
  cr_expect(is_left_out_of_dumps(range + 8191) && is_left_out_of_dumps(range + 16384));
  port_unreserve(range, MIB);
}

/* A program may have as many mappings as the kernel allows; the heap still grows. */
Test(address_space, committing_needs_no_further_mapping) {
  enum { PAGES = 140000 };
  char *many = mmap(NULL, (size_t)PAGES * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(many, MAP_FAILED);
  char *range = port_reserve(MIB, 4096);
  cr_assert(range && port_commit(range, 8192));
  size_t made = 0; /* each other page is a mapping */
  while (made < PAGES && mprotect(many + made * 4096, 4096, PROT_READ) == 0) made += 2;
  if (made >= PAGES) cr_skip_test("this kernel allows more mappings than the test makes");
  for (size_t at = 8192; at < MIB; at += 8192) {
    cr_assert(port_commit(range + at, 8192), "at %zu", at);
    range[at] = 1;
  }
}

/* What the heap gives up (heap_shrink), the program may map; its advice there is its own. */
Test(address_space, what_is_unreserved_is_not_advised_on_again) {
  char *range = port_reserve(MIB, 4096);
  cr_assert(range && port_commit(range, 4096));
  port_unreserve(range + MIB / 2, MIB / 4);
  char *secret = mmap(range + MIB / 2, 4096, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  cr_assert_eq(secret, range + MIB / 2);
  cr_assert_eq(madvise(secret, 4096, MADV_DONTDUMP), 0);
  cr_assert(port_commit(range + 4096, 4096));
  port_dump_all();
  cr_expect(is_left_out_of_dumps(secret));
}

/* What a program's filter has not heard of may be its end. */
Test(address_space, once_all_is_dumped_committing_only_protects) {
  char *range = port_reserve(MIB, 4096);
  cr_assert(range && port_commit(range, 4096));
  port_dump_all();
  cr_expect(!is_left_out_of_dumps(range) && !is_left_out_of_dumps(range + 8192));
  pid_t child = fork();
  if (child == 0) {
    if (!filter_call(SYS_madvise, SECCOMP_RET_KILL_PROCESS)) _exit(77);
    _exit(port_commit(range + 4096, 4096) ? 0 : 1);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_expect(status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 77));
}

Test(address_space, committing_and_protecting) {
  char *range = port_reserve(MIB, 4096);
  cr_assert(port_commit(range + 8192, 8192));
  cr_expect_eq(range[8192], 0);
  range[8192] = range[16383] = 1;
  cr_expect(!can_read(range + 8191) && !can_read(range + 16384), "its neighbours stay as they are");
  cr_assert(port_protect_read(range + 8192, 4096));
  cr_expect(can_read(range + 8192) && !can_write(range + 8192));
  cr_assert(port_protect_none(range + 8192, 4096));
  cr_expect(!can_read(range + 8192));
  cr_assert(port_commit(range + 8192, 4096));
  cr_expect_eq(range[8192], 1, "contents stay");
  cr_expect(!port_commit(range + 1, 4096), "the kernel's no is passed on");
}

Test(address_space, purged_memory_reads_as_zero) {
  char *range = port_reserve(MIB, 4096);
  cr_assert(port_commit(range, MIB));
  memset(range, 5, MIB);
  cr_assert(port_purge(range + 4096, 8192));
  cr_expect_eq(range[4095], 5);
  cr_expect_eq(range[4096], 0);
  cr_expect_eq(range[12287], 0);
  cr_expect_eq(range[12288], 5);
}

Test(address_space, locked_memory_is_not_purged) {
  char *range = port_reserve(8192, 4096);
  cr_assert(port_commit(range, 8192));
  range[0] = 5;
  if (mlock(range, 8192) != 0) cr_skip_test("memory cannot be locked here");
  cr_expect(!port_purge(range, 8192));
  cr_expect_eq(range[0], 5);
}

Test(address_space, pages_move_without_copying) {
  enum { SIZE = 1 << 20 };
  char *range = port_reserve(3 * SIZE, 4096);
  cr_assert(port_commit(range, 3 * SIZE));
  for (size_t i = 0; i < SIZE; i += 64) range[i] = (char)(i / 64 % 127);
  memset(range + 2 * SIZE, 9, SIZE);
  cr_assert_eq(port_move_pages(range, range + 2 * SIZE, SIZE), PORT_MOVED);
  for (size_t i = 0; i < SIZE; i += 64) {
    cr_assert_eq(range[2 * SIZE + i], (char)(i / 64 % 127));
    cr_assert_eq(range[i], 0, "the old place reads as zero");
  }
  range[0] = 1; /* and is usable */
  range[2 * SIZE] = 1;
}

Test(address_space, pages_that_cannot_move_stay) {
  char *range = port_reserve(4 * 4096, 4096);
  cr_assert(port_commit(range, 4 * 4096));
  range[0] = 7;
  cr_expect_eq(port_move_pages(range, range + 4096, 8192), PORT_NOT_MOVED, "the two overlap");
  cr_expect_eq(range[0], 7);
  range[8192] = 1;
  range[3 * 4096] = 1;
}

Test(address_space, renewed_pages_are_as_new) {
  size_t size = 16 * KERNEL_PAGE;
  char *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(pages, MAP_FAILED);
  memset(pages, 1, size);
  cr_assert_eq(mprotect(pages, 3 * KERNEL_PAGE, PROT_NONE), 0);
  cr_assert_eq(munmap(pages + 5 * KERNEL_PAGE, 2 * KERNEL_PAGE), 0);
  cr_assert(port_renew(pages, size));
  for (size_t i = 0; i < size; i++) cr_assert_eq(pages[i], 0);
  memset(pages, 2, size);
  cr_expect(port_map_replaces(MAP_PRIVATE | MAP_FIXED) && !port_map_replaces(MAP_PRIVATE));
  cr_expect(port_remap_replaces(MREMAP_MAYMOVE | MREMAP_FIXED));
  cr_expect(!port_remap_replaces(MREMAP_MAYMOVE));
  cr_expect(port_advice_on_children(MADV_DONTFORK) && !port_advice_on_children(MADV_DONTNEED));
}

Test(address_space, a_page_that_fork_wipes) {
  int *page = port_wiped_on_fork_page();
  cr_assert(page);
  *page = 77;
  pid_t child = fork();
  if (child == 0) _exit(*page == 0 ? 0 : 1);
  int status;
  waitpid(child, &status, 0);
  cr_expect_eq(status, 0);
  cr_expect_eq(*page, 77);
}

Test(address_space, what_the_limit_leaves) {
  cr_expect_eq(port_address_space_left(), SIZE_MAX);
  struct rlimit limit = {(rlim_t)100 << 30, (rlim_t)100 << 30};
  cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
  size_t left = port_address_space_left();
  cr_expect(left < 100 * GIB && left > 90 * GIB);
  port_reserve(50 * GIB, 4096);
  size_t after = port_address_space_left();
  cr_expect(left - after >= 50 * GIB && left - after < 50 * GIB + 10 * MIB);
}
