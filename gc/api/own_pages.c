/* own_pages.c: calls by which a program changes how memory is mapped, which may be that of a block.

   A large block of glibc's has a mapping of its own: programs protect parts of theirs, map files
   over them, keep them from children, and free them like any other; the mapping goes, and all that
   with it. Here its pages serve again. So that it was done is noted, and they are mapped anew when
   the block is freed. Smaller blocks lie among others with glibc, too: who does not undo it before
   the free() crashes there as well. But while they are in use the marker must not fault on them.
   Calls by syscall() are not seen. */
#include <stdarg.h>
#include <sys/types.h>

#include "api/next.h"
#include "api/process.h"
#include "api/signals.h"
#include "base/remedy.h"
#include "heap/page_heap.h"
#include "mutator/thread.h"
#include "ports/port.h"

extern int mprotect(void *address, size_t size, int protection);
extern int pkey_mprotect(void *address, size_t size, int protection, int key);
extern void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
extern int munmap(void *address, size_t size);
extern int madvise(void *address, size_t size, int advice);
extern void *mremap(void *address, size_t old, size_t size, int flags, ...);

static COLD void note_pages(uintptr_t begin, size_t size, uint8_t hint) {
  size_t at = (begin - heap.base) >> HEAP_PAGE_SHIFT, top = atomic_get_acquire(&heap.top);
  size_t last = (begin + size_min(size, heap.size) - 1 - heap.base) >> HEAP_PAGE_SHIFT;
  while (at <= last && at < top) {
    struct page *page = &heap.pages[page_first(at)];
    bool used = page_begins(page);
    if (used && (page->class == CLASS_LARGE || hint == HINT_MAPPED))
      __atomic_fetch_or(&page->hints, hint, __ATOMIC_RELAXED);
    at = used ? size_max(at + 1, page_index(page) + page->run) : at + 1;
  }
  if (hint == HINT_MAPPED) atomic_set(&page_heap_mapped_over, true);
}

static inline void note(const void *address, size_t size, uint8_t hint) {
  if (UNLIKELY(heap_holds((uintptr_t)address)) && size && !WITHOUT(own_pages))
    note_pages((uintptr_t)address, size, hint);
}

EXPORT int mprotect(void *address, size_t size, int protection) {
  note(address, size, HINT_PROTECTED);
  return NEXT(mprotect)(address, size, protection);
}

EXPORT int pkey_mprotect(void *address, size_t size, int protection, int key) {
  note(address, size, HINT_PROTECTED);
  return NEXT(pkey_mprotect)(address, size, protection, key);
}

EXPORT void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
  if (port_map_replaces(flags)) note(address, size, HINT_MAPPED);
  return NEXT(mmap)(address, size, protection, flags, file, offset);
}
ALIAS(mmap64, mmap); /* off_t has 64 bits */

/* Signal stacks in a range that is going, before it goes. */
static void note_signal_stacks(uintptr_t begin, size_t size) {
  const struct thread *thread = self.thread;
  if (process_is_vfork_child()) return;
  if (thread && thread_stack_lies_in(thread->alternate_stack, begin, size)) signal_stack_give_up();
  if (thread_others_stack_in(thread, begin, size)) port_stop_off_stack();
}

EXPORT int munmap(void *address, size_t size) {
  bool stacks = UNLIKELY(atomic_get(&thread_alternate_stacks)) && !WITHOUT(unmapped_signal_stack);
  if (stacks && (uintptr_t)address % KERNEL_PAGE == 0) note_signal_stacks((uintptr_t)address, size);
  note(address, size, HINT_MAPPED);
  return NEXT(munmap)(address, size);
}

EXPORT int madvise(void *address, size_t size, int advice) {
  if (port_advice_on_children(advice)) note(address, size, HINT_MAPPED);
  return NEXT(madvise)(address, size, advice);
}

/* The fifth word counts with MREMAP_FIXED alone; what else a caller left there does no harm. */
EXPORT void *mremap(void *address, size_t old, size_t size, int flags, ...) {
  va_list more;
  va_start(more, flags);
  void *target = va_arg(more, void *);
  va_end(more);
  note(address, old, HINT_MAPPED);
  if (port_remap_replaces(flags)) note(target, size, HINT_MAPPED);
  return NEXT(mremap)(address, old, size, flags, target);
}
