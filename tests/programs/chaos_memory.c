/* chaos_memory.c: libraries that come and go, and memory that is mapped, moved, hidden and unmapped
   with the only pointers in it. */
#include "chaos.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>

static char folder[] = "chaos-modules-XXXXXX";

static void module_path(char *path, size_t size, unsigned number) {
  snprintf(path, size, "./%s/module-%u.so", folder, number);
}

static bool copy(const char *from, const char *to) {
  char data[16384];
  int in = open(from, O_RDONLY);
  if (in < 0) return false;
  int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
  CHECK(out >= 0);
  for (ssize_t got; (got = read(in, data, sizeof data)) > 0;) CHECK(write(out, data, got) == got);
  close(in);
  close(out);
  return true;
}

/* Copies, since one file would be one library, and stay open as long as anybody has it open. In
   the working directory: a thread without privileges must reach them too. */
void memory_prepare(void) {
  char self[PATH_MAX], from[PATH_MAX + 32], to[64];
  const char *const places[] = {"roots_module.so", ".libs/roots_module.so", "../roots_module.so",
                                "../.libs/roots_module.so"};
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0);
  self[length] = '\0';
  const char *directory = dirname(self);
  CHECK(mkdtemp(folder) != NULL);
  CHECK(chmod(folder, 0755) == 0);
  for (unsigned number = 0; number < ACTORS; number++) {
    bool found = false;
    module_path(to, sizeof to, number);
    for (size_t i = 0; i < sizeof places / sizeof *places && !found; i++) {
      snprintf(from, sizeof from, "%s/%s", directory, places[i]);
      found = copy(from, to);
    }
    if (!found) fail("no roots_module.so beside the program");
  }
}

void memory_clean(void) {
  char path[64];
  for (unsigned number = 0; number < ACTORS; number++) {
    module_path(path, sizeof path, number);
    unlink(path);
  }
  rmdir(folder);
}

/* A pointer in the data, the bss and the thread-local storage of a library that is open only now.
   One in four opens another actor's library, which may be open already: only its TLS is then ours
   alone. */
static void libraries(struct actor *actor) {
  char path[64];
  uint32_t seeds[3];
  bool other = next_random(&actor->random) % 4 == 0;
  module_path(path, sizeof path, (actor->number + other) % ACTORS);
  void *library = dlopen(path, next_random(&actor->random) % 2 ? RTLD_NOW : RTLD_LAZY);
  if (library == NULL) chaos_fail("%s", dlerror());
  struct chain *volatile **(*root)(int) =
      (struct chain *volatile * *(*)(int)) dlsym(library, "module_root");
  CHAOS_CHECK(root != NULL);
  int first = other ? 2 : 0;
  for (int kind = first; kind < 3; kind++)
    seeds[kind] = chain_make((struct chain *volatile *)root(kind), &actor->random);
  meanwhile(&actor->random);
  for (int kind = first; kind < 3; kind++)
    chain_end((struct chain *volatile *)root(kind), seeds[kind], "a library", &actor->random);
  CHAOS_CHECK(dlclose(library) == 0);
}

enum { PAGE = 4096, PAGES = 64, PLACES = 3 };

/* Pointers at random places of one's own mapping, which moves and is made inaccessible. */
static void mapping(struct actor *actor) {
  size_t size = (1 + next_random(&actor->random) % PAGES) * PAGE, offsets[PLACES];
  uint32_t seeds[PLACES];
  char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHAOS_CHECK(memory != MAP_FAILED);
  for (int i = 0; i < PLACES; i++) {
    offsets[i] = (next_random(&actor->random) % (size / PLACES / 8) + i * (size / PLACES / 8)) * 8;
    seeds[i] = chain_make((struct chain *volatile *)(memory + offsets[i]), &actor->random);
  }
  for (unsigned turns = next_random(&actor->random) % 4; turns > 0; turns--) {
    switch (next_random(&actor->random) % 3) {
    case 0: meanwhile(&actor->random); break;
    case 1: { /* moved, to a mapping that has more behind it or not */
      size_t larger = size + next_random(&actor->random) % 4 * PAGE;
      void *target = mmap(NULL, larger, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      CHAOS_CHECK(target != MAP_FAILED);
      memory = mremap(memory, size, larger, MREMAP_MAYMOVE | MREMAP_FIXED, target);
      CHAOS_CHECK(memory == target);
      size = larger;
      break;
    }
    case 2:
      CHAOS_CHECK(mprotect(memory, size, PROT_NONE) == 0);
      meanwhile(&actor->random);
      CHAOS_CHECK(mprotect(memory, size, PROT_READ | PROT_WRITE) == 0);
      break;
    }
  }
  for (int i = 0; i < PLACES; i++)
    chain_end((struct chain *volatile *)(memory + offsets[i]), seeds[i], "a mapping",
              &actor->random);
  if (size > PAGE && next_random(&actor->random) % 2) { /* in two pieces */
    CHAOS_CHECK(munmap(memory + PAGE, size - PAGE) == 0);
    size = PAGE;
  }
  CHAOS_CHECK(munmap(memory, size) == 0);
}

/* A written page of a private mapping of a file. */
static void file_mapping(struct actor *actor) {
  char path[64];
  module_path(path, sizeof path, actor->number);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  CHAOS_CHECK(file >= 0);
  char *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  CHAOS_CHECK(memory != MAP_FAILED);
  close(file);
  struct chain *volatile *place =
      (struct chain *volatile *)(memory + next_random(&actor->random) % (2 * PAGE / 8) * 8);
  uint32_t seed = chain_make(place, &actor->random);
  meanwhile(&actor->random);
  chain_end(place, seed, "a file mapping", &actor->random);
  CHAOS_CHECK(munmap(memory, 2 * PAGE) == 0);
}

/* One pointer in 1 GiB of address space that holds nothing else. */
static void sparse(struct actor *actor) {
  size_t size = (size_t)1 << 30;
  char *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHAOS_CHECK(memory != MAP_FAILED);
  struct chain *volatile *place =
      (struct chain *volatile *)(memory + next_random(&actor->random) % (size / 8) * 8);
  uint32_t seed = chain_make(place, &actor->random);
  meanwhile(&actor->random);
  chain_end(place, seed, "a sparse mapping", &actor->random);
  CHAOS_CHECK(munmap(memory, size) == 0);
}

/* A large block that grows and shrinks with pointers in it: realloc moves its pages. */
static void large_block(struct actor *actor) {
  size_t words = 200000 + next_random(&actor->random) % 100000, at[PLACES];
  uint32_t seeds[PLACES];
  struct chain *volatile *block = calloc(words, sizeof *block);
  CHAOS_CHECK(block != NULL);
  for (int i = 0; i < PLACES; i++) {
    at[i] = next_random(&actor->random) % 30000 + (size_t)i * 30000;
    seeds[i] = chain_make(&block[at[i]], &actor->random);
  }
  for (unsigned turns = next_random(&actor->random) % 3; turns > 0; turns--) {
    words = 100000 + next_random(&actor->random) % 300000;
    block = realloc((void *)block, words * sizeof *block);
    CHAOS_CHECK(block != NULL);
    meanwhile(&actor->random);
  }
  for (int i = 0; i < PLACES; i++)
    chain_end(&block[at[i]], seeds[i], "a large block", &actor->random);
  free((void *)block);
}

const struct ingredient memory_ingredients[] = {
    {"libraries", libraries}, {"mapping", mapping},         {"file-mapping", file_mapping},
    {"sparse", sparse},       {"large-block", large_block}, {NULL, NULL},
};
