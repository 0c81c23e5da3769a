/* held.c: see held.h. */
#include "collect/held.h"

#include "base/lock.h"
#include "heap/heap.h"
#include "ports/port.h"

enum { FIRST_SIZE = 128, PATIENCE = 100 /* looks at a lock that is held for some 30 ns */ };

struct entry {
  uint64_t key;
  uint64_t kind;
  uintptr_t word; /* 0: not in use */
};

struct table {
  size_t size; /* a power of two */
  struct entry entries[];
};

static struct {
  struct lock lock;
  struct table *table;
  size_t count;
} held;

/* Without the signal mask, since the lock is never waited for. */
static bool lock(void) {
  for (int i = 0; i < PATIENCE; i++) {
    if (!atomic_get(&held.lock.state) && lock_take_if_free(&held.lock)) return true;
    port_cpu_relax();
  }
  return false;
}

static size_t home(const struct table *table, uint64_t kind, uint64_t key) {
  uint64_t mixed = (key + kind) * 0x9e3779b97f4a7c15u; /* Fibonacci hashing, TAOCP 3, 6.4 */
  return (size_t)(mixed ^ mixed >> 32) & (table->size - 1);
}

/* The entry of a key, or the free one where it belongs. */
static struct entry *find(struct table *table, uint64_t kind, uint64_t key) {
  for (size_t at = home(table, kind, key);; at = (at + 1) & (table->size - 1)) {
    struct entry *entry = &table->entries[at];
    if (!entry->word || (entry->key == key && entry->kind == kind)) return entry;
  }
}

static void fill(struct entry *entry, uint64_t kind, uint64_t key, uintptr_t word) {
  entry->key = key;
  entry->kind = kind;
  atomic_set_release(&entry->word, word);
}

static bool grow(void) {
  struct table *old = held.table;
  size_t size = old ? old->size * 2 : FIRST_SIZE;
  struct table *table = heap_metadata(sizeof *table + size * sizeof *table->entries);
  if (!table) return false;
  table->size = size;
  for (size_t i = 0; old && i < old->size; i++) {
    const struct entry *entry = &old->entries[i];
    if (entry->word)
      fill(find(table, entry->kind, entry->key), entry->kind, entry->key, entry->word);
  }
  atomic_set_release(&held.table, table);
  return true;
}

/* Closes the gap that an entry leaves, so that no search ends before what lies behind it. */
static void clear(struct table *table, struct entry *entry) {
  size_t mask = table->size - 1, gap = (size_t)(entry - table->entries);
  for (size_t at = (gap + 1) & mask; table->entries[at].word; at = (at + 1) & mask) {
    const struct entry *next = &table->entries[at];
    size_t wanted = home(table, next->kind, next->key);
    if (((at - wanted) & mask) < ((at - gap) & mask)) continue; /* at home behind the gap */
    struct entry copy = *next;
    struct entry *free = &table->entries[gap];
    free->key = copy.key;
    free->kind = copy.kind;
    atomic_set_release(&free->word,
                       copy.word); /* it stands twice until its old place is refilled */
    gap = at;
  }
  atomic_set_release(&table->entries[gap].word, 0);
  atomic_set(&held.count, held.count - 1);
}

bool held_put(enum held_kind kind, uint64_t key, uintptr_t word, uintptr_t *displaced) {
  *displaced = 0;
  if (!word && !atomic_get(&held.count)) return true;
  if (!lock()) return false;
  bool room = !word || (held.table && held.count < held.table->size / 2) || grow();
  if (room) {
    struct entry *entry = find(held.table, kind, key);
    uintptr_t old = entry->word;
    if (old != word) *displaced = old;
    if (!word && old) clear(held.table, entry);
    else if (word) fill(entry, kind, key, word);
    if (word && !old) atomic_set(&held.count, held.count + 1);
  }
  lock_drop(&held.lock);
  return room;
}

uintptr_t held_take(enum held_kind kind, uint64_t key) {
  uintptr_t word;
  return held_put(kind, key, 0, &word) ? word : 0;
}

void held_visit(void (*visit)(uintptr_t word)) {
  const struct table *table = atomic_get_acquire(&held.table);
  for (size_t i = 0; table && i < table->size; i++)
    if (table->entries[i].word) visit(table->entries[i].word);
}

size_t held_count(void) { return atomic_get(&held.count); }

void held_fork_child(void) {
  const struct table *table = held.table;
  held.lock.state = 0;
  held.count = 0; /* its holder may have been about to change it */
  for (size_t i = 0; table && i < table->size; i++) held.count += table->entries[i].word != 0;
}
