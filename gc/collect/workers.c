/* workers.c: see workers.h. */
#include "collect/workers.h"

#include <string.h>

#include "base/lock.h"
#include "heap/heap.h"
#include "ports/port.h"

enum { STACK = 64 * 1024, SPINS = 2000, PATIENCE = 10 * 1000 * 1000 /* nanoseconds */ };

uint32_t workers_hunger;

static struct {
  struct lock lock; /* guards the rest, and every change of workers_hunger */
  uint64_t items[WORKERS_POOL];
  size_t count;
  unsigned helpers, hungry; /* hungry: of all who work, the collecting thread included */
  bool over;
  uint32_t event, sleepers; /* event: steps when those who wait should look again */
  char *stacks[WORKERS_MOST];
  uint32_t alive[WORKERS_MOST]; /* cleared by the kernel when the helper has left its stack */
  int tasks;                    /* of the process, before helpers were made */
  void (*run)(unsigned number);
} w;

unsigned workers_prepare(unsigned helpers) {
  unsigned ready = 0;
  helpers = helpers < WORKERS_MOST ? helpers : WORKERS_MOST - 1;
  for (; ready < helpers; ready++)
    if (!w.stacks[ready] && !(w.stacks[ready] = heap_metadata(STACK))) break;
  return ready;
}

static void help(void *number) { w.run((unsigned)(uintptr_t)number); }

unsigned workers_begin(unsigned helpers, void (*run)(unsigned number)) {
  w.helpers = w.hungry = 0;
  w.count = 0;
  w.over = false;
  w.run = run;
  atomic_set(&workers_hunger, 0);
  w.tasks = helpers ? port_count_threads() : 0;
  unsigned made = 0;
  uint64_t mask = helpers ? port_signals_block_faults() : 0; /* no handler shall run in a helper */
  lock_take(&w.lock); /* else a helper might find all those hungry that are there so far */
  while (made < helpers && port_start_helper(help, (void *)(uintptr_t)(made + 1),
                                             w.stacks[made] + STACK, &w.alive[made]) > 0)
    made++;
  w.helpers = made;
  lock_drop(&w.lock);
  if (helpers) port_signals_restore(mask);
  return made;
}

/* Those who wait look again. With the lock. Who goes to sleep counts himself, then looks at the
   event once more; here it is the other way round. */
static void call(void) {
  __atomic_fetch_add(&w.event, 1, __ATOMIC_SEQ_CST);
  if (atomic_get(&w.sleepers)) port_futex_wake(&w.event, INT32_MAX);
}

static void note_hunger(void) {
  uint32_t hunger = w.hungry && !w.count ? WORKERS_HUNGRY : 0;
  atomic_set(&workers_hunger, w.over ? WORKERS_OVER : hunger);
}

void workers_end(void) {
  if (!w.helpers) return;
  lock_take(&w.lock);
  w.over = true;
  w.count = 0;
  note_hunger();
  call();
  lock_drop(&w.lock);
  for (unsigned i = 0; i < w.helpers; i++) port_await_helper(&w.alive[i]);
  w.helpers = 0;
  atomic_set(&workers_hunger, 0);
  /* A moment passes until the kernel no longer counts a task. A program of one thread may need to
     be that for its next call (unshare). */
  uint64_t begin = port_now();
  while (w.tasks > 0 && port_count_threads() > w.tasks && port_now() - begin < PATIENCE)
    port_yield();
}

size_t workers_give(const uint64_t *items, size_t count) {
  lock_take(&w.lock);
  size_t room = w.over ? 0 : WORKERS_POOL - w.count, given = count < room ? count : room;
  memcpy(w.items + w.count, items, given * sizeof *items);
  w.count += given;
  note_hunger();
  if (given) call();
  lock_drop(&w.lock);
  return given;
}

/* With the lock, and again with it. */
static void wait_for_event(void) {
  uint32_t event = w.event;
  lock_drop(&w.lock);
  for (int i = 0; i < SPINS && atomic_get(&w.event) == event; i++) port_cpu_relax();
  if (atomic_get(&w.event) == event) {
    __atomic_fetch_add(&w.sleepers, 1, __ATOMIC_SEQ_CST);
    port_futex_wait(&w.event, event, 0);
    __atomic_fetch_sub(&w.sleepers, 1, __ATOMIC_SEQ_CST);
  }
  lock_take(&w.lock);
}

size_t workers_take(uint64_t *items, size_t room, unsigned number) {
  size_t taken = 0;
  lock_take(&w.lock);
  w.hungry++;
  note_hunger();
  if (number && w.hungry == w.helpers + 1) call(); /* the collecting thread waits for just this */
  while (!w.count && !(number && w.over)) {
    if (!number && w.hungry == w.helpers + 1) break;
    wait_for_event();
  }
  if (w.count) {
    taken = (w.count + w.hungry - 1) / w.hungry;
    if (taken > room) taken = room;
    w.count -= taken;
    memcpy(items, w.items + w.count, taken * sizeof *items);
  }
  w.hungry--;
  note_hunger();
  lock_drop(&w.lock);
  return taken;
}
