/* orphans.c: see orphans.h. */
#include "mutator/orphans.h"

#include "base/lock.h"
#include "heap/page_heap.h"
#include "mutator/large.h"
#include "mutator/pages.h"
#include "ports/port.h"

enum {
  GATHERED = 64,     /* orphans, under one hold of the lock */
  LISTED = 64,       /* orphans with pages of their own, which are all looked at for one: above that
                        what threads leave goes to the pool at once */
  PURGE_CLASSES = 4, /* buffers of so many classes are worth a system call */
  WARM_ORPHANS = 4,  /* that keep the pages they were filling, ... */
  WARM_PAGES = 8,    /* ... so many each at most, until the next cycle */
};

static struct {
  struct lock lock; /* the lists, and the pool's */
  struct mutator *all;
  struct mutator *orphans;
  struct mutator *bare;  /* those whose pages went to the pool */
  struct page_walk walk; /* over the pool's, by the collector */
  unsigned warm;         /* of the orphans */
  unsigned listed;       /* orphans that are not bare */
} state;

static void start_small(struct mutator *mutator) {
  for (uint64_t set = mutator->used; set;) mutator->buffers[next_class(&set)].limit = 0;
}

/* Under the lock. */
static struct mutator *take_orphan(void) {
  struct mutator **list = state.orphans ? &state.orphans : &state.bare, *mutator = *list;
  if (!mutator) return NULL;
  *list = mutator->next_orphan;
  mutator->next_orphan = NULL;
  if (!mutator->bare) atomic_set(&state.listed, state.listed - 1);
  atomic_set(&mutator->bare, 0);
  state.warm -= mutator->warm;
  mutator->warm = 0;
  start_small(mutator);
  return mutator;
}

static struct mutator *new_mutator(void) {
  struct mutator *mutator = heap_metadata(sizeof *mutator);
  if (!mutator) return NULL;
  lock_acquire(&state.lock);
  mutator->next = state.all;
  atomic_set_release(&state.all, mutator);
  lock_release(&state.lock);
  return mutator;
}

struct mutator *mutator_adopt(void) {
  lock_acquire(&state.lock);
  struct mutator *mutator = take_orphan();
  lock_release(&state.lock);
  return mutator ? mutator : new_mutator();
}

static void move_page(struct page *page, struct mutator *to) {
  __atomic_store_n(&page->owner, to, __ATOMIC_RELEASE);
  to->used |= 1ull << page->class;
}

static struct page *take_from_pool(unsigned class) {
  if (!mutator_pool) return NULL;
  pages_drain_returned(mutator_pool);
  struct page *page = pages_dequeue(mutator_pool, class);
  if (page && page == state.walk.last) state.walk.last = NULL;
  return page;
}

struct page *orphans_take_page(struct mutator *mutator, unsigned class) {
  lock_acquire(&state.lock);
  struct page *page = take_from_pool(class);
  for (struct mutator *orphan = state.orphans; orphan && !page; orphan = orphan->next_orphan) {
    pages_drain_returned(orphan);
    page = pages_dequeue(orphan, class);
    if (!page && (page = orphan->current[class])) orphan->current[class] = NULL;
  }
  if (page) {
    page->next = NULL;
    __atomic_store_n(&page->owner, mutator, __ATOMIC_RELEASE);
  }
  lock_release(&state.lock);
  return page;
}

static void unset_current(struct mutator *mutator) {
  for (uint64_t set = mutator->used; set;) {
    unsigned class = next_class(&set);
    struct page *page = mutator->current[class];
    mutator->current[class] = NULL;
    if (page) pages_enqueue(mutator, page);
  }
}

/* Leaves nothing in the buffers, and no page that is current. */
static void empty(struct mutator *mutator) {
  mutator_flush_buffers(mutator);
  unset_current(mutator);
  pages_drain_returned(mutator);
}

/* Hands at most that many pages on; those set aside stay so, and in their order. */
static size_t move_pages(struct mutator *from, struct mutator *to, size_t most) {
  size_t pages = 0;
  struct page *page;
  for (uint64_t set = from->used; set;) {
    unsigned class = next_class(&set);
    struct page *aside = from->sparse[class], *last = NULL;
    from->sparse[class] = NULL;
    for (page = aside; page; last = page, page = page->next, pages++) move_page(page, to);
    if (last) {
      last->next = to->sparse[class];
      to->sparse[class] = aside;
    }
    for (; pages < most && (page = pages_dequeue(from, class)); pages++) {
      move_page(page, to);
      pages_enqueue(to, page);
    }
  }
  return pages < most ? pages : most;
}

