/* mapped.c: memory that the program mapped, closed, or that is not there. mapped CASE

   many          20,000 mappings; the pointers in the last
   sparse        a terabyte of which one page was touched: nothing more is touched by a collection
   closed, keys  pages that the program itself may not read: PROT_NONE, a protection key
   closed-block  a page of an allocated block, as a guard or with pointers in it
   closed-across  closed pages with pointers at no multiple of 8, across every 64 KiB
   neighbours-across  such pointers from one mapping into the next, of other rights
   shared        shared memory: anonymous, memfd, System V, over a block
   shared-forked the same in a child, where the page tables do not tell, and
   shared-closed closed to the program
   reserved      16 TiB of address space
   in-code       memory that is executable, with pointers at no multiple of 4
   missing       a range that waits for userfaultfd: touching it would wait for ever
   lazily-freed  pages given to MADV_FREE
   file, truncated   a private mapping of a file, whole and cut off
   in-flight     read() into memory of all kinds while collections run: never EFAULT */
#include "reclaimed.h"
#include "roots.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PAGE = 4096, OPEN = PROT_READ | PROT_WRITE, OWN = MAP_PRIVATE | MAP_ANONYMOUS };

static char *map(size_t size, int flags) {
  char *area = mmap(NULL, size, OPEN, flags, -1, 0);
  CHECK(area != MAP_FAILED);
  return area;
}

static void many(void) {
  enum { COUNT = 20000 };
  char *area = map((size_t)COUNT * PAGE, OWN);
  for (int i = 0; i < COUNT; i += 2) /* every second closed, so that none can be merged */
    if (mprotect(area + (size_t)i * PAGE, PAGE, PROT_NONE) != 0)
      not_possible("so many mappings are not allowed");
  use_slots((void **)(area + (size_t)(COUNT - 1) * PAGE));
  expect_garbage_back();
}

static void sparse(void) {
  size_t size = (size_t)1 << 40;
  char *area = mmap(NULL, size, OPEN, OWN | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) not_possible("no terabyte of address space");
  collect_often();
  long before = resident_kib();
  use_slots((void **)(area + size / 2 + 123 * PAGE));
  long after = resident_kib();
  if (after > before + 16384) fail("%ld KiB resident, then %ld", before, after);
  unsigned char present[512];
  CHECK(mincore(area + size / 4, sizeof present * PAGE, present) == 0);
  for (size_t i = 0; i < sizeof present; i++) CHECK((present[i] & 1) == 0);
}

/* Twice 8 TiB of which there is next to nothing, as mariadbd has them: to ask for each page takes
   seconds a time. */
static void reserved(void) {
  enum { TIMES = 60 };
  size_t size = (size_t)8 << 40;
  char *area = mmap(NULL, 2 * size, PROT_NONE, OWN | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) not_possible("no such address space");
  CHECK(mprotect(area + size, PAGE, OPEN) == 0);
  use_slots((void **)(area + size));
  for (int i = 0; i < TIMES; i++) collect();
}

static void closed(void) {
  char *area = map(2 * PAGE, OWN);
  store_blocks((void **)(area + PAGE));
  CHECK(mprotect(area, 2 * PAGE, PROT_NONE) == 0);
  collect_often();
  CHECK(mprotect(area, 2 * PAGE, OPEN) == 0);
  verify_blocks((void **)(area + PAGE));
}

static void keys(void) {
  int key = pkey_alloc(0, 0);
  if (key < 0) not_possible("no protection keys");
  char *area = map(2 * PAGE, OWN);
  store_blocks((void **)(area + PAGE));
  wipe_stack();
  CHECK(pkey_mprotect(area, 2 * PAGE, OPEN, key) == 0);
  CHECK(pkey_set(key, PKEY_DISABLE_ACCESS) == 0);
  collect_often();
  CHECK(pkey_get(key) == PKEY_DISABLE_ACCESS);
  CHECK(pkey_set(key, 0) == 0);
  verify_blocks((void **)(area + PAGE));
}

/* A stack with a guard page from the heap, and a secret that is closed while it is not used. */
static void closed_block(void) {
  static const size_t lengths[] = {4 * PAGE, 64 * PAGE, 400 * PAGE};
  for (int n = 0; n < 3; n++) {
    char *block = aligned_alloc(PAGE, lengths[n]);
    CHECK(block != NULL);
    memset(block, 0, lengths[n]);
    uintptr_t kept = ~(uintptr_t)block;
    static void *reference;
    reference = block;
    store_blocks((void **)(block + PAGE));
    CHECK(mprotect(block, PAGE, PROT_NONE) == 0);
    CHECK(mprotect(block + PAGE, PAGE, n == 0 ? PROT_READ : PROT_NONE) == 0);
    block = NULL;
    collect_often();
    block = (char *)~kept;
    CHECK(reference == block && mprotect(block, 2 * PAGE, OPEN) == 0);
    verify_blocks((void **)(block + PAGE));
    for (int i = 0; i < SIZES; i++) free(((void **)(block + PAGE))[i]);
    free(block);
  }
}

