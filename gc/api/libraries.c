/* libraries.c: dlopen, and libraries that hide their pointers.

   pin=: some libraries keep offsets instead of pointers (libfontconfig: the distance between two
   blocks). What they allocate cannot be found by scanning, so it is never taken back unless they
   free it: the entries of the malloc family in such a library's global offset table are pointed at
   functions that pin the result. That costs other callers nothing. It is done at start and after
   each dlopen. Where libc must see dlopen's true caller (its RUNPATH, $ORIGIN), our call of it is a
   jump; then nothing is reclaimed until the tables are looked at again, by the next dlopen,
   pthread_create or blocking call. If such a library is then found, it may have allocated already,
   and all that is allocated is pinned.

   RTLD_DEEPBIND would bind a library's free to libc's while its malloc results are ours (php loads
   all its modules that way), so the flag is dropped. */
#include "api/libraries.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "api/background.h"
#include "api/next.h"
#include "base/option.h"
#include "base/remedy.h"
#include "collect/cycle.h"
#include "mutator/pin.h"
#include "ports/port.h"

static uint32_t loaded; /* libraries may have come unseen; cycles are disabled meanwhile */
static bool patched;    /* a table has been changed; tells libraries_catch_up */
static bool passive;    /* another allocator serves the program: its libraries are left alone */

static void *pinned(void *object) {
  pin_object((uintptr_t)object);
  return object;
}

static void *pinned_malloc(size_t size) { return pinned(malloc(size)); }
static void *pinned_calloc(size_t count, size_t size) { return pinned(calloc(count, size)); }
static void *pinned_realloc(void *object, size_t size) { return pinned(realloc(object, size)); }
static void *pinned_reallocarray(void *object, size_t count, size_t size) {
  return pinned(reallocarray(object, count, size));
}
static void *pinned_aligned_alloc(size_t alignment, size_t size) {
  return pinned(aligned_alloc(alignment, size));
}
static int pinned_posix_memalign(void **result, size_t alignment, size_t size) {
  int error = posix_memalign(result, alignment, size);
  if (!error) pinned(*result);
  return error;
}
static char *pinned_strdup(const char *string) { return pinned(strdup(string)); }
static char *pinned_strndup(const char *string, size_t size) {
  return pinned(strndup(string, size));
}

static const struct {
  const char *name;
  void *function;
} replacements[] = {
    {"malloc", pinned_malloc},
    {"calloc", pinned_calloc},
    {"realloc", pinned_realloc},
    {"reallocarray", pinned_reallocarray},
    {"aligned_alloc", pinned_aligned_alloc},
    {"posix_memalign", pinned_posix_memalign},
    {"strdup", pinned_strdup},
    {"__strdup", pinned_strdup},
    {"strndup", pinned_strndup},
};

struct dynamic {
  uintptr_t base;
  const ElfW(Sym) * symbols;
  const char *strings;
  uintptr_t relro_begin, relro_end;
};

static void patch(const struct dynamic *d, const ElfW(Rela) * relocations, size_t size) {
  for (size_t i = 0; i < size / sizeof *relocations; i++) {
    unsigned long type = ELF64_R_TYPE(relocations[i].r_info);
    if (type != PORT_RELOCATION_CALL && type != PORT_RELOCATION_ADDRESS) continue;
    const char *name = d->strings + d->symbols[ELF64_R_SYM(relocations[i].r_info)].st_name;
    for (size_t r = 0; r < sizeof replacements / sizeof *replacements; r++) {
      if (strcmp(name, replacements[r].name) != 0) continue;
      void **entry = (void **)(d->base + relocations[i].r_offset);
      if (*entry == replacements[r].function) continue;
      uintptr_t page = (uintptr_t)entry & ~(KERNEL_PAGE - 1);
      bool locked = (uintptr_t)entry >= d->relro_begin && (uintptr_t)entry < d->relro_end;
      if (locked && !port_commit((void *)page, KERNEL_PAGE)) continue;
      *entry = replacements[r].function;
      atomic_set(&patched, true);
      if (locked) port_protect_read((void *)page, KERNEL_PAGE);
    }
  }
}

