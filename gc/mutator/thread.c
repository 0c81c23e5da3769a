/* thread.c: see thread.h. */
#include "mutator/thread.h"

#include "base/lock.h"
#include "base/remedy.h"
#include "heap/page_heap.h"
#include "mutator/orphans.h"
#include "mutator/quarantine.h"
#include "ports/port.h"

static struct {
  struct lock lock;
  struct thread *all;
  uint32_t signal_stacks; /* records with a signal_stack */
  bool gone;              /* records with the id GONE */
} state;

enum { TAKEN = -1, GONE = -2 }; /* ids of records whose threads are being set up, or have ended */

bool thread_instrumented;
bool thread_alternate_stacks;
void (*thread_attached)(void);

static void use(struct mutator *mutator) {
  self.real = mutator;
  COMPILER_BARRIER();
  self.displacement =
      thread_instrumented || !mutator ? 0 : (char *)mutator - (char *)&mutator_fast.dummy;
}

static struct thread *new_record(void) {
  lock_acquire(&state.lock);
  struct thread *thread = state.all;
  while (thread && atomic_get_acquire(&thread->id)) thread = thread->next;
  if (thread) atomic_set(&thread->id, TAKEN);
  lock_release(&state.lock);
  if (thread) return thread;
  thread = heap_metadata(round_up(sizeof *thread, 64));
  if (!thread) return NULL;
  thread->id = TAKEN;
  lock_acquire(&state.lock);
  thread->next = state.all;
  atomic_set_release(&state.all, thread);
  lock_release(&state.lock);
  return thread;
}

enum kind { ALLOCATES, HARDLY_ALLOCATES, BEGINS };

static struct thread *attach(enum kind kind) {
  bool allocates = kind != HARDLY_ALLOCATES;
  struct mutator *mutator = allocates ? mutator_adopt() : NULL;
  if (allocates && !mutator) return NULL;
  struct thread *thread = new_record();
  if (!thread) {
    if (mutator) mutator_orphan(mutator);
    return NULL;
  }
  thread->stack_begin = thread->stack_end = 0;
  thread->nested_stacks = false;
  for (unsigned i = 0; i < HANDLER_LEVELS; i++) {
    thread->levels[i] = NULL;
    thread->interrupted[i] = 0;
  }
  thread->levels[0] = mutator;
  atomic_set(&thread->given_stack, 0);
  thread_set_alternate_stack(thread, kind == BEGINS ? 0 : port_alternate_stack());
  thread->handle = 0;
  atomic_set(&thread->parking, 0);
  int id = port_thread_id();
  struct thread *former = thread_find(id);
  if (former) thread_note_gone(former, id);
  atomic_set_release(&thread->id, id);
  self.level = 0;
  self.thread = thread;
  use(mutator);
  return thread;
}

static struct thread *set_up(enum kind kind) {
  if (self.thread) {
    return self.thread;
  }
  if (self.ended || !self.there) return NULL;
  section_begin(); /* a handler must not attach in the middle of this */
  struct thread *thread = attach(kind);
  section_end();
  if (thread && thread_attached) thread_attached();
  return thread;
}

struct thread *thread_attach(void) {
  return set_up(ALLOCATES);
}

struct thread *thread_attach_new(void) {
  return set_up(BEGINS);
}

struct thread *thread_enroll(void) {
  return set_up(HARDLY_ALLOCATES);
}

static void note_signal_stack(struct thread *thread, size_t size) {
  if (!thread->signal_stack && size) __atomic_fetch_add(&state.signal_stacks, 1, __ATOMIC_SEQ_CST);
  if (thread->signal_stack && !size) __atomic_fetch_sub(&state.signal_stacks, 1, __ATOMIC_SEQ_CST);
  atomic_set(&thread->signal_stack, size);
}

void thread_set_signal_stack(size_t size) {
  struct thread *thread = size ? thread_attach() : self.thread;
  if (thread) note_signal_stack(thread, size);
}

size_t thread_smallest_signal_stack(void) {
  size_t smallest = SIZE_MAX;
  if (!atomic_get(&state.signal_stacks)) return smallest;
  for (struct thread *thread = atomic_get_acquire(&state.all); thread; thread = thread->next) {
    size_t size = atomic_get(&thread->signal_stack);
    if (size) smallest = size_min(smallest, size);
  }
  return smallest;
}

/* Its free() has to ask whose it is. */
static COLD void watch_stack(uintptr_t stack) {
  struct cell cell;
  if (!cell_of(stack, &cell)) return;
  __atomic_fetch_or(&cell.page->hints, HINT_STACK, __ATOMIC_RELAXED);
  page_heap_free_slowly(cell.page);
}

void thread_set_alternate_stack(struct thread *thread, uintptr_t stack) {
  uintptr_t former = thread->alternate_stack;
  if (LIKELY(former == stack)) return;
  atomic_set(&thread_alternate_stacks, true);
  atomic_set(&thread->former_stack, former);
  atomic_set(&thread->alternate_stack, stack);
  if (UNLIKELY(heap_holds(stack)) && !WITHOUT(freed_signal_stack)) watch_stack(stack);
}

bool thread_alternate_stack_in(uintptr_t begin, size_t size) {
  for (struct thread *thread = thread_first(); thread; thread = thread->next)
    if (thread_stack_lies_in(atomic_get(&thread->alternate_stack), begin, size) ||
        thread_stack_lies_in(atomic_get(&thread->former_stack), begin, size))
      return true;
  return false;
}

