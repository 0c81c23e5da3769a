/* reclaim.h: what a program may ask of the collector it runs under.

   All functions are thread-safe. Programs that run with and without Reclaim declare them weak
   and test the address before calling. See reclaim(3). */
#ifndef RECLAIM_H
#define RECLAIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Collects now: a full collection that stops the other threads; returns when it is done and
   everything it found has been given back to the allocator. Waits for a collection that another
   thread runs, and then runs its own. Does nothing while collections are disabled, with
   collect=off, and when the collection has to be given up (see reclaim_stats: skipped). May be
   called from signal handlers whose program installed them through libc. */
void reclaim_collect(void);

/* While disabled no collection starts; the heap grows instead. Nests: as many calls of
   reclaim_enable as of reclaim_disable turn it on again; further ones do nothing. A collection
   that is running when reclaim_disable is called is not interrupted. Async-signal-safe. */
void reclaim_disable(void);
void reclaim_enable(void);

/* Makes [address, address + size) a root: words in it that look like pointers keep what they point
   to. Only needed for memory that the kernel does not show, such as device memory: everything
   the program maps is scanned anyway. The range must stay readable until it is removed. size in
   bytes. 0, or -1 with errno EINVAL (empty range) or ENOMEM (4096 roots exist). Not for signal
   handlers. */
int reclaim_add_root(const void *address, size_t size);
/* Takes back exactly one earlier reclaim_add_root with the same arguments. 0, or -1 with errno
   EINVAL when there is none. */
int reclaim_remove_root(const void *address, size_t size);

/* malloc for a block that will never hold a pointer to another: numbers, text, pixels. Collections
   do not search it, so a large one costs them nothing, and no number in it is taken for an address.
   It is freed, or reclaimed when nothing points to it, and resized as any block is; what realloc
   makes of it is searched no more than it was. size in bytes; the block is the caller's. NULL
   with errno ENOMEM. Where what is known of a block is lost, as when a test mode (check=) found it
   in use after all, it is searched again. Async-signal-safe as malloc is under Reclaim. */
void *reclaim_malloc_leaf(size_t size);

/* Gives the memory of free blocks back to the kernel at once, which otherwise takes up to a second:
   that of all free pages, and of the calling thread's that are partly in use. Returns 1 when
   anything was given back, else 0, as malloc_trim(0). Not for signal handlers. */
int reclaim_trim(void);

struct reclaim_stats {
  uint64_t cycles;          /* collections completed */
  uint64_t skipped;         /* collections given up, see the log for the reasons */
  uint64_t reclaimed_bytes; /* taken back by collections, in all */
  uint64_t reclaimed_objects;
  uint64_t live_bytes;       /* found reachable by the last collection */
  uint64_t heap_bytes;       /* in heap pages that hold objects or wait in buffers */
  uint64_t used_bytes;       /* in objects and cells ready for use in threads' buffers */
  uint64_t free_dirty_bytes; /* in free heap pages not yet given back to the kernel */
  uint64_t reserved_bytes;   /* made usable so far: an upper bound of resident heap memory */
  uint64_t longest_pause_ns; /* from the first stop signal to the resume */
  uint64_t total_pause_ns;
  uint64_t bad_frees; /* calls of free and the like with what is no live object, and overflows
                         that canary=on has found */
};

/* Fills in *stats. `size` is sizeof(struct reclaim_stats) as the program was compiled: a newer
   library fills in no more than that. Figures of one moment, but not of exactly the same one. 0,
   or -1 with errno EINVAL (stats is NULL). Async-signal-safe. */
int reclaim_stats(struct reclaim_stats *stats, size_t size);

/* How many collections were given up for one reason, named as in the log ("timeout"; the table of
   reclaim(1)), or for any reason with NULL. Async-signal-safe. */
uint64_t reclaim_given_up(const char *why);

#ifdef __cplusplus
}
#endif

#endif
