/* roots_memory.c: the cases of roots in which memory holds the pointer: static data, the stacks'
   tops, libraries, the heap, mappings of the program's own; and pointers of unusual form. */
#include "roots.h"

#include <fcntl.h>
#include <sys/mman.h>

extern char **root_arguments;

static void *data_slots[SIZES] = {data_slots, data_slots, data_slots};
static void *bss_slots[SIZES];
static __thread void *tls_slots[SIZES];

static void in_data(void) { use_slots(data_slots); }
static void in_bss(void) { use_slots(bss_slots); }
static void in_tls(void) { use_slots(tls_slots); }

NOINLINE static void in_stack(void) {
  void *volatile slots[SIZES];
  use_slots((void **)slots);
}

static void in_heap(void) {
  static void *holder;
  holder = calloc(1000, sizeof(void *));
  use_slots((void **)holder + 900);
}

/* The top of the main stack: argv and environ lie above what the C library calls its end. */
static void in_arguments(void) {
  void *slots[SIZES];
  CHECK(root_arguments[0] != NULL);
  for (int i = 0; i < SIZES; i++) {
    root_arguments[0] = make_block(i);
    wipe_stack();
    collect_often();
    slots[i] = root_arguments[0];
    verify_block(slots[i], i);
  }
}

static void in_environment(void) {
  for (int i = 0; i < SIZES; i++) {
    char *text = make_block(i);
    memcpy(text, "HOME=", 5);
    text[sizes[i] - 1] = '\0';
    CHECK(putenv(text) == 0); /* over the existing variable: the array stays on the stack */
    text = NULL;
    wipe_stack();
    collect_often();
    text = getenv("HOME");
    CHECK(text != NULL && (uintptr_t)(text - 5) == ~hidden[i]);
    CHECK(strlen(text) == sizes[i] - 6 && (unsigned char)text[2] >= 0x80);
    CHECK(memchr(text, 0x55, sizes[i] - 6) == NULL);
  }
}

/* libc's own lists: that of all streams has the only pointer to a stream, which has the only one to
   its buffer. */
NOINLINE static uintptr_t open_stream(int i) {
  FILE *stream = tmpfile();
  CHECK(stream != NULL && setvbuf(stream, make_block(i), _IOFBF, sizes[i]) == 0);
  return ~(uintptr_t)stream;
}

static void in_stream(void) {
  for (int i = 0; i < SIZES; i++) {
    uintptr_t stream = open_stream(i);
    wipe_stack();
    collect_often();
    verify_block((void *)~hidden[i], i);
    FILE *found = (FILE *)~stream;
    char text[8] = "";
    CHECK(fputs("kept", found) >= 0 && fseek(found, 0, SEEK_SET) == 0);
    CHECK(fgets(text, sizeof text, found) != NULL && strcmp(text, "kept") == 0);
    CHECK(fclose(found) == 0);
  }
}

/* dlopen'ed library */
static void **(*module_root)(int);

static void open_module(void) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 40);
  CHECK(length > 0);
  path[length] = '\0';
  void *module = NULL;
  char *slash = strrchr(path, '/');
  const char *const places[] = {"/roots_module.so", "/.libs/roots_module.so", "/../roots_module.so",
                                "/../.libs/roots_module.so"};
  for (size_t i = 0; i < 4 && module == NULL; i++) {
    strcpy(slash, places[i]);
    module = dlopen(path, RTLD_NOW);
  }
  CHECK(module != NULL);
  module_root = (void **(*)(int))dlsym(module, "module_root");
  CHECK(module_root != NULL);
}

static void in_module(int kind) {
  if (module_root == NULL) open_module();
  for (int i = 0; i < SIZES; i++) {
    *module_root(kind) = make_block(i);
    wipe_stack();
    collect_often();
    verify_block(*module_root(kind), i);
  }
}

static void in_module_data(void) { in_module(0); }
static void in_module_bss(void) { in_module(1); }
static void in_module_tls(void) { in_module(2); }

static void *thread_with_module_tls(void *number) {
  int i = (int)(intptr_t)number;
  *module_root(2) = make_block(i);
  wipe_stack();
  hold_until_checked();
  verify_block(*module_root(2), i);
  return NULL;
}

static void in_thread_module_tls(void) {
  open_module();
  for (int i = 0; i < SIZES; i++) start_and_wait(thread_with_module_tls, (void *)(intptr_t)i);
}

/* Memory the program mapped itself */
static void in_anonymous_mapping(void) {
  char *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(map != MAP_FAILED);
  use_slots((void **)(map + 70000));
}

static void in_sparse_mapping(void) {
  size_t size = (size_t)1 << 40;
  char *map =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) not_possible("no terabyte of address space");
  use_slots((void **)(map + size / 2 + 123 * 4096));
  CHECK(resident_kib() < 256 * 1024);
}

static void in_break(void) {
  char *room = sbrk(8192);
  if (room == (char *)-1) not_possible("no room at the break");
  use_slots((void **)((uintptr_t)(room + 15) & ~(uintptr_t)15));
}