/* Closed memory is read in copies of so many bytes, or of a part of that. */
enum { COPY = 64 * 1024 };

/* Of parts of `step` bytes each pair shares a pointer; every second is closed so far, or all. */
static void across(char *area, size_t size, size_t step, bool all, int rights) {
  void *slots[SIZES];
  memset(area, 0, size);
  store_blocks(slots);
  for (int i = 0; i < SIZES; i++)
    memcpy(area + (size_t)(i + 1) * step - 4, &slots[i], sizeof slots[i]);
  memset(slots, 0, sizeof slots);
  wipe_stack();
  for (size_t at = 0; at < size; at += all ? step : 2 * step)
    CHECK(mprotect(area + at, step, rights) == 0);
  collect_often();
  CHECK(mprotect(area, size, OPEN) == 0);
  for (int i = 0; i < SIZES; i++)
    memcpy(&slots[i], area + (size_t)(i + 1) * step - 4, sizeof slots[i]);
  verify_blocks(slots);
  for (int i = 0; i < SIZES; i++) free(slots[i]);
}

static void closed_across(void) {
  static const size_t size = (SIZES + 2) * (size_t)COPY;
  across(map(size, OWN), size, COPY, true, PROT_NONE);
  static char *block; /* stays where it can be found while it is closed */
  block = aligned_alloc(COPY, size);
  CHECK(block != NULL);
  across(block, size, COPY, true, PROT_NONE);
}

static void neighbours_across(void) {
  static const int rights[] = {PROT_READ, PROT_NONE};
  static const size_t size = (SIZES + 2) * (size_t)PAGE;
  for (int i = 0; i < 2; i++) {
    across(map(size, OWN), size, PAGE, false, rights[i]);
    static char *block;
    block = aligned_alloc(COPY, size);
    CHECK(block != NULL);
    across(block, size, PAGE, false, rights[i]);
  }
}

static char *segment(void) {
  int id = shmget(IPC_PRIVATE, 2 * PAGE, 0600);
  if (id < 0) not_possible("no System V shared memory");
  char *area = shmat(id, NULL, 0);
  CHECK(area != (char *)-1 && shmctl(id, IPC_RMID, NULL) == 0);
  return area;
}

static char *memory_file(void) {
  int memory = memfd_create("test", 0);
  CHECK(memory >= 0 && ftruncate(memory, 2 * PAGE) == 0);
  char *area = mmap(NULL, 2 * PAGE, OPEN, MAP_SHARED, memory, 0);
  CHECK(area != MAP_FAILED && close(memory) == 0);
  return area;
}

static char *over_a_block(void) {
  static char *block;
  block = aligned_alloc(COPY, 2 * COPY);
  int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED;
  CHECK(block && mmap(block + COPY, 2 * PAGE, OPEN, flags, -1, 0) == block + COPY);
  return block + COPY;
}

static char *anonymous(void) { return map(2 * PAGE, MAP_SHARED | MAP_ANONYMOUS); }

static char *(*const all_shared[])(void) = {anonymous, memory_file, segment, over_a_block};
enum { ALL_SHARED = sizeof all_shared / sizeof *all_shared };

static void shared(void) {
  for (int i = 0; i < ALL_SHARED; i++) use_slots((void **)all_shared[i]());
}