static bool is_listed(const char *path) {
  const char *name = strrchr(path, '/');
  name = name ? name + 1 : path;
  for (const char *entry = options.pin; *entry;) {
    size_t length = strcspn(entry, "+");
    if (length && !strncmp(name, entry, length) && (name[length] == '.' || name[length] == 0))
      return true;
    entry += length + (entry[length] != 0);
  }
  return false;
}

static int pin_library(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size;
  (void)unused;
  if (!info->dlpi_name || !is_listed(info->dlpi_name)) return 0;
  struct dynamic d = {.base = info->dlpi_addr};
  const ElfW(Dyn) *entry = NULL;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    if (header->p_type == PT_DYNAMIC) entry = (void *)(info->dlpi_addr + header->p_vaddr);
    if (header->p_type == PT_GNU_RELRO) {
      d.relro_begin = (info->dlpi_addr + header->p_vaddr) & ~(KERNEL_PAGE - 1);
      d.relro_end = info->dlpi_addr + header->p_vaddr + header->p_memsz;
    }
  }
  const ElfW(Rela) *jumps = NULL, *data = NULL;
  size_t jumps_size = 0, data_size = 0;
  for (; entry && entry->d_tag != DT_NULL; entry++) /* glibc has made these absolute */
    switch (entry->d_tag) {
    case DT_SYMTAB: d.symbols = (void *)entry->d_un.d_ptr; break;
    case DT_STRTAB: d.strings = (void *)entry->d_un.d_ptr; break;
    case DT_JMPREL: jumps = (void *)entry->d_un.d_ptr; break;
    case DT_PLTRELSZ: jumps_size = entry->d_un.d_val; break;
    case DT_RELA: data = (void *)entry->d_un.d_ptr; break;
    case DT_RELASZ: data_size = entry->d_un.d_val; break;
    default: break;
    }
  if (!d.symbols || !d.strings) return 0;
  if (jumps) patch(&d, jumps, jumps_size);
  if (data) patch(&d, data, data_size);
  return 0;
}

void libraries_pin(void) {
  if (options.pin[0] && !WITHOUT(pin)) dl_iterate_phdr(pin_library, NULL);
}

/* An object's own symbols: dlsym would look in all that it depends on as well, and to ask it and
   dladdr ten times took as long as all else at a program's start. */
struct symbols {
  const ElfW(Sym) * symbols;
  const char *strings;
  const uint32_t *gnu_hash, *hash; /* at least one of them */
};

static uintptr_t distance(uintptr_t a, uintptr_t b) { return a < b ? b - a : a - b; }

/* glibc has made these absolute where it can write them, as in most objects; they lie in the same
   mappings as the list that names them. */
static uintptr_t table_address(const struct link_map *object, uintptr_t value) {
  uintptr_t here = (uintptr_t)object->l_ld, moved = value + object->l_addr;
  return distance(moved, here) < distance(value, here) ? moved : value;
}

static struct symbols symbols_of(const struct link_map *object) {
  struct symbols s = {0};
  for (const ElfW(Dyn) *entry = object->l_ld; entry && entry->d_tag != DT_NULL; entry++) {
    uintptr_t address = table_address(object, entry->d_un.d_ptr);
    switch (entry->d_tag) {
    case DT_SYMTAB: s.symbols = (void *)address; break;
    case DT_STRTAB: s.strings = (void *)address; break;
    case DT_GNU_HASH: s.gnu_hash = (void *)address; break;
    case DT_HASH: s.hash = (void *)address; break;
    default: break;
    }
  }
  return s;
}

/* A program that is not position-independent has an entry of its own for what it merely refers to.
 */
static bool is_defined(const struct symbols *s, uint32_t index, const char *name) {
  const ElfW(Sym) *symbol = &s->symbols[index];
  return symbol->st_shndx != SHN_UNDEF && !strcmp(s->strings + symbol->st_name, name);
}

