/* foreign.c: blocks of other allocators, and libraries that were bound elsewhere. foreign CASE

   family       all names of the malloc family are to be found in one library; hooks do nothing
   libc-block   libc's own malloc made it: our family takes it, and it holds the only pointers
   second-libc  a second libc's malloc made it, in a namespace of its own: our family takes it. (No
                case for plain malloc: libc's aborts on blocks of another libc.)
   namespace    a library with a namespace and a libc of its own holds the only pointers
   deepbind     a library opened with RTLD_DEEPBIND frees our blocks and hands out its own
   offsets      a library keeps distances instead of pointers (for pin=foreign_module)
   offsets-late the same, and dlopen needs its caller's address to find it
   early        other preloaded libraries allocate in their constructors and destructors
   audit        under LD_AUDIT, where a third libc lives beside ours */
#include "program.h"

#include <sys/wait.h>

static char program[4096], directory[4096];

static void *module_function(void *module, const char *name) {
  void *function = dlsym(module, name);
  if (function == NULL) fail("%s", dlerror());
  return function;
}

static void *check_module(void *module) {
  if (module == NULL) fail("%s", dlerror());
  return module;
}

static char *module_path(void) {
  static char path[5000];
  snprintf(path, sizeof path, "%s/.libs/foreign_module.so", directory);
  if (access(path, R_OK) != 0) snprintf(path, sizeof path, "%s/foreign_module.so", directory);
  return path;
}

/* The same, from the program's own directory. */
static const char *path_from_origin(void) {
  static char path[5000];
  snprintf(path, sizeof path, "$ORIGIN%s", module_path() + strlen(directory));
  return path;
}

enum { SIZE = 700 };

static void family(void) {
  static const char *const names[] = {
      "malloc",       "free",     "calloc",         "realloc",     "reallocarray",
      "memalign",     "valloc",   "posix_memalign", "pvalloc",     "aligned_alloc",
      "mallinfo",     "mallopt",  "malloc_info",    "malloc_trim", "malloc_usable_size",
      "malloc_stats", "mallinfo2"};
  Dl_info first, info;
  CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &first) != 0);
  for (size_t i = 1; i < sizeof names / sizeof *names; i++) {
    if (!dladdr(dlsym(RTLD_DEFAULT, names[i]), &info) || info.dli_fbase != first.dli_fbase)
      fail("%s is another library's", names[i]);
  }
  static const char *const hooks[] = {"mtrace", "muntrace"};
  for (size_t i = 0; i < 2; i++) {
    void (*hook)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, hooks[i]);
    if (hook != NULL) hook();
  }
  int (*check)(void (*)(int)) = (int (*)(void (*)(int)))dlsym(RTLD_DEFAULT, "mcheck");
  if (check != NULL) printf("mcheck: %d\n", check(NULL));
  free(malloc(100));
  collect();
}

NOINLINE static uintptr_t put(void **place, unsigned seed) {
  void *block = malloc(SIZE);
  fill_pattern(block, SIZE, seed);
  *place = block;
  return ~(uintptr_t)block;
}

static void collect_and_reuse(void) {
  for (int turn = 0; turn < 3; turn++) {
    wipe_stack();
    collect();
    for (int i = 0; i < 3000; i++) free(memset(malloc(SIZE), 0x44, SIZE));
  }
}

static void libc_block(void) {
  void *(*make)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_malloc");
  if (make == NULL) not_possible("libc does not show its malloc");
  void **blocks[100];
  uintptr_t hidden[100];
  for (unsigned i = 0; i < 100; i++) {
    blocks[i] = make(100 + i * 3000);
    hidden[i] = put(blocks[i], i);
  }
  collect_and_reuse();
  for (unsigned i = 0; i < 100; i++) {
    CHECK(malloc_usable_size(blocks[i]) >= 100 + i * 3000);
    blocks[i] = realloc(blocks[i], 200 + i * 4000);
    CHECK(blocks[i] != NULL && *blocks[i] == (void *)~hidden[i]);
    CHECK(pattern_holds(*blocks[i], SIZE, i));
    free(*blocks[i]);
    free(blocks[i]);
  }
}

static void *make_and_free(void *make) {
  void *blocks[200];
  for (unsigned i = 0; i < 200; i++) {
    size_t size = i % 5 == 4 ? i * 2000 : i * 5;
    blocks[i] = ((void *(*)(size_t))make)(size);
    fill_pattern(blocks[i], size, i);
  }
  for (unsigned i = 0; i < 200; i++) {
    size_t size = i % 5 == 4 ? i * 2000 : i * 5;
    CHECK(malloc_usable_size(blocks[i]) >= size);
    CHECK(pattern_holds(blocks[i], size, i));
    if (i % 3 == 0) {
      blocks[i] = realloc(blocks[i], size * 2 + 1);
      CHECK(blocks[i] != NULL && pattern_holds(blocks[i], size, i));
    }
    free(blocks[i]);
  }
  return make;
}