static void in_file_mapping(void) {
  char name[] = "roots-file-XXXXXX";
  int fd = mkstemp(name);
  CHECK(fd >= 0 && unlink(name) == 0 && ftruncate(fd, 1 << 20) == 0);
  char *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  CHECK(map != MAP_FAILED);
  use_slots((void **)(map + 40960));
  close(fd);
}

static void in_truncated_file(void) {
  char name[] = "roots-file-XXXXXX";
  int fd = mkstemp(name);
  CHECK(fd >= 0 && unlink(name) == 0 && ftruncate(fd, 1 << 20) == 0);
  char *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  CHECK(map != MAP_FAILED);
  map[300000] = 1;
  CHECK(map[500000] == 0 && ftruncate(fd, 0) == 0); /* reading the mapping now raises SIGBUS */
  use_slots(bss_slots);
  close(fd);
}

static void in_protected_page(int protection) {
  char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(map != MAP_FAILED);
  store_blocks((void **)(map + 4096));
  wipe_stack();
  CHECK(mprotect(map, 8192, protection) == 0);
  collect_often();
  CHECK(mprotect(map, 8192, PROT_READ | PROT_WRITE) == 0);
  verify_blocks((void **)(map + 4096));
}

static void in_closed_page(void) { in_protected_page(PROT_NONE); }
static void in_readonly_page(void) { in_protected_page(PROT_READ); }

/* Pointers of unusual form */
static void past_the_end(void) {
  static const size_t exact[] = {16, 32, 48, 64, 128, 1024, 4096, 32768, 65536, 1 << 20};
  static char *ends[sizeof exact / sizeof *exact];
  enum { N = sizeof exact / sizeof *exact };
  for (int i = 0; i < N; i++) {
    char *block = malloc(exact[i]);
    fill_pattern(block, exact[i], (unsigned)i);
    ends[i] = block + exact[i];
  }
  for (int turn = 0; turn < 4; turn++) {
    wipe_stack();
    collect();
    for (int i = 0; i < N; i++) {
      static void *blocks[2000];
      size_t count = exact[i] <= 4096 ? 2000 : (8 << 20) / exact[i];
      for (size_t n = 0; n < count; n++) {
        blocks[n] = malloc(exact[i]);
        memset(blocks[n], 0x55, exact[i]);
      }
      for (size_t n = 0; n < count; n++) free(blocks[n]);
      memset(blocks, 0, sizeof blocks);
    }
  }
  for (int i = 0; i < N; i++)
    if (!pattern_holds(ends[i] - exact[i], exact[i], (unsigned)i))
      fail("block of %zu with a pointer past its end: reclaimed", exact[i]);
}

static void to_the_middle(void) {
  static char *middles[SIZES];
  for (int i = 0; i < SIZES; i++) middles[i] = (char *)make_block(i) + sizes[i] / 2 + 1;
  wipe_stack();
  collect_often();
  for (int i = 0; i < SIZES; i++) verify_block(middles[i] - sizes[i] / 2 - 1, i);
}

static void at_half_alignment(void) {
  static _Alignas(8) char room[4 + 8 * SIZES];
  for (int i = 0; i < SIZES; i++) {
    void *block = make_block(i);
    memcpy(room + 4 + 8 * i, &block, 8);
  }
  wipe_stack();
  collect_often();
  for (int i = 0; i < SIZES; i++) {
    void *block;
    memcpy(&block, room + 4 + 8 * i, 8);
    verify_block(block, i);
  }
}

/* A root the program announces: shared memory, which is not scanned unasked. */
static void in_added_root(void) {
  void (*add)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "reclaim_add_root");
  void (*drop)(void *, size_t) =
      (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "reclaim_remove_root");
  void *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(map != MAP_FAILED && (add != NULL) == (collector != NULL));
  if (add != NULL) add(map, 8192);
  use_slots(map);
  if (drop != NULL) drop(map, 8192);
}

const struct root_case memory_cases[] = {
    {"data", in_data},
    {"bss", in_bss},
    {"tls", in_tls},
    {"stack", in_stack},
    {"heap", in_heap},
    {"arguments", in_arguments},
    {"environment", in_environment},
    {"stream", in_stream},
    {"module-data", in_module_data},
    {"module-bss", in_module_bss},
    {"module-tls", in_module_tls},
    {"thread-module-tls", in_thread_module_tls},
    {"mapping", in_anonymous_mapping},
    {"sparse-mapping", in_sparse_mapping},
    {"break", in_break},
    {"file-mapping", in_file_mapping},
    {"truncated-file", in_truncated_file},
    {"closed-page", in_closed_page},
    {"readonly-page", in_readonly_page},
    {"past-the-end", past_the_end},
    {"middle", to_the_middle},
    {"half-alignment", at_half_alignment},
    {"added-root", in_added_root},
    {NULL, NULL},
};
