/* presence.h: which pages of a range hold something, for ports/linux/mappings.c. The world is
   stopped. What is found goes to maps->ranges; maps->copy is worked in. */
#ifndef RECLAIM_PRESENCE_H
#define RECLAIM_PRESENCE_H

#include "ports/port.h"

/* Finds out by which ways the kernel tells: sets maps->scan_works and maps->swapped. After
   maps->pagemap was opened, or could not be. */
HIDDEN void presence_begin(struct port_maps *maps);

/* Fills maps->ranges with stretches of pages in [begin, end) that are present or swapped, or
   where that cannot be told may be; without `files` only what is not an unmodified page of a file.
   Their number; below zero: cannot be told. *stopped says how far it came. Where that is short of
   the end, the next stretch may overlap the last by a page: a word may lie across. */
HIDDEN long presence_list(struct port_maps *maps, uintptr_t begin, uintptr_t end, bool files,
                          uintptr_t *stopped);
/* The same for what is resident, for shared memory in the page cache, whoever's entries point
   there. All of it has to be mapped. */
HIDDEN long presence_list_resident(struct port_maps *maps, uintptr_t begin, uintptr_t end,
                                   uintptr_t *stopped);

/* Does the mapping that begins at `wanted` hold pages that are not in a file and its cache alone:
   anonymous, swapped or huge? By smaps, which every process may open; where it cannot be told it
   does. The time of a look at each page table from the first mapping on. */
HIDDEN bool presence_of_own(struct port_maps *maps, uintptr_t wanted);
/* Is anything swapped, by any process? Where it cannot be told it is. */
HIDDEN bool presence_of_swap(struct port_maps *maps);

#endif
