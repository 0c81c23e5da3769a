/* world.c: see world.h.

   Memory is in order without more ado: what a thread wrote before its stop, the collector sees by
   the release and acquire of the slot's state or of the parking word; what the collector wrote, the
   thread sees by those of the epoch. ThreadSanitizer cannot follow a stop; tests/programs/chaos.c
   and churn.c do. */
#include "collect/world.h"

#include "base/identity.h"
#include "base/remedy.h"
#include "heap/heap.h"
#include "mutator/thread.h"

enum { ASKED = 1, FILLING = 2, STOPPED = 3 }; /* low bits of a slot's state */
enum {
  CAPACITY = 32768,
  INDEX = 2 * CAPACITY,
  SILENT = 64 /* threads remembered because a signal of ours may still be pending for them */
};
static const uint64_t patience = 400000000;      /* nanoseconds for a thread that could run */
static const uint64_t patience_stuck = 50000000; /* for one that waits in the kernel */

struct index_entry {
  uint32_t epoch;
  struct stopped_thread *slot;
};

enum { NO_SIGNAL = -1, NO_ROOM = -2 }; /* why a thread cannot be asked */

bool world_parking;

static struct {
  struct stopped_thread *slots;
  struct index_entry *index;
  int *ids;
  size_t count, held;
  int process, me; /* of the thread that collects */
  uint32_t epoch;  /* odd while the world is stopped or being stopped; stopped threads wait on it */
  uint32_t answers; /* slots filled in this epoch; the collector waits on it */
  uintptr_t gate;   /* world_set_gate */
  bool ungated; /* no record tells for sure that its thread is parked: nobody is held any more */
  bool foreign_tls;   /* a thread was met that runs with another's, and so with its record */
  int silent[SILENT]; /* ids: asked once, not answered yet. A second signal would be queued behind
                         the first, without end for a thread that blocks it. */
} world;

bool world_init(void) {
  world.slots = heap_metadata(CAPACITY * sizeof *world.slots);
  world.index = heap_metadata(INDEX * sizeof *world.index);
  world.ids = heap_metadata(CAPACITY * sizeof *world.ids);
  return world.slots && world.index && world.ids;
}

static int *find_silent(int id) {
  for (int i = 0; i < SILENT; i++)
    if (atomic_get(&world.silent[i]) == id) return &world.silent[i];
  return NULL;
}

/* Its signal has come: nothing of ours is pending for this thread any more. */
static void no_longer_silent(int id) {
  int *entry = find_silent(id);
  if (entry) __atomic_store_n(entry, 0, __ATOMIC_SEQ_CST);
}

/* A signal of a cycle that was given up came at last: is this thread asked for again? */
static struct stopped_thread *late(int id, uint32_t *epoch) {
  *epoch = atomic_get_acquire(&world.epoch);
  size_t count = atomic_get_acquire(&world.count);
  for (size_t i = 0; i < count; i++)
    if (world.slots[i].id == id) return &world.slots[i];
  return NULL;
}