_Static_assert(offsetof(struct mutator, buffers) == 0, "mutators begin at kernel pages");

size_t mutator_harvest(struct mutator *from, size_t most) {
  if (from->busy || !mutator_pool) return 0;
  empty(from);
  large_release(from);
  start_small(from);
  lock_acquire(&state.lock);
  size_t pages = move_pages(from, mutator_pool, most);
  lock_release(&state.lock);
  if (count_ones(from->used) >= PURGE_CLASSES)
    port_purge(from,
               sizeof from->buffers / KERNEL_PAGE * KERNEL_PAGE); /* what lies whole in them */
  /* Nothing is left of these, and a look at them may bring memory back: reading costs a page on
     kernels without a page of zeros. */
  if (pages < most) from->used = 0;
  return pages;
}

bool mutator_has_harvest(const struct mutator *mutator) {
  if (atomic_get(&mutator->returned) || large_is_kept(mutator)) return true;
  for (uint64_t set = atomic_get(&mutator->used); set;) {
    unsigned class = next_class(&set);
    if (atomic_get(&mutator->buffers[class].count) || atomic_get(&mutator->current[class]) ||
        atomic_get(&mutator->queue[class].head) || atomic_get(&mutator->sparse[class]))
      return true;
  }
  return false;
}

static void add_orphan(struct mutator *mutator) {
  mutator->next_orphan = state.orphans;
  state.orphans = mutator;
  atomic_set(&state.listed, state.listed + 1);
}

static bool make_pool(void) {
  if (mutator_pool) return true;
  struct mutator *pool = new_mutator();
  lock_acquire(&state.lock);
  if (!mutator_pool) atomic_set_release(&mutator_pool, pool);
  lock_release(&state.lock);
  return mutator_pool != NULL;
}

/* To the pool. */
static void give_all(struct mutator *orphan) {
  pages_drain_returned(orphan);
  move_pages(orphan, mutator_pool, SIZE_MAX);
  orphan->used = 0;
}

static void add_bare(struct mutator *orphan) {
  give_all(orphan);
  atomic_set(&orphan->bare, 1);
  orphan->next_orphan = state.bare;
  state.bare = orphan;
}

/* What some orphans have goes to the pool. False: there are others. */
static bool gather(void) {
  lock_acquire(&state.lock);
  for (unsigned i = 0; i < GATHERED && state.orphans; i++) {
    struct mutator *orphan = take_orphan();
    unset_current(orphan);
    add_bare(orphan);
  }
  bool all = !state.orphans;
  lock_release(&state.lock);
  return all;
}

/* What came back to one of them while it became bare. */
static void gather_returned(void) {
  for (struct mutator *m = atomic_get_acquire(&state.all); m; m = m->next) {
    if (!atomic_get(&m->bare) || !atomic_get(&m->returned)) continue;
    lock_acquire(&state.lock);
    if (m->bare) give_all(m);
    lock_release(&state.lock);
  }
}

/* A page at a time: a thread whose pages were just taken comes back for one of each class, and
   would begin fresh ones if what it left were out of its reach meanwhile. */
static void trim_pool(unsigned class) {
  lock_acquire(&state.lock);
  state.walk = (struct page_walk){.class = class};
  while (pages_trim_find(mutator_pool, &state.walk)) {
    struct page *page = state.walk.found;
    if (page) __atomic_store_n(&page->owner, NULL, __ATOMIC_RELEASE); /* in no list, see fork */
    bool wanted = lock_is_wanted(&state.lock);
    lock_release(&state.lock);
    if (wanted) port_yield();
    if (page) page = pages_trim_found(&state.walk); /* a system call or some */
    lock_acquire(&state.lock);
    if (!page) continue;
    move_page(page, mutator_pool);
    pages_trim_keep(mutator_pool, &state.walk, page);
  }
  lock_release(&state.lock);
}