/* fork() does not copy the page tables of shared memory, nor does it keep them for ever. */
static void shared_forked(void) {
  for (int i = 0; i < ALL_SHARED; i++) {
    void **slots = (void **)all_shared[i]();
    store_blocks(slots);
    wipe_stack();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      collect_often();
      verify_blocks(slots);
      CHECK(madvise(slots, 2 * PAGE, MADV_DONTNEED) == 0);
      collect_often();
      verify_blocks(slots);
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  expect_garbage_back();
}

static void shared_closed(void) {
  for (int i = 0; i < ALL_SHARED; i++) {
    void **slots = (void **)all_shared[i]();
    store_blocks(slots);
    CHECK(mprotect(slots, 2 * PAGE, PROT_NONE) == 0);
    wipe_stack();
    collect_often();
    CHECK(mprotect(slots, 2 * PAGE, OPEN) == 0);
    verify_blocks(slots);
  }
  expect_garbage_back();
}

/* Addresses in instructions stand anywhere, across pages too. */
static void in_code(void) {
  enum { RWX = OPEN | PROT_EXEC };
  static const size_t at[SIZES] = {33, 70, PAGE - 5};
  char *areas[] = {anonymous(), map(2 * PAGE, OWN), map(2 * PAGE, OWN)};
  for (size_t a = 0; a < sizeof areas / sizeof *areas; a++) {
    void *slots[SIZES];
    store_blocks(slots);
    for (int i = 0; i < SIZES; i++) memcpy(areas[a] + at[i], &slots[i], sizeof slots[i]);
    memset(slots, 0, sizeof slots);
    if (mprotect(areas[a], 2 * PAGE, a == 1 ? PROT_READ | PROT_EXEC : RWX) != 0)
      not_possible("no instructions of one's own are allowed");
    wipe_stack();
    collect_often();
    for (int i = 0; i < SIZES; i++) memcpy(&slots[i], areas[a] + at[i], sizeof slots[i]);
    verify_blocks(slots);
  }
  expect_garbage_back();
}

static void missing(void) {
  int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (faults < 0) not_possible("userfaultfd is not permitted");
  struct uffdio_api api = {.api = UFFD_API};
  CHECK(ioctl(faults, UFFDIO_API, &api) == 0);
  char *area = map(64 * PAGE, OWN);
  area[0] = 1;
  struct uffdio_register all = {.range = {(uintptr_t)area, 64 * PAGE},
                                .mode = UFFDIO_REGISTER_MODE_MISSING};
  CHECK(ioctl(faults, UFFDIO_REGISTER, &all) == 0);
  use_slots((void **)area); /* in the page that is there */
  expect_garbage_back();
}

static void lazily_freed(void) {
  char *area = map(512 * PAGE, OWN);
  memset(area, 0x11, 512 * PAGE);
  CHECK(madvise(area + PAGE, 511 * PAGE, MADV_FREE) == 0);
  use_slots((void **)area);
  CHECK(madvise(area + PAGE, 511 * PAGE, MADV_DONTNEED) == 0);
  use_slots((void **)area);
  expect_garbage_back();
}

static char *map_file(size_t size, int *descriptor) {
  char name[] = "mapped-file-XXXXXX";
  *descriptor = mkstemp(name);
  CHECK(*descriptor >= 0 && unlink(name) == 0 && ftruncate(*descriptor, (off_t)size) == 0);
  char *area = mmap(NULL, size, OPEN, MAP_PRIVATE, *descriptor, 0);
  CHECK(area != MAP_FAILED);
  return area;
}

static void file(void) {
  int descriptor;
  use_slots((void **)(map_file(64 * PAGE, &descriptor) + 10 * PAGE));
}

static void truncated(void) {
  static void *slots[SIZES];
  int descriptor;
  char *area = map_file(64 * PAGE, &descriptor);
  area[10 * PAGE] = 1;
  CHECK(area[20 * PAGE] == 0 && ftruncate(descriptor, 0) == 0); /* reading it raises SIGBUS now */
  use_slots(slots);
  expect_garbage_back();
}

static void *write_always(void *ends) {
  static char text[8192];
  while (!collections_end)
    if (write(*(int *)ends, text, sizeof text) < 0) break;
  return NULL;
}

static void in_flight(void) {
  int ends[2], descriptor;
  pthread_t collecting, writing;
  signal(SIGPIPE, SIG_IGN);
  CHECK(pipe(ends) == 0);
  static char in_bss[8 * PAGE];
  char in_stack[8 * PAGE];
  char *places[] = {in_bss,
                    in_stack,
                    malloc(100),
                    malloc(8 * PAGE),
                    malloc(2000 * PAGE),
                    map(8 * PAGE, OWN),
                    map(8 * PAGE, MAP_SHARED | MAP_ANONYMOUS),
                    map_file(8 * PAGE, &descriptor)};
  CHECK(pthread_create(&collecting, NULL, collect_until_end, NULL) == 0);
  CHECK(pthread_create(&writing, NULL, write_always, &ends[1]) == 0);
  double end = seconds_now() + 1;
  for (unsigned i = 0; seconds_now() < end; i++) {
    ssize_t got = read(ends[0], places[i % 8], 100);
    if (got <= 0) fail("read into place %u: %s", i % 8, strerror(errno));
  }
  collections_end = true;
  close(ends[0]);
  CHECK(pthread_join(collecting, NULL) == 0 && pthread_join(writing, NULL) == 0);
}

static const struct root_case cases[] = {
    {"many", many},
    {"sparse", sparse},
    {"closed", closed},
    {"keys", keys},
    {"closed-block", closed_block},
    {"closed-across", closed_across},
    {"neighbours-across", neighbours_across},
    {"shared", shared},
    {"shared-forked", shared_forked},
    {"shared-closed", shared_closed},
    {"reserved", reserved},
    {"in-code", in_code},
    {"missing", missing},
    {"lazily-freed", lazily_freed},
    {"file", file},
    {"truncated", truncated},
    {"in-flight", in_flight},
    {NULL, NULL},
};

int main(int count, char **arguments) { return count == 2 ? run_case(cases, arguments[1]) : 2; }