bool thread_others_stack_in(const struct thread *thread, uintptr_t begin, size_t size) {
  for (struct thread *other = thread_first(); other; other = other->next)
    if (other != thread && thread_stack_lies_in(atomic_get(&other->given_stack), begin, size))
      return true;
  return false;
}

void thread_give_signal_stack(struct thread *thread, uintptr_t stack) {
  enum { LEAST = 2048 }; /* bytes of a stack */
  __atomic_store_n(&thread->given_stack, stack, __ATOMIC_SEQ_CST);
  /* Two threads stopped on one stack would run on with each other's registers. */
  if (stack && !WITHOUT(shared_signal_stack) &&
      thread_others_stack_in(thread, stack - LEAST, 2 * LEAST))
    port_stop_off_stack();
}

static void forget_stacks(struct thread *thread) {
  atomic_set(&thread->alternate_stack, 0);
  atomic_set(&thread->former_stack, 0);
  atomic_set(&thread->given_stack, 0);
}

static void give_up(struct thread *thread) {
  for (unsigned i = 0; i < HANDLER_LEVELS; i++) {
    struct mutator *mutator = thread->levels[i];
    thread->levels[i] = NULL; /* first: a thread that a handler ends in here is buried later */
    COMPILER_BARRIER();
    if (mutator) mutator_orphan(mutator);
  }
  thread->stack_begin = thread->stack_end = thread->handle = 0;
  note_signal_stack(thread, 0);
  forget_stacks(thread);
  atomic_set_release(&thread->id, 0);
}

void thread_detach(void) {
  struct thread *thread = self.thread;
  self.ended = true;
  quarantine_count(0); /* tells the rest */
  if (!thread) return;
  use(NULL);
  self.thread = NULL;
  give_up(thread);
}

void thread_note_gone(struct thread *thread, int id) {
  if (__atomic_compare_exchange_n(&thread->id, &id, GONE, false, __ATOMIC_SEQ_CST,
                                  __ATOMIC_RELAXED))
    atomic_set_release(&state.gone, true);
}

void thread_bury(void) {
  if (!__atomic_exchange_n(&state.gone, false, __ATOMIC_SEQ_CST)) return;
  for (struct thread *thread = atomic_get_acquire(&state.all); thread; thread = thread->next)
    if (atomic_get_acquire(&thread->id) == GONE) give_up(thread);
}

void thread_set_stack(uintptr_t begin, uintptr_t end) {
  struct thread *thread = thread_attach();
  if (!thread) return;
  thread->stack_end = end;
  COMPILER_BARRIER();
  thread->stack_begin = begin;
}

void thread_note_stack(uintptr_t address) {
  struct thread *thread = self.thread;
  if (thread && address >= thread->stack_begin && address < thread->stack_end)
    thread->nested_stacks = true;
}

struct thread *thread_first(void) {
  return atomic_get_acquire(&state.all);
}

struct thread *thread_find(int id) {
  for (struct thread *thread = atomic_get_acquire(&state.all); thread; thread = thread->next)
    if (atomic_get_acquire(&thread->id) == id) return thread;
  return NULL;
}

int thread_list(int *ids, int capacity) {
  int count = 0;
  for (struct thread *thread = atomic_get_acquire(&state.all); thread && count < capacity;
       thread = thread->next) {
    int id = atomic_get_acquire(&thread->id);
    if (id > 0) ids[count++] = id;
  }
  return count;
}

/* The code that was interrupted at `then` is gone when the thread now runs there again or above it
   on one stack: while a handler runs, all else on that stack is below what it interrupted. */
static bool is_gone(const struct thread *thread, uintptr_t then, uintptr_t now) {
  return then <= now && !thread->nested_stacks && then >= thread->stack_begin &&
         now < thread->stack_end;
}

void thread_enter_level(uintptr_t stack_pointer) {
  struct thread *thread = self.thread;
  uint32_t free = HANDLER_LEVELS;
  if (self.level < HANDLER_LEVELS) thread->interrupted[self.level] = stack_pointer;
  for (uint32_t i = HANDLER_LEVELS; i-- > 0;) {
    if (i != self.level && is_gone(thread, thread->interrupted[i], stack_pointer)) {
      thread->interrupted[i] = 0;
      thread->levels[i]->busy = 0; /* what it was doing will never be finished */
    }
    if (!thread->interrupted[i]) free = i;
  }
  struct mutator *mutator = NULL;
  if (free < HANDLER_LEVELS) {
    if (!thread->levels[free]) thread->levels[free] = mutator_adopt();
    mutator = thread->levels[free];
    if (mutator) mutator->busy = 0; /* whoever worked with it has left it by a jump */
  }
  self.level = free;
  use(mutator);
}

void thread_leave_level(struct mutator *real, uint32_t level) {
  if (level < HANDLER_LEVELS) self.thread->interrupted[level] = 0;
  self.level = level;
  use(real);
}

void thread_fork_lock(void) { lock_acquire(&state.lock); }
void thread_fork_unlock(void) { lock_release(&state.lock); }

void thread_fork_child(void) {
  for (struct thread *thread = state.all; thread; thread = thread->next)
    if (thread != self.thread) {
      note_signal_stack(thread, 0);
      forget_stacks(thread);
      thread->handle = 0;
      thread->id = 0;
    }
  if (self.thread) self.thread->id = port_thread_id();
}