void mutator_bequeath(void) {
  if (!make_pool()) return;
  pages_begin();
  while (!gather()) continue;
  gather_returned();
  lock_acquire(&state.lock);
  pages_drain_returned(mutator_pool);
  uint64_t set = mutator_pool->used;
  lock_release(&state.lock);
  while (set) trim_pool(next_class(&set));
  pages_end();
}

/* Where threads come and go, the next one goes on with the pages of the last: to give them back and
   take them again would cost more than all else that we do for a short thread. */
static bool keep_current(const struct mutator *mutator) {
  unsigned pages = 0;
  for (uint64_t set = mutator->used; set;) {
    const struct page *page = mutator->current[next_class(&set)];
    if (page) pages += page->run;
  }
  if (!pages || pages > WARM_PAGES) return false;
  lock_acquire(&state.lock);
  bool keep = state.warm < WARM_ORPHANS;
  state.warm += keep;
  lock_release(&state.lock);
  return keep;
}

void mutator_orphan(struct mutator *mutator) {
  pages_begin();
  mutator_flush_buffers(mutator);
  mutator->warm = keep_current(mutator);
  if (!mutator->warm) unset_current(mutator);
  mutator_trim(mutator);
  mutator->busy = 0; /* it may have been abandoned in a slow path */
  bool bare = atomic_get(&state.listed) >= LISTED && !mutator->warm && make_pool();
  if (bare) start_small(mutator);
  lock_acquire(&state.lock);
  if (bare) add_bare(mutator);
  else add_orphan(mutator);
  lock_release(&state.lock);
  pages_end();
}

void mutator_ask_to_trim(void) {
  for (struct mutator *m = atomic_get_acquire(&state.all); m; m = m->next)
    atomic_set(&m->trim_due, 1);
}

size_t mutator_buffered_bytes(void) {
  size_t bytes = 0;
  for (struct mutator *m = atomic_get_acquire(&state.all); m; m = m->next)
    for (uint64_t set = atomic_get(&m->used); set;) {
      unsigned class = next_class(&set);
      bytes += (size_t)atomic_get(&m->buffers[class].count) * size_classes[class].size;
    }
  return bytes;
}

/* --- fork
 * ----------------------------------------------------------------------------------------- */

void mutator_fork_lock(void) { lock_acquire(&state.lock); }
void mutator_fork_unlock(void) { lock_release(&state.lock); }

/* Lists the pages of threads that do not exist in this child with one of their mutators. Only while
   no other thread can be here, and the forking one is in the middle of nothing: whoever frees a
   page's cell may just have taken it out of "full", to list it himself. */
static void rescue_lost_pages(struct mutator *const *kept, size_t count) {
  struct mutator *heir = state.orphans;
  if (mutator_pool) pages_drain_returned(mutator_pool);
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++) {
    struct page *page = &heap.pages[i];
    if (!page_begins(page) || page->class == CLASS_LARGE) continue;
    bool mine = false;
    for (size_t k = 0; k < count; k++) mine |= kept[k] && kept[k] == page->owner;
    if (mutator_pool && mutator_pool == page->owner) mine = true;
    if (mine) continue;
    page->full = 0;
    page->owner = heir;
    pages_enqueue(heir, page);
  }
}

/* In the child only the forking thread exists. The others' buffers and queues may have been caught
   half-way through a change: the buffers are dropped, never treated as free (a cell may be both
   in a buffer and free in the bitmap), and the pages are listed anew. Under our lock. */
void mutator_fork_child(struct mutator *const *kept, size_t count) {
  bool lost = false, busy = false;
  for (size_t i = 0; i < count; i++) busy |= kept[i] && kept[i]->busy;
  state.orphans = state.bare = NULL;
  state.warm = state.listed = 0;
  for (struct mutator *m = state.all; m; m = m->next) {
    bool mine = m == mutator_pool; /* its lists are whole, we have its lock */
    for (size_t i = 0; i < count; i++) mine |= kept[i] == m;
    if (mine) continue;
    for (uint64_t set = m->used; set;) {
      unsigned class = next_class(&set);
      m->buffers[class].count = 0;
      m->current[class] = NULL;
      m->queue[class] = (struct page_queue){NULL, NULL};
      m->sparse[class] = NULL;
    }
    m->returned = NULL;
    m->busy = m->warm = m->bare = 0;
    add_orphan(m);
    lost = true;
  }
  if (lost && !busy) rescue_lost_pages(kept, count);
}
