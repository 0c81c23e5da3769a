/* foreign.c: see foreign.h.

   libc's allocator makes blocks of four kinds of memory: the program break; mappings of a block's
   own, which its header says; arenas of other threads, aligned by their size; and, where the break
   could not grow or in a second libc (dlmopen, LD_AUDIT), any private anonymous memory. A header
   stands before each: size and flags, and of all but the second kind another one behind, which says
   that this one is in use (glibc, malloc/malloc.c, "malloc_chunk"; unchanged since 2.0 but for the
   flags). What has no such header, libc's own free would abort on, or crash.

   What a thread's stack, a loaded object or a file holds is nobody's block whatever it looks like:
   that is asked first. */
#include "api/foreign.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/next.h"
#include "base/remedy.h"
#include "collect/permit.h"
#include "heap/heap.h"
#include "mutator/thread.h"
#include "ports/port.h"

extern void *__libc_stack_end; /* the loader's */
/* libc's own, for blocks that libc made (callers of __libc_malloc, LD_AUDIT, dlmopen). */
extern void *__libc_malloc(size_t size);
extern void __libc_free(void *block);
extern void *__libc_realloc(void *block, size_t size);

enum {
  IN_USE = 1, /* in a chunk's size: the chunk before it is */
  MAPPED = 2, /* it has a mapping of its own */
  OTHER_ARENA = 4,
  FLAGS = 7,
  LEAST_CHUNK = 32,
  LEAST_NEXT = 16, /* what ends an arena is smaller */
};
#define ARENA ((size_t)64 << 20) /* HEAP_MAX_SIZE, and what an arena's part is aligned to */
#define LARGEST_CHUNK ((size_t)1 << PORT_ADDRESS_BITS)

static size_t libc_usable_size(void *block) { return NEXT(malloc_usable_size)(block); }

static struct {
  /* The loader's own: a program that refers to it by name has a copy that does not change. Its
     version is 2 once there was a second namespace (glibc 2.35). */
  const struct r_debug_extended *namespaces;
  bool libc_allocates;   /* found out; does not end */
  uintptr_t break_begin; /* once it was met */
  struct foreign_allocator libc, other;
  uintptr_t others; /* the namespaces for which `other` was looked up */
} state = {.libc = {__libc_free, __libc_realloc, libc_usable_size}};

void foreign_start(void) { state.namespaces = next_symbol("_r_debug"); }

/* --- loaded objects -----------------------------------------------------------------------------
 */

/* Without a lock (glibc 2.35); what an older one cannot tell, the list of mappings does. */
static bool find_object(uintptr_t address, struct dl_find_object *object) {
  return NEXT(_dl_find_object)((void *)address, object) == 0;
}

static void add_name(const struct dl_find_object *object, struct text *text) {
  const char *name = object->dlfo_link_map->l_name, *slash = strrchr(name, '/');
  text_add(text, !*name ? "the program" : slash ? slash + 1 : name);
}

void foreign_add_place(uintptr_t code, struct text *text) {
  struct dl_find_object object;
  bool found = find_object(code, &object);
  if (found) {
    add_name(&object, text);
    text_add(text, "+");
  }
  text_add_hex(text, found ? code - object.dlfo_link_map->l_addr : code);
}

/* By its program headers: between the parts of an object there may be gaps, which other mappings
   can fill, and behind the program's own data the break begins. */
static bool in_object(uintptr_t address, struct text *what) {
  struct dl_find_object object;
  if (!find_object(address, &object)) return false;
  const ElfW(Ehdr) *header = object.dlfo_map_start;
  if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return false; /* stripped of its header */
  const ElfW(Phdr) *part = (const void *)((const char *)header + header->e_phoff);
  uintptr_t base = object.dlfo_link_map->l_addr;
  for (unsigned i = 0; i < header->e_phnum; i++, part++) {
    if (part->p_type != PT_LOAD || address - base - part->p_vaddr >= part->p_memsz) continue;
    text_add(what, part->p_flags & PF_W ? "in the data of " : "in the read-only part of ");
    add_name(&object, what);
    return true;
  }
  return false;
}

/* --- stacks and our own memory ------------------------------------------------------------------
 */