/* Runs in the stopped thread, all signals blocked. */
static void on_stop(uint64_t value, const struct port_frame *frame) {
  uint32_t epoch = (uint32_t)(value >> 16);
  struct stopped_thread *slot = &world.slots[value & 0xffff];
  int id = port_thread_id();
  atomic_add(&self.stops, 1); /* a raw clone without storage of its own runs with its maker's */
  no_longer_silent(id);
  if (self.thread && atomic_get(&self.thread->id) != id) atomic_set(&world.foreign_tls, true);
  if (WITHOUT(late_signal_epoch)) { /* stops whenever it is told to, until somebody resumes it */
    uint32_t now = atomic_get_acquire(&world.epoch);
    while (now != epoch && atomic_get_acquire(&world.epoch) == now)
      port_futex_wait(&world.epoch, now, 0);
  }
  if (atomic_get_acquire(&world.epoch) != epoch && !(slot = late(id, &epoch))) return;
  uint64_t expected = (uint64_t)epoch << 2 | ASKED;
  if (!__atomic_compare_exchange_n(&slot->state, &expected, (uint64_t)epoch << 2 | FILLING, false,
                                   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
    return;
  no_longer_silent(id); /* the collector may have given this thread up just before */
  slot->frame = *frame;
  slot->handler_stack = (uintptr_t)__builtin_frame_address(0);
  atomic_set_release(&slot->state, (uint64_t)epoch << 2 | STOPPED);
  __atomic_fetch_add(&world.answers, 1, __ATOMIC_RELEASE);
  port_futex_wake(&world.answers, 1);
  while (atomic_get_acquire(&world.epoch) == epoch)
    if (!WITHOUT(stopped_sleep) && !WITHOUT(sleeping_waits))
      port_futex_wait(&world.epoch, epoch, 0);
}

bool world_install(void) { return port_stop_install(on_stop); }

static bool has_stopped(const struct stopped_thread *slot) {
  return (atomic_get_acquire(&slot->state) & 3) == STOPPED;
}

/* Which slot a thread has in this stop: open addressing, emptied by the change of the epoch. */
static struct stopped_thread **find_place(int id) {
  for (size_t at = (size_t)id;; at++) {
    struct index_entry *entry = &world.index[at % INDEX];
    if (entry->epoch != world.epoch) {
      entry->epoch = world.epoch;
      entry->slot = NULL;
    }
    if (!entry->slot || entry->slot->id == id) return &entry->slot;
  }
}

/* A slot for a thread that has none in this stop. 1, 0: it has one already, or NO_ROOM. */
static int take_slot(int id, const struct thread *record, struct stopped_thread **slot) {
  struct stopped_thread **place = find_place(id);
  if (*place) return 0;
  if (world.count == CAPACITY) return NO_ROOM;
  *slot = *place = &world.slots[world.count];
  (*slot)->id = id;
  (*slot)->record = record;
  return 1;
}

/* Shown before the silent are looked up: a late signal then finds its slot, or we send another. */
static void show_slot(struct stopped_thread *slot, unsigned state) {
  atomic_set_release(&slot->state, (uint64_t)world.epoch << 2 | state);
  __atomic_store_n(&world.count, world.count + 1, __ATOMIC_SEQ_CST);
}

static enum port_thread_state state_of(int id) {
  enum port_thread_state state = port_thread_state(id);
  bool unknown = (state == PORT_THREAD_GONE && WITHOUT(exiting_threads)) ||
                 (state == PORT_THREAD_KERNEL && WITHOUT(kernel_workers));
  return unknown ? PORT_THREAD_ALIVE : state;
}

static bool can_answer(enum port_thread_state state) {
  return state == PORT_THREAD_ALIVE || state == PORT_THREAD_STUCK;
}

/* Gives a thread its slot and signals it. 1, 0: it has a slot already or is gone, or one of
   the failures. */
static int ask(int id, struct thread *record) {
  struct stopped_thread *slot;
  int result = take_slot(id, record, &slot);
  if (result != 1) return result;
  uint64_t number = world.count;
  show_slot(slot, ASKED);
  if (find_silent(id)) {
    if (can_answer(state_of(id))) return 1;
    atomic_set(&slot->state, 0);
    return 0;
  }
  result = port_stop_thread(world.process, id, (uint64_t)world.epoch << 16 | number);
  if (result == 0) return 1;
  if (result != -3) return NO_SIGNAL;
  atomic_set(&slot->state, 0); /* ESRCH: gone meanwhile */
  if (record) thread_note_gone(record, id);
  return 0;
}

/* A parked thread has stopped already: what it holds lies above the stack pointer it published. */
static int hold(struct thread *record) {
  struct stopped_thread *slot;
  int result = take_slot(atomic_get_acquire(&record->id), record, &slot);
  if (result != 1) return result;
  slot->frame = (struct port_frame){.stack_pointer = record->parked_stack,
                                    .alternate_stack = record->alternate_stack};
  slot->handler_stack = record->parked_stack;
  show_slot(slot, STOPPED);
  world.held++;
  return 1;
}

static bool may_hold(void) { return world_parking && !world.ungated; }

/* Holds or signals all threads of the registry; the number of new ones, or a failure. Those that
   need a signal first: while they answer the others are held. */
static int ask_registered(void) {
  int fresh = 0;
  for (int holding = !may_hold(); holding < 2; holding++)
    for (struct thread *record = thread_first(); record; record = record->next) {
      int id = atomic_get_acquire(&record->id), result;
      if (id <= 0 || id == world.me) continue;
      if (may_hold() && !holding && parking_is_parked(record)) continue;
      if (may_hold() && parking_hold(record, world.epoch)) result = hold(record);
      else result = ask(id, record);
      if (result < 0) return result;
      fresh += result;
    }
  return fresh;
}

/* The same for the tasks that the kernel lists. */
static int ask_listed(int count) {
  int fresh = 0;
  for (int i = 0; i < count; i++) {
    int result = world.ids[i] == world.me ? 0 : ask(world.ids[i], NULL);
    if (result < 0) return result;
    fresh += result;
  }
  return fresh;
}

static void remember(int id) {
  int *entry = find_silent(id);
  if (!entry) entry = find_silent(0);
  if (!entry) entry = &world.silent[id % SILENT];
  __atomic_store_n(entry, id, __ATOMIC_SEQ_CST);
}

/* Those that the kernel lists for long after they could answer, its own workers and the first
   thread when that has ended, keep our signal: another in each cycle would fill the queue of all
   that this user's processes are sent (RLIMIT_SIGPENDING). */
static void remember_who_stays(int id, enum port_thread_state state) {
  if ((state == PORT_THREAD_KERNEL || id == world.process) && !WITHOUT(one_signal)) remember(id);
}

/* Who is not there any more; another thread may get the number. */
static void forget_who_left(void) {
  for (int i = 0; i < SILENT; i++) {
    int id = atomic_get(&world.silent[i]);
    if (id && !*find_place(id)) no_longer_silent(id);
  }
}

/* Waits until every thread that was asked has stopped or will never run again. */
static bool await(uint64_t begin) {
  size_t first = 0;
  for (int round = 0;; round++) {
    uint32_t answers = atomic_get_acquire(&world.answers);
    while (first < world.count &&
           (has_stopped(&world.slots[first]) || (world.slots[first].state & 3) == 0))
      first++;
    if (first == world.count) return true;
    if (WITHOUT(sleeping_waits)) continue;
    if (round < 20) { /* most answer within microseconds */
      port_futex_wait(&world.answers, answers, 200000);
      continue;
    }
    uint64_t waited = port_now() - begin;
    bool open = false;
    for (size_t i = first; i < world.count; i++) {
      struct stopped_thread *slot = &world.slots[i];
      uint64_t state = atomic_get_acquire(&slot->state);
      if ((state & 3) != ASKED) continue;
      enum port_thread_state thread = state_of(slot->id);
      if (can_answer(thread)) {
        uint64_t limit = thread == PORT_THREAD_STUCK ? patience_stuck : patience;
        if (waited > limit && !WITHOUT(patience)) return false;
        open = true;
      } else {
        uint64_t asked = state;
        remember_who_stays(slot->id, thread);
        __atomic_compare_exchange_n(&slot->state, &asked, 0, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
      }
    }
    if (open) port_futex_wait(&world.answers, answers, 1000000);
  }
}

static void remember_silent(void) {
  for (size_t i = 0; i < world.count; i++) {
    struct stopped_thread *slot = &world.slots[i];
    if ((atomic_get(&slot->state) & 3) != ASKED) continue;
    if (find_silent(slot->id)) { /* once more without an answer: is the signal still on its way? */
      if (!port_stop_pending(slot->id)) no_longer_silent(slot->id);
      continue;
    }
    remember(slot->id);
    /* It may have answered in between; then nothing is pending any more. */
    if ((__atomic_load_n(&slot->state, __ATOMIC_SEQ_CST) & 3) != ASKED) no_longer_silent(slot->id);
  }
}

/* Does every task of the process stand in a slot, stopped? Each of ours is there once, so that
   the kernel's count cannot agree by chance. */
static bool is_whole(void) {
  size_t stopped = 1;
  for (size_t i = 0; i < world.count; i++) stopped += world.slots[i].state != 0;
  return port_count_threads() == (int)stopped;
}

static enum world_result failure(int result) {
  return result == NO_ROOM ? WORLD_COUNT : WORLD_SIGNAL;
}

/* The registry first: when it accounts for all tasks, which is the rule, nothing need be listed.
   Else rounds until nobody new shows: threads may be made while others are asked. */
static enum world_result stop_all(uint64_t begin) {
  for (bool listed = WITHOUT(newcomers), all = false;;) {
    int fresh = WITHOUT(newcomers) ? 0 : ask_registered();
    if (fresh < 0) return failure(fresh);
    if (listed) {
      int before = port_count_threads();
      int count = port_list_threads(world.ids, CAPACITY);
      if (count <= 0) return WORLD_TASKS;
      all = before <= count && port_count_threads() <= count;
      if (WITHOUT(newcomers)) port_futex_wait(&world.answers, 0, 1000000); /* let some be made */
      int more = ask_listed(count);
      if (more < 0) return failure(more);
      fresh += more;
    }
    bool answered = await(begin);
    if (answered && WITHOUT(newcomers)) return WORLD_STOPPED;
    if (!answered || (port_now() - begin > patience && !WITHOUT(patience))) {
      remember_silent();
      return WORLD_TIMEOUT;
    }
    if (is_whole() || (listed && all && fresh == 0)) return WORLD_STOPPED;
    listed = true;
  }
}

static enum world_result try_stop(void) {
  world.count = world.held = 0;
  if (port_count_threads() == 1) {
    __atomic_fetch_add(&world.epoch, 1, __ATOMIC_SEQ_CST);
    return WORLD_STOPPED;
  }
  world.process = port_process_id();
  world.me = port_thread_id();
  atomic_set(&world.answers, 0);
  __atomic_fetch_add(&world.epoch, 1, __ATOMIC_SEQ_CST);
  enum world_result result = stop_all(port_now());
  if (result == WORLD_STOPPED) forget_who_left();
  else world_resume();
  return result;
}

enum world_result world_stop(void) {
  if (!world_install()) return WORLD_SIGNAL;
  size_t smallest = thread_smallest_signal_stack();
  if (smallest != SIZE_MAX && smallest < port_stop_stack() && !WITHOUT(small_stacks))
    return WORLD_SMALL_STACK;
  enum world_result result = try_stop();
  /* Nobody can install a handler any more, so that a look now is final for this stop. A raw clone
     without a TLS of its own could have parked in its creator's name. */
  if (result == WORLD_STOPPED && world.held &&
      ((atomic_get(&world.foreign_tls) && !WITHOUT(own_record)) ||
       (port_handler_beside(world.gate) && !WITHOUT(raw_handlers)))) {
    world.ungated = true;
    world_resume();
    result = try_stop();
  }
  return result;
}

void world_resume(void) {
  __atomic_fetch_add(&world.epoch, 1, __ATOMIC_SEQ_CST);
  port_futex_wake(&world.epoch, INT32_MAX);
}

/* A stop of one thread each. The last stop has just found that no handler passes the gate by. */
void world_visit_parked(bool (*wanted)(const struct thread *thread),
                        void (*visit)(struct thread *thread)) {
  if (!may_hold() || !world.held) return;
  for (struct thread *record = thread_first(); record; record = record->next) {
    if (atomic_get_acquire(&record->id) <= 0 || !parking_is_parked(record) || !wanted(record))
      continue;
    __atomic_fetch_add(&world.epoch, 1, __ATOMIC_SEQ_CST);
    if (parking_hold(record, world.epoch)) visit(record);
    world_resume();
  }
}

void world_bury(void) {
  if (!atomic_get(&world.foreign_tls)) thread_bury();
}

void world_set_gate(uintptr_t gate) { world.gate = gate; }

void world_allow_parking(void) { atomic_set(&world_parking, true); }

void world_unpark(struct thread *thread) {
  uint32_t epoch;
  while (!parking_try_leave(thread, &world.epoch, &epoch)) port_futex_wait(&world.epoch, epoch, 0);
}

void world_admit(void) {
  if (WITHOUT(newcomers)) return;
  __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our record is seen, or we see the stop */
  uint32_t epoch;
  while ((epoch = atomic_get_acquire(&world.epoch)) % 2) {
    if (identity_check() != IDENTITY_SELF) return; /* copied while stopped: nobody will resume it */
    port_futex_wait(&world.epoch, epoch, 0);
  }
}

const struct stopped_thread *world_threads(size_t *count) {
  *count = world.count;
  return world.slots;
}
