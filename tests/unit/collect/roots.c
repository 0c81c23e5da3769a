/* roots.c: each kind of place that may hold the only pointer to an object. A test hides the
   pointers to a hundred objects, puts them in one place, and counts what a marking reaches. */
#include "tests/unit/collect/collector.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "mutator/quarantine.h"

enum { COUNT = 100 };
static uintptr_t hidden[COUNT];

static __attribute__((noinline)) void make_objects(void) {
  for (int i = 0; i < COUNT; i++) {
    void *object = allocate(100, NULL);
    cr_assert(object);
    memset(object, 0, 100);
    hidden[i] = unit_hide(object);
  }
}

static __attribute__((noinline)) int reached(void) {
  int count = 0;
  for (int i = 0; i < COUNT; i++) count += unit_is_marked(unit_unhide(hidden[i]));
  return count;
}

static __attribute__((noinline)) void put(void **place) {
  for (int i = 0; i < COUNT; i++) place[i] = unit_unhide(hidden[i]);
}

static __attribute__((noinline)) void mark(bool baseline) {
  unit_clean_stack();
  unit_mark(baseline);
}

static void start(void) {
  unit_start_collector();
  make_objects();
}

TestSuite(roots, .init = start, .timeout = 60);

static void expect_all(const char *place) {
  for (int baseline = 0; baseline < 2; baseline++) {
    mark(baseline);
    cr_expect_eq(reached(), COUNT, "%s, %s: %d of %d", place, baseline ? "baseline" : "auto",
                 reached(), COUNT);
  }
}

static void expect_none(const char *place) {
  for (int baseline = 0; baseline < 2; baseline++) {
    mark(baseline);
    cr_expect(reached() <= COUNT / 10, "%s, %s: %d of %d", place, baseline ? "baseline" : "auto",
              reached(), COUNT);
  }
}

Test(roots, without_a_pointer_nothing_is_reached) { expect_none("nowhere"); }

static void *in_bss[COUNT];
static void *in_data[COUNT] = {(void *)1};
static __thread void *in_tls[COUNT];

Test(roots, bss) {
  put(in_bss);
  expect_all("bss");
}
Test(roots, data) {
  put(in_data);
  expect_all("data");
}
Test(roots, thread_local) {
  put(in_tls);
  expect_all("thread-local");
}

Test(roots, the_callers_stack) {
  void *volatile local[COUNT];
  put((void **)local);
  expect_all("stack");
  cr_expect_neq(local[0], local[1]);
}

Test(roots, the_heap_of_libc) {
  void **place = malloc(COUNT * sizeof *place);
  put(place);
  expect_all("malloc");
  free(place);
}

static void **map(int flags, int descriptor) {
  void *place = mmap(NULL, 65536, PROT_READ | PROT_WRITE, flags, descriptor, 0);
  cr_assert_neq(place, MAP_FAILED);
  return place;
}

Test(roots, anonymous_memory) {
  void **place = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  put(place + 4096 / 8 * 3);
  expect_all("mmap");
}

Test(roots, memory_that_was_protected) {
  void **place = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  put(place);
  cr_assert_eq(mprotect(place, 65536, PROT_NONE), 0);
  expect_all("PROT_NONE");
}

Test(roots, shared_anonymous_memory) {
  void **place = map(MAP_SHARED | MAP_ANONYMOUS, -1);
  put(place);
  expect_all("MAP_SHARED");
}

Test(roots, a_memory_file) {
  int descriptor = memfd_create("roots", 0);
  cr_assert_eq(ftruncate(descriptor, 65536), 0);
  void **place = map(MAP_SHARED, descriptor);
  put(place);
  expect_all("memfd");
}

static int temporary_file(void) {
  char name[] = "roots-XXXXXX"; /* not in /dev/shm, whose files are scanned */
  int descriptor = mkstemp(name);
  cr_assert(descriptor >= 0);
  unlink(name);
  cr_assert_eq(ftruncate(descriptor, 65536), 0);
  return descriptor;
}

Test(roots, a_private_file_mapping) {
  void **place = map(MAP_PRIVATE, temporary_file());
  put(place + 8192 / 8);
  expect_all("MAP_PRIVATE file");
}

Test(roots, a_named_root) {
  void **place = map(MAP_SHARED, temporary_file()); /* a shared file is no root of itself */
  put(place);
  expect_none("shared file");
  cr_assert(roots_add((uintptr_t)place, COUNT * sizeof *place));
  expect_all("named");
  cr_expect(!roots_remove((uintptr_t)place, 8));
  cr_expect(!roots_remove((uintptr_t)place + 8, COUNT * sizeof *place));
  cr_expect(roots_remove((uintptr_t)place, COUNT * sizeof *place));
  cr_expect(!roots_remove((uintptr_t)place, COUNT * sizeof *place));
}

