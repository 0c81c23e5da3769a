/* roots.h: hands every place where the program may keep a pointer to the marker.

   Rule 2: what the kernel says is there, not what was tracked: every private page that is present
   or swapped, whatever its protection; so data, bss, TLS, libc's and the loader's own memory,
   foreign heaps, coroutine stacks and the stacks of ended threads need no knowledge here. Left out
   are our own reservation and the unused part of known stacks. Added are the signal frames (all
   registers), stack pointers and alternate stacks, pinned objects, and roots the program named. */
#ifndef RECLAIM_ROOTS_H
#define RECLAIM_ROOTS_H

#include "base/base.h"
#include "ports/port.h"

enum roots_result {
  ROOTS_MARKED,
  ROOTS_OPEN,       /* /proc/self/maps or pagemap cannot be opened */
  ROOTS_TRUNCATED,  /* more mappings than we have room for */
  ROOTS_UNREADABLE, /* memory is there that cannot be read */
  ROOTS_FOREIGN     /* the list of mappings is not of this process's memory */
};

struct roots_counts {
  uint64_t bytes;  /* scanned as roots */
  uint64_t asking; /* nanoseconds spent asking the kernel which pages are present */
  size_t mappings;
  size_t threads; /* the collecting one included */
};

HIDDEN bool roots_init(void);
/* World stopped, mark_begin not yet called: opens the maps. */
HIDDEN enum roots_result roots_open(bool baseline);
HIDDEN struct port_maps *roots_maps(void);
/* Marks from all roots and drains. `spilled` is the collecting thread's stack pointer. */
HIDDEN enum roots_result roots_mark(uintptr_t spilled, struct roots_counts *counts);
HIDDEN void roots_close(void);

/* Roots named by the program (reclaim_add_root). False: out of memory; or not there. */
HIDDEN bool roots_add(uintptr_t begin, size_t size);
HIDDEN bool roots_remove(uintptr_t begin, size_t size);

#endif