/* The table's form: https://sourceware.org/legacy-ml/binutils/2006-10/msg00377.html */
static bool defines_by_gnu_hash(const struct symbols *s, const char *name) {
  enum { FILTER_BITS = sizeof(ElfW(Addr)) * 8 };
  uint32_t hash = 5381;
  for (const char *c = name; *c; c++) hash = hash * 33 + (unsigned char)*c;
  uint32_t buckets = s->gnu_hash[0], first = s->gnu_hash[1], words = s->gnu_hash[2];
  if (!buckets || !words) return false;
  const ElfW(Addr) *filter = (const void *)(s->gnu_hash + 4);
  ElfW(Addr) word = filter[hash / FILTER_BITS % words];
  if (!(word >> hash % FILTER_BITS & word >> (hash >> s->gnu_hash[3]) % FILTER_BITS & 1))
    return false;
  const uint32_t *bucket = (const void *)(filter + words), *chain = bucket + buckets;
  uint32_t index = bucket[hash % buckets];
  if (!index || index < first) return false;
  for (;; index++) {
    uint32_t other = chain[index - first];
    if ((other | 1) == (hash | 1) && is_defined(s, index, name)) return true;
    if (other & 1) return false; /* the last of its bucket */
  }
}

static bool defines(const struct symbols *s, const char *name) {
  if (!s->symbols || !s->strings) return false;
  if (s->gnu_hash) return defines_by_gnu_hash(s, name);
  for (uint32_t i = 0; s->hash && i < s->hash[1]; i++)
    if (is_defined(s, i, name)) return true;
  return false;
}

/* Does this object define one of the names, be it for others or only for itself? */
static bool defines_family(const struct link_map *object) {
  /* All that makes blocks by itself. Not reallocarray: many programs bring their own for systems
     that lack it, and it calls realloc. */
  static const char *const family[] = {
      "malloc", "free",    "calloc",         "realloc",       "memalign",
      "valloc", "pvalloc", "posix_memalign", "aligned_alloc", "malloc_usable_size"};
  struct symbols symbols = symbols_of(object);
  for (size_t i = 0; i < sizeof family / sizeof *family; i++)
    if (defines(&symbols, family[i])) return true;
  return false;
}

extern HIDDEN ElfW(Dyn) _DYNAMIC[]; /* the linker's: this library's own */

/* Looks at the program and at every library that comes before this one. */
bool libraries_are_ours(void) {
  struct link_map *object = NULL;
  void *program = NEXT(dlopen)(NULL, RTLD_LAZY);
  if (program) dlinfo(program, RTLD_DI_LINKMAP, &object);
  for (; object && object->l_ld != _DYNAMIC && !passive; object = object->l_next)
    passive = defines_family(object);
  if (program) dlclose(program);
  if (WITHOUT(passive)) passive = false;
  return !passive;
}

/* Does libc look at the caller's own search path when it opens a bare name for it? */
static bool has_search_path(void *caller) {
  Dl_info info;
  struct link_map *map = NULL;
  if (!dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) || !map) return true;
  for (const ElfW(Dyn) *entry = map->l_ld; entry && entry->d_tag != DT_NULL; entry++)
    if (entry->d_tag == DT_RUNPATH || entry->d_tag == DT_RPATH) return true;
  return false;
}

bool libraries_behind(void) { return atomic_get(&loaded) != 0; }

void libraries_catch_up(void) {
  if (!__atomic_exchange_n(&loaded, 0, __ATOMIC_SEQ_CST)) return;
  atomic_set(&patched, false);
  libraries_pin();
  if (atomic_get(&patched) && !WITHOUT(pin_late)) pin_all();
  cycle_enable();
}

/* The caller is passed on by a jump instead of a call: nothing of ours runs afterwards, so
   nothing is reclaimed until the tables were looked at. */
static void pass_on(void) {
  if (!options.pin[0] || __atomic_exchange_n(&loaded, 1, __ATOMIC_SEQ_CST)) return;
  cycle_disable();
  background_attention();
}

EXPORT void *dlopen(const char *file, int flags) {
  if (passive) return NEXT(dlopen)(file, flags); /* compiled to a jump, as below */
  if (!WITHOUT(deepbind)) flags &= ~RTLD_DEEPBIND;
  libraries_catch_up();
  if (file &&
      (strchr(file, '$') || (!strchr(file, '/') && has_search_path(__builtin_return_address(0))))) {
    pass_on();
    return NEXT(dlopen)(file, flags); /* compiled to a jump; a test holds it to that */
  }
  void *handle = NEXT(dlopen)(file, flags);
  int error = errno;
  if (handle && file) libraries_pin();
  errno = error;
  return handle;
}