Test(roots, a_marking_leaves_no_pointers_behind) {
  put(in_bss);
  expect_all("bss");
  memset(in_bss, 0, sizeof in_bss);
  expect_none("nowhere, after a marking that reached them");
}

Test(roots, the_list_of_named_roots_ends) {
  size_t count = 0;
  while (count < 100000 && roots_add((uintptr_t)&in_bss[count % COUNT], 8)) count++;
  cr_expect(count >= 1000 && count < 100000);
  cr_expect(roots_remove((uintptr_t)&in_bss[5], 8));
  cr_expect(roots_add((uintptr_t)&in_bss[6], 8));
  cr_expect(!roots_add((uintptr_t)&in_bss[6], 8));
  put(in_bss);
  expect_all("bss");
}

Test(roots, pinned_objects) {
  for (int i = 0; i < COUNT; i++) {
    struct cell cell = {0};
    cr_assert(cell_of((uintptr_t)unit_unhide(hidden[i]), &cell));
    *state_at(cell.address) |= STATE_PINNED;
    cell.page->hints = HINT_PINNED;
  }
  expect_all("pinned");
}

Test(roots, an_object_of_the_heap) {
  static void **volatile root;
  root = allocate(2000, NULL);
  put(root);
  expect_all("heap");
}

Test(roots, misaligned_by_four) {
  static char place[COUNT * 12 + 16] __attribute__((aligned(8)));
  for (int i = 0; i < COUNT; i++) {
    void *object = unit_unhide(hidden[i]);
    memcpy(place + i * 12, &object, sizeof object);
  }
  expect_all("a packed structure");
}

/* Every second page is a mapping of its own, and the words lie across their ends. */
static void expect_neighbours(int rights, const char *place) {
  static const size_t size = (COUNT + 2) * KERNEL_PAGE;
  char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(area, MAP_FAILED);
  for (int i = 0; i < COUNT; i++) {
    void *object = unit_unhide(hidden[i]);
    memcpy(area + (size_t)(i + 1) * KERNEL_PAGE - 4, &object, sizeof object);
  }
  for (int i = 0; i <= COUNT; i += 2)
    cr_assert_eq(mprotect(area + (size_t)i * KERNEL_PAGE, KERNEL_PAGE, rights), 0);
  expect_all(place);
}

Test(roots, words_across_neighbouring_mappings) {
  expect_neighbours(PROT_READ, "read-only beside writable");
  expect_neighbours(PROT_NONE, "closed beside open");
}