/* The record of a thread that ended by a raw system call may still be there. */
static bool is_alive(const struct thread *thread, int id) {
  if (thread == self.thread) return true;
  return permit_calls() && port_thread_state(id) != PORT_THREAD_GONE;
}

/* Of main's stack only the part in use is known here; the rest the list of mappings shows. */
static bool on_stack(uintptr_t address, struct text *what) {
  uintptr_t here = (uintptr_t)__builtin_frame_address(0), top = (uintptr_t)__libc_stack_end;
  for (struct thread *thread = thread_first(); thread; thread = thread->next) {
    int id = atomic_get_acquire(&thread->id);
    uintptr_t begin = atomic_get(&thread->stack_begin), end = atomic_get(&thread->stack_end);
    bool main_stack = top >= begin && top < end;
    if (main_stack && thread == self.thread && here >= begin && here < end) begin = here;
    else if (main_stack || id <= 0) continue;
    if (address < begin || address >= end || !is_alive(thread, id)) continue;
    text_add(what, "on the stack of ");
    if (thread == self.thread) {
      text_add(what, "this thread");
    } else {
      text_add(what, "thread ");
      text_add_number(what, (uint64_t)id);
    }
    return true;
  }
  return false;
}

static bool is_ours(uintptr_t address, struct text *what) {
  struct heap_range ranges[HEAP_RANGES];
  size_t count = heap_ranges(ranges);
  for (size_t i = 0; i < count; i++) {
    if (address < ranges[i].begin || address >= ranges[i].end) continue;
    text_add(what, "in the collector's own memory");
    return true;
  }
  return false;
}

/* --- libc's allocator ---------------------------------------------------------------------------
 */

static bool libc_allocates(void) {
  if (atomic_get(&state.libc_allocates)) return true;
  struct mallinfo2 info = NEXT(mallinfo2)();
  if (info.arena + info.hblkhd == 0) return false;
  atomic_set(&state.libc_allocates, true);
  return true;
}

static bool has_namespaces(void) {
  return state.namespaces && state.namespaces->base.r_version > 1;
}

/* Of two or more it cannot be told whose a block is. It is left alone. */
static void keep(void *block) { (void)block; }
static void *keep_size(void *block, size_t size) {
  (void)block, (void)size;
  errno = ENOMEM;
  return NULL;
}
static size_t tell_no_size(void *block) {
  (void)block;
  return 0;
}

static struct foreign_allocator find_other_libc(void) {
  struct foreign_allocator found = {0};
  struct link_map *libc = NULL;
  unsigned count = 0;
  for (const struct r_debug_extended *space = state.namespaces->r_next; space;
       space = space->r_next)
    for (struct link_map *map = space->base.r_map; map; map = map->l_next) {
      const char *name = strrchr(map->l_name, '/');
      if (!name || strcmp(name, "/libc.so.6") != 0) continue;
      libc = map;
      count++;
    }
  if (count == 1) { /* glibc's handles are these maps */
    found.free = (void (*)(void *))dlsym(libc, "free");
    found.realloc = (void *(*)(void *, size_t))dlsym(libc, "realloc");
    found.usable_size = (size_t(*)(void *))dlsym(libc, "malloc_usable_size");
  } else if (count) {
    found = (struct foreign_allocator){keep, keep_size, tell_no_size};
  }
  return found;
}

/* A second libc's, which lives in a namespace of its own. NULL: there is none. Looked up again only
   when a namespace came or went: their lists of objects are the loader's. */
static const struct foreign_allocator *other_libc(void) {
  uintptr_t now = 0;
  if (!has_namespaces()) return NULL;
  for (const struct r_debug_extended *space = state.namespaces->r_next; space;
       space = space->r_next)
    now = now * 31 + (uintptr_t)space->base.r_map;
  if (atomic_get_acquire(&state.others) != now) {
    struct foreign_allocator found = find_other_libc();
    if (!found.free) return NULL; /* its libc may be on its way */
    state.other = found;
    atomic_set_release(&state.others, now);
  }
  return state.other.free && state.other.realloc && state.other.usable_size ? &state.other : NULL;
}