static void second_libc(void) {
  void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
  if (libc == NULL) not_possible(dlerror());
  void *first = dlsym(RTLD_DEFAULT, "__libc_malloc"), *second = module_function(libc, "malloc");
  pthread_t thread;
  for (int turn = 0; turn < 6;
       turn++) { /* in arenas of threads as well, and beside the first libc */
    if (turn < 3) make_and_free(second);
    CHECK(pthread_create(&thread, NULL, make_and_free, second) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    if (turn > 0 && first != NULL) make_and_free(first);
    collect();
  }
}

NOINLINE static void give(void *module, uintptr_t hidden[2]) {
  void (*keep)(void *, void *) = (void (*)(void *, void *))module_function(module, "module_keep");
  void *blocks[2];
  for (unsigned i = 0; i < 2; i++) hidden[i] = put(&blocks[i], i);
  keep(blocks[0], blocks[1]);
}

static void expect_given(void *module, const uintptr_t hidden[2]) {
  const char *const names[] = {"module_first", "module_second"};
  for (unsigned i = 0; i < 2; i++) {
    void *found = ((void *(*)(void))module_function(module, names[i]))();
    CHECK(found == (void *)~hidden[i] && pattern_holds(found, SIZE, i));
  }
}

static void namespace(void) {
  void *module = dlmopen(LM_ID_NEWLM, module_path(), RTLD_NOW);
  if (module == NULL) not_possible(dlerror());
  uintptr_t hidden[2];
  give(module, hidden);
  collect_and_reuse();
  expect_given(module, hidden);
  char *(*make)(const char *) = (char *(*)(const char *))module_function(module, "module_make");
  void (*release)(void *) = (void (*)(void *))module_function(module, "module_free");
  for (int i = 0; i < 1000; i++) {
    char *text = make("in another namespace");
    CHECK(text != NULL && strcmp(text, "in another namespace") == 0);
    release(text);
  }
}

static void deepbind(void) {
  void *module = check_module(dlopen(module_path(), RTLD_NOW | RTLD_DEEPBIND));
  char *(*make)(const char *) = (char *(*)(const char *))module_function(module, "module_make");
  void (*release)(void *) = (void (*)(void *))module_function(module, "module_free");
  uintptr_t hidden[2];
  give(module, hidden);
  for (int i = 0; i < 1000; i++) {
    char *theirs = make("made there"), *ours = strdup("made here");
    CHECK(strcmp(theirs, "made there") == 0);
    release(ours);
    free(theirs);
  }
  collect_and_reuse();
  expect_given(module, hidden);
}

static void offsets(const char *path) {
  enum { PAIRS = 50, LENGTH = 2000 };
  void *module = check_module(dlopen(path, RTLD_NOW)), *pairs[PAIRS];
  void *(*make)(size_t) = (void *(*)(size_t))module_function(module, "module_pair");
  int (*holds)(void *, size_t) =
      (int (*)(void *, size_t))module_function(module, "module_pair_holds");
  for (int i = 0; i < PAIRS; i++) pairs[i] = make(LENGTH);
  usleep(1000);
  collect_and_reuse();
  for (int i = 0; i < 500; i++) free(memset(malloc(LENGTH), 0x44, LENGTH));
  for (int i = 0; i < PAIRS; i++) CHECK(holds(pairs[i], LENGTH));
}

extern char **environ;

/* Runs this program once more with a variable set. */
static void again(const char *name, const char *value) {
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    CHECK(setenv(name, value, 1) == 0);
    execl(program, program, "inside", (char *)NULL);
    _exit(9);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  if (WIFSIGNALED(status)) fail("%s=%s: killed by signal %d", name, value, WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) fail("%s=%s: exit %d", name, value, WEXITSTATUS(status));
}

static void inside(void) {
  uintptr_t hidden[20];
  static void *blocks[20];
  for (unsigned i = 0; i < 20; i++) hidden[i] = put(&blocks[i], i);
  collect_and_reuse();
  for (unsigned i = 0; i < 20; i++)
    CHECK(blocks[i] == (void *)~hidden[i] && pattern_holds(blocks[i], SIZE, i));
}

static void early(void) {
  char list[9000];
  const char *preload = getenv("LD_PRELOAD");
  if (preload == NULL) preload = "";
  snprintf(list, sizeof list, "%s:%s", module_path(), preload);
  again("LD_PRELOAD", list);
  snprintf(list, sizeof list, "%s:%s", preload, module_path());
  again("LD_PRELOAD", list);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  CHECK(length > 0);
  memcpy(directory, program, (size_t)length);
  *strrchr(directory, '/') = '\0';
  const char *name = arguments[1];
  if (strcmp(name, "family") == 0) family();
  else if (strcmp(name, "libc-block") == 0) libc_block();
  else if (strcmp(name, "second-libc") == 0) second_libc();
  else if (strcmp(name, "namespace") == 0) namespace();
  else if (strcmp(name, "deepbind") == 0) deepbind();
  else if (strcmp(name, "offsets") == 0) offsets(module_path());
  else if (strcmp(name, "offsets-late") == 0) offsets(path_from_origin());
  else if (strcmp(name, "early") == 0) early();
  else if (strcmp(name, "audit") == 0) again("LD_AUDIT", module_path());
  else if (strcmp(name, "inside") == 0) inside(); else return 2;
  if (strcmp(name, "inside") != 0) puts("held");
  return 0;
}