/* Shared memory, of which another scan tells, between private. */
Test(roots, words_across_shared_and_private_memory) {
  static const int both = PROT_READ | PROT_WRITE;
  static const size_t size = (COUNT + 2) * KERNEL_PAGE;
  char *area = mmap(NULL, size, both, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(area, MAP_FAILED);
  for (int i = 1; i <= COUNT; i += i % 4 == 1 ? 1 : 3) { /* two side by side, two private ones */
    char *page = area + (size_t)i * KERNEL_PAGE;
    cr_assert_eq(mmap(page, KERNEL_PAGE, both, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                 page);
  }
  for (int i = 0; i < COUNT; i++) {
    void *object = unit_unhide(hidden[i]);
    memcpy(area + (size_t)(i + 1) * KERNEL_PAGE - 4, &object, sizeof object);
  }
  expect_all("shared beside private");
}

/* As where a program's initialised data ends, and what is zero at first begins. */
Test(roots, words_across_a_file_and_what_follows_it) {
  int file = open("/proc/self/exe", O_RDONLY);
  cr_assert_geq(file, 0);
  char *area =
      mmap(NULL, 2 * KERNEL_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(area, MAP_FAILED);
  cr_assert_eq(mmap(area, KERNEL_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0),
               area);
  close(file);
  memset(area, 0, 2 * KERNEL_PAGE);
  for (int baseline = 0; baseline < 2; baseline++)
    for (int i = 0; i < COUNT; i++) {
      void *object = unit_unhide(hidden[i]);
      memcpy(area + KERNEL_PAGE - 4, &object, sizeof object);
      mark(baseline);
      cr_assert(unit_is_marked(unit_unhide(hidden[i])), "%d, %d", i, baseline);
    }
}

/* --- other threads ---------------------------------------------------------------------------- */

static bool ready, over;

static void *keep_on_stack(void *unused) {
  void *volatile local[COUNT];
  put((void **)local);
  unit_clean_stack();
  atomic_set(&ready, true);
  while (!atomic_get(&over)) unit_sleep(1);
  return local[0] ? unused : NULL;
}

static void *keep_on_known_stack(void *unused) {
  pthread_attr_t attributes;
  void *base;
  size_t size;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &base, &size);
  thread_set_stack((uintptr_t)base, (uintptr_t)base + size);
  return keep_on_stack(unused);
}

static void *keep_in_tls(void *unused) {
  put(in_tls);
  atomic_set(&ready, true);
  while (!atomic_get(&over)) unit_sleep(1);
  return unused;
}

static __attribute__((noinline)) void fill_deep_stack(void) {
  void *volatile local[COUNT * 10];
  for (int i = 0; i < 10; i++) put((void **)local + i * COUNT);
}

static __attribute__((noinline)) void go_deep_and_return(void) {
  volatile char space[32768];
  space[0] = space[sizeof space - 1] = 1;
  fill_deep_stack();
}

static void *leave_on_unused_stack(void *unused) {
  pthread_attr_t attributes;
  void *base;
  size_t size;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &base, &size);
  thread_set_stack((uintptr_t)base, (uintptr_t)base + size);
  go_deep_and_return();
  atomic_set(&ready, true);
  while (!atomic_get(&over)) port_cpu_relax();
  return unused;
}

static void with_thread(void *(*function)(void *), void (*expect)(const char *), const char *what) {
  pthread_t thread;
  cr_assert_eq(pthread_create(&thread, NULL, function, NULL), 0);
  while (!atomic_get(&ready)) unit_sleep(1);
  expect(what);
  atomic_set(&over, true);
  pthread_join(thread, NULL);
}

Test(roots, another_threads_stack) { with_thread(keep_on_stack, expect_all, "stack"); }
Test(roots, another_threads_known_stack) {
  with_thread(keep_on_known_stack, expect_all, "known stack");
}
Test(roots, another_threads_storage) { with_thread(keep_in_tls, expect_all, "thread-local"); }
Test(roots, the_unused_part_of_a_known_stack_is_left_out) {
  with_thread(leave_on_unused_stack, expect_none, "unused stack");
}

Test(roots, the_unused_part_of_the_main_stack_is_left_out) {
  go_deep_and_return();
  for (int baseline = 0; baseline < 2; baseline++) {
    unit_mark(baseline);
    cr_expect(reached() <= COUNT / 10, "%d of %d", reached(), COUNT);
  }
}

/* One object in each callee-saved register of a thread that never stores it. */
static void *keep_in_registers(void *unused) {
  __asm__ volatile("mov %[h], %%rbx\n\tnot %%rbx\n\t"
                   "mov %[h1], %%r12\n\tnot %%r12\n\t"
                   "mov %[h2], %%r13\n\tnot %%r13\n\t"
                   "mov %[h3], %%rax\n\tnot %%rax\n\tmovq %%rax, %%xmm9\n\txor %%eax, %%eax\n\t"
                   "movb $1, %[ready]\n\t"
                   "1: pause\n\tcmpb $0, %[over]\n\tje 1b\n\t"
                   : [ready] "=m"(ready)
                   : [h] "m"(hidden[0]), [h1] "m"(hidden[1]), [h2] "m"(hidden[2]),
                     [h3] "m"(hidden[3]), [over] "m"(over)
                   : "rbx", "r12", "r13", "rax", "xmm9", "memory");
  return unused;
}

static void expect_four(const char *place) {
  for (int baseline = 0; baseline < 2; baseline++) {
    mark(baseline);
    for (int i = 0; i < 4; i++)
      cr_expect(unit_is_marked(unit_unhide(hidden[i])), "%s: object %d", place, i);
    cr_expect(reached() <= 4 + COUNT / 10);
  }
}

Test(roots, registers_of_another_thread) {
  with_thread(keep_in_registers, expect_four, "registers");
}

/* --- what is counted -------------------------------------------------------------------------- */

Test(roots, counts) {
  mark(false);
  size_t stopped;
  world_threads(&stopped);
  cr_expect_eq(unit_marking.roots.threads, stopped + 1);
  cr_expect(unit_marking.roots.mappings > 10);
  cr_expect(unit_marking.roots.bytes > 100000);
}

Test(roots, thousands_of_mappings) {
  enum { MAPPINGS = 5000 };
  char *area =
      mmap(NULL, MAPPINGS * 2 * KERNEL_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(area, MAP_FAILED);
  for (size_t i = 0; i < MAPPINGS; i++)
    cr_assert_eq(mprotect(area + i * 2 * KERNEL_PAGE, KERNEL_PAGE, PROT_READ | PROT_WRITE), 0);
  for (size_t i = 0; i < COUNT; i++)
    *(void **)(area + (i * 50 + 7) * 2 * KERNEL_PAGE) = unit_unhide(hidden[i]);
  expect_all("five thousand mappings");
  cr_expect(unit_marking.roots.mappings >= MAPPINGS * 2 - 2);
}

/* A large object, two of whose pages the program has closed, the second with pointers in it. */
Test(roots, closed_pages_of_a_block) {
  char *block = allocate_aligned(KERNEL_PAGE, 8 * KERNEL_PAGE, NULL);
  cr_assert(block);
  memset(block, 0, 8 * KERNEL_PAGE);
  put((void **)(block + KERNEL_PAGE));
  static void *volatile reference;
  reference = block;
  cr_assert_eq(mprotect(block, 2 * KERNEL_PAGE, PROT_NONE), 0);
  expect_all("closed pages");
  reference = NULL;
  cr_expect_null(reference);
  expect_all("a block that cannot be given to anybody stays");
  cr_assert_eq(mprotect(block, 2 * KERNEL_PAGE, PROT_READ | PROT_WRITE), 0);
}

/* --- guards of ours --------------------------------------------------------------------------- */

static void start_with_guards(void) {
  unit_start_heap();
  options.confirm = 1;
  options.guard = true;
  identity_init();
  pace_init();
  cr_assert(cycle_init());
  make_objects();
}

TestSuite(guarded, .init = start_with_guards, .timeout = 60);

static __attribute__((noinline)) uintptr_t make_holder(size_t size) {
  char *holder = allocate(size, NULL);
  cr_assert(holder);
  memset(holder, 0, size);
  put((void **)(holder + 64));
  return unit_hide(holder);
}

Test(guarded, blocks_are_roots_no_more_than_others) {
  static uintptr_t holders[20];
  for (int i = 0; i < 20; i++) holders[i] = make_holder(40000 + (size_t)i * 5000);
  expect_none("in blocks that nothing points to");
  static void *volatile reference;
  reference = unit_unhide(holders[7]);
  expect_all("in a block that something points to");
  cr_expect_not_null(reference);
}

/* The program's closed pages lie against ours, before and behind. */
Test(guarded, closed_pages_of_the_program_are_told_from_ours) {
  char *block = allocate_aligned(KERNEL_PAGE, 15 * KERNEL_PAGE - 1, NULL);
  char *next = allocate_aligned(KERNEL_PAGE, 8 * KERNEL_PAGE, NULL);
  cr_assert(block && next == block + HEAP_PAGE);
  memset(next, 0, 8 * KERNEL_PAGE);
  put((void **)(next + KERNEL_PAGE));
  cr_assert_eq(mprotect(block + 13 * KERNEL_PAGE, 2 * KERNEL_PAGE, PROT_NONE), 0);
  cr_assert_eq(mprotect(next, 2 * KERNEL_PAGE, PROT_NONE), 0);
  uintptr_t hidden_block = unit_hide(block), hidden_next = unit_hide(next);
  block = next = NULL;
  expect_all("a block that the program has closed in part stays");
  cr_expect(unit_is_marked(unit_unhide(hidden_block)));
  next = unit_unhide(hidden_next);
  cr_assert_eq(mprotect(next, 2 * KERNEL_PAGE, PROT_READ | PROT_WRITE), 0);
  next = NULL;
  expect_none("and goes once it is open");
}

/* What was freed and is closed holds no pointers, stays as long as something points to it, and its
   pages are none of the program's. */
Test(closed, blocks_are_not_read, .timeout = 60) {
  unit_start_heap();
  options.freed = FREED_FAULT;
  options.confirm = 1;
  identity_init();
  pace_init();
  cr_assert(cycle_init());
  make_objects();
  static uintptr_t holders[4];
  for (int i = 0; i < 4; i++) {
    struct cell cell;
    holders[i] = make_holder(300000 + (size_t)i * 400000);
    cr_assert(object_find(unit_unhide(holders[i]), &cell) && quarantine(&cell));
    cr_assert_eq(cell.page->barred, BARRED_WHOLE);
  }
  static void *volatile references[2];
  references[0] = unit_unhide(holders[1]);
  references[1] = unit_unhide(holders[3]);
  expect_none("in blocks whose memory is gone");
  for (int i = 0; i < 4; i++) cr_expect_eq(unit_is_marked(unit_unhide(holders[i])), i % 2);
  cr_expect_not_null(references[0]);
  cr_expect(cycle_run(CYCLE_REQUEST, true));
  char *again = allocate(300000, NULL), *more = allocate(1100000, NULL);
  memset(again, 1, 300000);
  memset(more, 1, 1100000);
}