static bool in_break(uintptr_t address) {
  uintptr_t begin = atomic_get(&state.break_begin);
  return begin && address >= begin && address < (uintptr_t)sbrk(0);
}

/* Anonymous, private and writable: what any of the other kinds lies in, too. */
static bool in_plain_memory(uintptr_t address) {
  struct port_mapping mapping;
  int found = port_find_mapping(address, &mapping);
  if (found <= 0) return found < 0;
  if (strcmp(mapping.name, "[heap]") == 0) atomic_set(&state.break_begin, mapping.begin);
  return mapping.kind == PORT_MAPPING_ANONYMOUS && mapping.readable && mapping.writable;
}

/* What begins each part of another thread's arena (malloc/arena.c, "heap_info"). */
static bool in_arena(uintptr_t address) {
  uintptr_t arena[3], begin = address & ~(ARENA - 1); /* its state, the part before, bytes in use */
  return port_peek(begin, arena, sizeof arena) == sizeof arena && arena[0] &&
         arena[0] % GRANULE == 0 && arena[2] <= ARENA && arena[2] % KERNEL_PAGE == 0 &&
         address - begin < arena[2];
}

/* By the header before it, if it is one that libc's free would take. NULL: it is not. */
static const struct foreign_allocator *made_by(uintptr_t address) {
  if (address % GRANULE != 0 || address < GRANULE) return NULL;
  uintptr_t chunk = address - GRANULE, header[2], next;
  if (!permit_calls()) return &state.libc;
  long got = port_peek(chunk, header, sizeof header);
  if (got == PORT_NO_MEMORY) return NULL;
  if (got != sizeof header) return &state.libc; /* not allowed to look */
  size_t size = header[1] & ~(size_t)FLAGS;
  if (size < LEAST_CHUNK || size > LARGEST_CHUNK || size % GRANULE != 0) return NULL;
  if (header[1] & MAPPED) {
    bool whole = (chunk - header[0]) % KERNEL_PAGE == 0 && (header[0] + size) % KERNEL_PAGE == 0;
    return whole ? &state.libc : NULL; /* two words that agree: no accident */
  }
  if (port_peek(chunk + size + sizeof next, &next, sizeof next) != sizeof next) return NULL;
  if (!(next & IN_USE) || (next & ~(size_t)FLAGS) < LEAST_NEXT || next > LARGEST_CHUNK) return NULL;
  if (header[1] & OTHER_ARENA && in_arena(address)) return &state.libc;
  if (in_break(address)) return &state.libc;
  if (!in_plain_memory(address)) return NULL;
  /* A second libc never uses the break (malloc/morecore.c), and the first has mostly no main arena
     elsewhere. Any libc frees into another thread's arena. */
  if (header[1] & OTHER_ARENA || in_break(address)) return &state.libc;
  const struct foreign_allocator *other = other_libc();
  return other ? other : &state.libc;
}

/* --- the answer ---------------------------------------------------------------------------------
 */

static void describe(uintptr_t address, struct text *what) {
  struct port_mapping mapping;
  int found = permit_calls() ? port_find_mapping(address, &mapping) : -1;
  if (found == 0) {
    text_add(what, "in no memory");
  } else if (found > 0 && strcmp(mapping.name, "[stack]") == 0) {
    text_add(what, "on the stack of the main thread");
  } else if (found > 0 && mapping.kind != PORT_MAPPING_ANONYMOUS) {
    text_add(what, "in the mapping ");
    text_add(what, mapping.name);
  } else if (found > 0 && !(mapping.readable && mapping.writable)) {
    text_add(what, "in memory that is closed");
  } else {
    text_add(what, "not a block of any allocator");
  }
}

const struct foreign_allocator *foreign_allocator_of(uintptr_t address, struct text *what) {
  if (is_ours(address, what) || on_stack(address, what) || in_object(address, what)) return NULL;
  if (!WITHOUT(foreign_blocks) && (libc_allocates() || has_namespaces())) {
    const struct foreign_allocator *allocator = made_by(address);
    if (allocator == &state.libc && !libc_allocates()) __libc_free(__libc_malloc(1)); /* begins */
    if (allocator) return allocator;
  }
  describe(address, what);
  return NULL;
}
