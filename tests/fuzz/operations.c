/* operations.c: see operations.h.

   Each thread has slots. A slot keeps one pointer to a block: to its beginning, into it or one past
   its end; the block may hold the only pointer to a further one, and so on. The words of the slots
   lie in another kind of memory for each thread. Blocks change hands through a table, as arguments
   of threads and as their results. Every operation checks what it touches; now and then a thread
   checks all it has. */
#include "operations.h"

#include "model.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
  LANES = 4,
  SLOTS = 32,
  TABLE = 16,
  OPERATION = 4, /* bytes */
  LOOK_EVERY = 16,
  LOOK_AT_ALL_EVERY = 512,
  MOST_BYTES = 12 << 20, /* that a thread holds */
  LONGEST = 64,          /* blocks in a row */
  LARGE = 1 << 20,       /* bytes: the library may move such a block's pages */
  CHILD_SECONDS = 10
};

struct lane {
  struct record_list records;
  volatile uintptr_t *roots; /* SLOTS words that the collector is to find */
  uint32_t slots[SLOTS];     /* the records of the same blocks */
  const unsigned char *bytes;
  size_t operations, at;
  size_t held; /* bytes */
  unsigned disabled;
  bool drops;
  unsigned count; /* of lanes in this input */
  atomic_int task;
  struct counts counts;
};

static struct {
  struct lane lanes[LANES];
  struct {
    atomic_int full; /* 0: empty, 1: somebody is at it, 2: full */
    uint32_t record;
    volatile uintptr_t root;
  } table[TABLE];
  bool child;
} state;

static __thread struct lane *here;

static collect_function *disable, *enable;

/* --- where it was --- */

size_t operations_where(char *text, size_t size) {
  const struct lane *lane = here;
  if (lane == NULL) return (size_t)snprintf(text, size, "in no operation");
  return (size_t)snprintf(text, size, "operation %zu of thread %d of %u%s", lane->at,
                          (int)(lane - state.lanes), lane->count,
                          state.child ? ", in its fork child" : "");
}

_Noreturn void finding(const char *format, ...) {
  char text[500];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(text, 300, format, list);
  va_end(list);
  if (length > 299) length = 299;
  memcpy(text + length, ": ", 2);
  length += 2 + (int)operations_where(text + length + 2, 150);
  text[length++] = '\n';
  if (write(2, text, (size_t)length) < 0) _exit(2);
  abort();
}

/* --- slots and chains --- */

static void keep(struct lane *lane, unsigned slot, uint32_t record) {
  lane->slots[slot] = record;
  lane->roots[slot] = record == NO_RECORD ? 0 : record_pointer(record_at(record));
}

static void verify_chain(uint32_t record) {
  for (; record != NO_RECORD; record = record_at(record)->next) block_verify(record_at(record));
}

static void verify_slot(struct lane *lane, unsigned slot) {
  uint32_t record = lane->slots[slot];
  if (record == NO_RECORD) return;
  if (lane->roots[slot] != record_pointer(record_at(record)))
    finding("the pointer in slot %u was overwritten", slot);
  verify_chain(record);
}

static void verify_all(struct lane *lane) {
  for (unsigned slot = 0; slot < SLOTS; slot++) verify_slot(lane, slot);
}

static unsigned chain_length(uint32_t record, uint32_t *last) {
  unsigned length = 0;
  for (*last = record; record != NO_RECORD; record = record_at(record)->next, length++)
    *last = record;
  return length;
}

static bool has_room_for_link(const struct record *record) {
  return record->size >= LINK && record->next == NO_RECORD;
}

/* At every step that the collector reads: multiples of four. */
static size_t place_in(const struct record *record, unsigned hint) {
  return hint * 4u % (record->size - LINK + 1) & ~(size_t)3;
}

static void forget(struct lane *lane, uint32_t record) {
  lane->held -= record_at(record)->size < lane->held ? record_at(record)->size : lane->held;
  record_return(&lane->records, record);
}

/* The program gives up a block, which holds no pointer. */
static NOINLINE void give_back(struct lane *lane, uint32_t record) {
  struct record *r = record_at(record);
  block_verify(r);
  block_disclaim(r);
  if (!r->freed || model.bad_frees) free(record_address(r));
  forget(lane, record);
}

static NOINLINE void free_chain(struct lane *lane, uint32_t record) {
  volatile uintptr_t kept = record == NO_RECORD ? 0 : record_pointer(record_at(record));
  while (record != NO_RECORD) {
    uint32_t next = record_at(record)->next;
    volatile uintptr_t following = next == NO_RECORD ? 0 : record_pointer(record_at(next));
    block_verify(record_at(record));
    if (next != NO_RECORD) block_unlink(record_at(record));
    give_back(lane, record);
    kept = following;
    record = next;
  }
  (void)kept;
}

/* The program loses all of a chain, which may bite its own tail. Until this returns the caller has
   the pointer to it. */
static void drop_chain(struct lane *lane, uint32_t record, bool ring) {
  uint32_t last;
  verify_chain(record);
  if (chain_length(record, &last) > 0 && ring && has_room_for_link(record_at(last))) {
    uintptr_t head = record_pointer(record_at(record));
    memcpy(record_address(record_at(last)), &head, LINK);
  }
  while (record != NO_RECORD) {
    uint32_t next = record_at(record)->next;
    block_disclaim(record_at(record));
    lane->counts.dropped += !record_at(record)->freed;
    forget(lane, record);
    record = next;
  }
}

static void end_slot(struct lane *lane, unsigned slot, unsigned how) {
  uint32_t record = lane->slots[slot];
  if (record == NO_RECORD) return;
  volatile uintptr_t kept = lane->roots[slot];
  verify_slot(lane, slot);
  keep(lane, slot, NO_RECORD);
  if (how % 4 == 0) drop_chain(lane, record, how & 4);
  else free_chain(lane, record);
  (void)kept;
}

/* --- what operations are made of: a, b and c are their three bytes --- */

static size_t size_from(unsigned b, unsigned c) {
  switch (b >> 5) {
  case 3: return 16 * (c % 64 + 1) - 2 + (b & 3);           /* about a cell's end */
  case 4: return ((size_t)1024 << (b & 3)) - 18 + (c & 31); /* about a power of two */
  case 5: return (size_t)((b & 31) << 8 | c) * 5;           /* to 40 KB: cells and more */
  case 6: return (size_t)(c % 20 + 1) * 4096 - 2 + (b & 3); /* about a page's end */
  case 7:
    if (c < 200) return 64 * c;
    if (c < 250) return 32768 + (size_t)(c - 200) * 5021 + (b & 31); /* large objects */
    return (1 << 20) + (size_t)(c - 250) * 300000 + (b & 31);        /* moved by pages */
  default: return ((b & 31) << 8 | c) % 400;
  }
}

static size_t alignment_from(unsigned a) {
  return (size_t)1 << (a % 32 == 0 ? 17 : a % 4 == 0 ? 12 + a / 4 % 5 : a % 12);
}

/* A new block takes the slot; what was there ends, or is from now on led to by the block alone. */
static void make(struct lane *lane, unsigned a, unsigned c, void *block, size_t size,
                 size_t alignment, bool zero) {
  unsigned slot = a % SLOTS;
  uint32_t old = lane->slots[slot], last, record;
  volatile uintptr_t kept = (uintptr_t)block; /* until it is in the slot */
  if (block == NULL) finding("no memory for %zu bytes", size);
  record = record_take(&lane->records);
  if (record == NO_RECORD) {
    free(block);
    return;
  }
  block_made(record_at(record), block, size, alignment, zero);
  lane->held += size;
  if (old != NO_RECORD && (a & 0xc0) == 0xc0 && has_room_for_link(record_at(record)) &&
      chain_length(old, &last) < LONGEST) {
    verify_slot(lane, slot);
    block_link(record_at(record), old, place_in(record_at(record), c));
  } else {
    end_slot(lane, slot, a >> 5);
  }
  keep(lane, slot, record);
  (void)kept;
}

static bool may_make(struct lane *lane, unsigned a) {
  if (lane->held <= MOST_BYTES) return true;
  end_slot(lane, a % SLOTS, 1);
  return false;
}

static void op_malloc(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  size_t size = size_from(b, c);
  if (may_make(lane, a)) make(lane, a, c, malloc(size), size, 1, false);
}

static void op_calloc(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  size_t size = size_from(b, c), count = c % 7 + 1;
  if (may_make(lane, a))
    make(lane, a, c, calloc(count, size / count), size / count * count, 1, true);
}

static void op_aligned(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  size_t size = size_from(b, c), alignment = alignment_from(a ^ c);
  void *block = NULL;
  if (!may_make(lane, a)) return;
  switch (c % 5) {
  case 0: block = aligned_alloc(alignment, size); break;
  case 1: block = memalign(alignment, size); break;
  case 2:
    if (alignment < sizeof(void *)) alignment = sizeof(void *);
    if (posix_memalign(&block, alignment, size) != 0) block = NULL;
    break;
  case 3: block = valloc(size), alignment = 4096; break;
  default: block = pvalloc(size), alignment = 4096; size = (size + 4095) & ~(size_t)4095;
  }
  make(lane, a, c, block, size, alignment, false);
}

/* Under a policy that lets a freed block be, the old one may stay with the program, too. */
static void keep_freed(struct lane *lane, uint32_t record, unsigned slot) {
  record_at(record)->freed = true;
  lane->counts.kept++;
  keep(lane, slot, record);
}

static void op_realloc(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS;
  uint32_t record = lane->slots[slot];
  if (record == NO_RECORD || record_at(record)->freed) return;
  struct record *r = record_at(record), old = *r;
  size_t size = size_from(b, c);
  if (old.size >= LARGE && c % 4 != 0) size = old.size + old.size / 8 * (c % 8);
  if (size > old.size && lane->held > MOST_BYTES) return;
  if (old.next != NO_RECORD && size < old.place + LINK) size = old.place + LINK;
  verify_slot(lane, slot);
  block_disclaim(r);
  char *volatile block = record_address(r);
  void *volatile moved = a & 0x40 ? reallocarray(block, 1, size) : realloc(block, size);
  if (size == 0) {
    if (moved != NULL) finding("realloc of 0 bytes frees, but gave %p", moved);
    keep(lane, slot, NO_RECORD);
    forget(lane, record);
    return;
  }
  if (moved == NULL) finding("realloc: no memory for %zu bytes", size);
  lane->held += size;
  lane->held -= old.size < lane->held ? old.size : lane->held;
  r->offset = old.offset <= size ? old.offset : size;
  block_resized(r, moved, size, old.filled < size ? old.filled : size);
  keep(lane, slot, record);
  /* A second look at what it moved from, while that is still known here. */
  unsigned other = b % SLOTS;
  if (moved != block && model.policy != TRUST && other != slot) {
    end_slot(lane, other, b >> 5);
    uint32_t stale = record_take(&lane->records);
    if (stale == NO_RECORD) return;
    *record_at(stale) = old;
    record_at(stale)->offset = 0;
    lane->held += old.size;
    block_claim(record_at(stale));
    keep_freed(lane, stale, other);
    block_verify(record_at(stale));
    if (old.next != NO_RECORD) block_unlink(record_at(stale));
  }
}

static void op_free(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS;
  uint32_t record = lane->slots[slot];
  (void)c;
  if (record == NO_RECORD) return;
  struct record *r = record_at(record);
  if (model.policy != TRUST && r->next == NO_RECORD && !r->freed && (b & 1)) {
    verify_slot(lane, slot);
    free(record_address(r));
    keep_freed(lane, record, slot);
    return;
  }
  if (r->freed) end_slot(lane, slot, 0);
  else end_slot(lane, slot, 1);
}

static void op_drop(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  (void)c;
  end_slot(lane, a % SLOTS, b & 4);
}

/* The program keeps another pointer to the same block. */
static void op_point(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS;
  uint32_t record = lane->slots[slot];
  if (record == NO_RECORD) return;
  struct record *r = record_at(record);
  r->offset = b % 3 == 0 ? 0 : b % 3 == 1 ? r->size : ((size_t)b << 8 | c) % (r->size + 1);
  keep(lane, slot, record);
}

/* The chain of slot b hangs on the end of that of slot a from now on. */
static void op_push(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS, from = b % SLOTS;
  uint32_t last, end, moved = lane->slots[from];
  if (slot == from || moved == NO_RECORD || lane->slots[slot] == NO_RECORD) return;
  if (chain_length(lane->slots[slot], &last) + chain_length(moved, &end) > LONGEST) return;
  if (!has_room_for_link(record_at(last))) return;
  verify_slot(lane, from);
  block_link(record_at(last), moved, place_in(record_at(last), c));
  keep(lane, from, NO_RECORD);
}

/* The first block gives up the rest, and stays, is freed or is lost. */
static void op_pop(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS, to = b % SLOTS;
  uint32_t record = lane->slots[slot];
  if (record == NO_RECORD || record_at(record)->next == NO_RECORD) return;
  verify_slot(lane, slot);
  uint32_t rest = record_at(record)->next;
  if (to != slot && lane->slots[to] == NO_RECORD) {
    keep(lane, to, rest);
    block_unlink(record_at(record));
    return;
  }
  volatile uintptr_t kept = lane->roots[slot];
  keep(lane, slot, rest);
  block_unlink(record_at(record));
  if (c % 2) give_back(lane, record);
  else drop_chain(lane, record, false);
  (void)kept;
}

/* --- between threads --- */

static void op_give(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS, at = b % TABLE;
  uint32_t record = lane->slots[slot], last;
  int empty = 0;
  (void)c;
  if (record == NO_RECORD || !atomic_compare_exchange_strong(&state.table[at].full, &empty, 1))
    return;
  for (last = record; last != NO_RECORD; last = record_at(last)->next) {
    size_t size = record_at(last)->size;
    lane->held -= size < lane->held ? size : lane->held;
  }
  state.table[at].root = lane->roots[slot];
  state.table[at].record = record;
  keep(lane, slot, NO_RECORD);
  atomic_store(&state.table[at].full, 2);
}

static void op_take(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS, at = b % TABLE;
  int full = 2;
  end_slot(lane, slot, c);
  if (!atomic_compare_exchange_strong(&state.table[at].full, &full, 1)) return;
  uint32_t record = state.table[at].record;
  if (state.table[at].root != record_pointer(record_at(record)))
    finding("the pointer in place %u of the table was overwritten", at);
  keep(lane, slot, record);
  state.table[at].root = 0;
  atomic_store(&state.table[at].full, 0);
  for (; record != NO_RECORD; record = record_at(record)->next)
    lane->held += record_at(record)->size;
  verify_slot(lane, slot);
}

struct errand {
  uint32_t record;
  bool free_it, collect_first;
};

static struct errand errands[LANES]; /* no pointer among them */

/* What it is given has no other pointer than its argument, and later its result. */
static void *run_errand(void *pointer) {
  unsigned lane = 0;
  for (; lane < LANES; lane++) {
    uint32_t record = errands[lane].record;
    if (record != NO_RECORD && record_pointer(record_at(record)) == (uintptr_t)pointer) break;
  }
  if (lane == LANES) finding("a thread was given another pointer");
  here = &state.lanes[lane];
  if (errands[lane].collect_first) collect();
  verify_chain(errands[lane].record);
  if (!errands[lane].free_it) return pointer;
  free_chain(here, errands[lane].record);
  errands[lane].record = NO_RECORD;
  return NULL;
}

static void op_thread(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS;
  struct errand *errand = &errands[lane - state.lanes];
  pthread_t thread;
  void *result;
  (void)c;
  if (lane->slots[slot] == NO_RECORD || b % 8 != 0) return;
  *errand = (struct errand){lane->slots[slot], b & 8, b & 16};
  void *argument = (void *)lane->roots[slot];
  CHECK(pthread_create(&thread, NULL, run_errand, argument) == 0);
  keep(lane, slot, NO_RECORD);
  argument = NULL;
  if (b & 32) collect();
  CHECK(pthread_join(thread, &result) == 0);
  if (errand->record == NO_RECORD) return;
  if ((uintptr_t)result != record_pointer(record_at(errand->record)))
    finding("a thread's result is another");
  keep(lane, slot, errand->record);
  errand->record = NO_RECORD;
  verify_slot(lane, slot);
}

/* The child has this thread's blocks, and room for others. */
static void op_fork(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  int status;
  (void)c;
  if (a % 16 != 0) return;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    state.child = true;
    model.claims = NULL; /* what other threads had may be lost here */
    verify_all(lane);
    if (b & 1) collect();
    for (unsigned i = 0; i < 64; i++) {
      void *block = malloc(16 + b * i);
      CHECK(block != NULL);
      memset(block, 0x55, 16 + b * i);
      if (i % 4 != 0) free(block);
    }
    if (b & 2) collect();
    verify_all(lane);
    for (unsigned slot = 0; slot < SLOTS; slot++) end_slot(lane, slot, b >> 2);
    _exit(0);
  }
  double end = seconds_now() + CHILD_SECONDS;
  for (pid_t ended; (ended = waitpid(child, &status, WNOHANG)) != child; usleep(200)) {
    CHECK(ended == 0 || errno == EINTR);
    if (seconds_now() <= end) continue;
    kill(child, SIGKILL);
    finding("the fork child hangs");
  }
  if (status != 0) finding("the fork child ended with status %#x", status);
}

/* --- what must be refused --- */

static void expect_refused(void *block, const char *call) {
  if (block != NULL) finding("%s of more than there can be gave %p", call, block);
  if (errno != ENOMEM) finding("%s of more than there can be: errno %d", call, errno);
}

static void op_refused(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  static const size_t sizes[] = {
      SIZE_MAX,    SIZE_MAX - 15,   SIZE_MAX - 4095, (size_t)PTRDIFF_MAX + 1,
      PTRDIFF_MAX, (size_t)1 << 62, (size_t)1 << 48, SIZE_MAX - 65535};
  volatile size_t size = sizes[c % 8];
  uint32_t record = lane->slots[a % SLOTS];
  void *kept =
      record == NO_RECORD || record_at(record)->freed ? NULL : record_address(record_at(record));
  errno = 0;
  switch (b % 8) {
  case 0: expect_refused(malloc(size), "malloc"); break;
  case 1: expect_refused(calloc(size / 8, 16), "calloc"); break;
  case 2: expect_refused(calloc(size, size), "calloc"); break;
  case 3: expect_refused(memalign(4096, size), "memalign"); break;
  case 4: expect_refused(pvalloc(size), "pvalloc"); break;
  case 5: {
    void *block = &state;
    if (posix_memalign(&block, 64, size) != ENOMEM || block != &state)
      finding("posix_memalign of more than there can be");
    if (posix_memalign(&block, 24, 8) != EINVAL || block != &state)
      finding("posix_memalign to no power of two");
    break;
  }
  case 6: expect_refused(reallocarray(kept, size, 16), "reallocarray"); break;
  default: expect_refused(realloc(kept, size), "realloc");
  }
  if (kept != NULL) verify_slot(lane, a % SLOTS);
}

/* errors=ignore: what is no block is left alone, and what is one is, too. */
static void op_bad(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  static char here_too[16];
  unsigned slot = a % SLOTS;
  uint32_t record = lane->slots[slot];
  if (!model.bad_frees || record == NO_RECORD) return;
  struct record *r = record_at(record);
  char *block = record_address(r);
  char local[16];
  volatile uintptr_t wrong = (uintptr_t)block + 1 + c % (r->size + 1);
  if (r->freed && b % 8 < 4) wrong = (uintptr_t)block; /* once more */
  else if (b % 8 == 7) wrong = (uintptr_t)&local[3] | 1;
  else if (b % 8 == 6) wrong = (uintptr_t)&here_too[3] | 1;
  else if (wrong >= (uintptr_t)block + r->size) return; /* it may be another block's beginning */
  if (b & 8) free((void *)wrong);
  else if (r->freed) return;
  else if (b & 16 && malloc_usable_size((void *)wrong) != 0)
    finding("a usable size within a block");
  else if (realloc((void *)wrong, 100) != NULL) finding("realloc from within a block");
  verify_slot(lane, slot);
}

/* A block freed twice, at once: only where no other thread can have it meanwhile. */
static void op_twice(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS;
  uint32_t record = lane->slots[slot];
  (void)b, (void)c;
  if (!model.bad_frees || record == NO_RECORD || lane->count != 1) return;
  if (record_at(record)->next != NO_RECORD) return;
  char *volatile block = record_address(record_at(record));
  end_slot(lane, slot, 1);
  free(block);
}

/* --- the rest --- */

static void op_use_all(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  uint32_t record = lane->slots[a % SLOTS];
  (void)b, (void)c;
  if (record != NO_RECORD && !record_at(record)->freed) block_use_all(record_at(record));
}

static void op_verify(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  (void)b, (void)c;
  verify_slot(lane, a % SLOTS);
}

static void op_collect(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  (void)c;
  if (b % 4 == 0) wipe_stack();
  if (b % 8 < 5) collect();
  if (a % 2) verify_all(lane);
}

/* For a while the pointer is in a register alone. */
static void op_register(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  unsigned slot = a % SLOTS;
  uintptr_t pointer = lane->roots[slot];
  lane->roots[slot] = 0;
  for (unsigned turns = (b << 8 | c) * 4; turns > 0; turns--) __asm__ volatile("" : "+r"(pointer));
  lane->roots[slot] = pointer;
}

/* A handler lives on the malloc family as well, whatever it interrupts. */
static void handle(int number) {
  static const size_t sizes[] = {1, 16, 100, 1000, 5000, 40000};
  struct record record;
  int error = errno;
  (void)number;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    volatile uintptr_t kept = (uintptr_t)malloc(sizes[i]);
    if (kept == 0) finding("no memory for %zu bytes in a handler", sizes[i]);
    block_made(&record, (void *)kept, sizes[i], 1, false);
    block_verify(&record);
    block_disclaim(&record);
    free((void *)kept);
  }
  errno = error;
}

/* Without the library malloc knows no handlers. */
static void op_signal(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  pid_t task = atomic_load(&state.lanes[a % lane->count].task);
  (void)b, (void)c;
  if (!model.present || task == 0 || state.child) return;
  if (syscall(SYS_tgkill, getpid(), task, SIGRTMIN) != 0) CHECK(errno == ESRCH || errno == EAGAIN);
}

static void op_trim(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  (void)lane, (void)b, (void)c;
  if (a % 4 == 0) malloc_trim(0);
}

static void op_disable(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  (void)b, (void)c;
  if (disable == NULL || lane->disabled >= 3 || a % 16 != 0) return;
  disable();
  lane->disabled++;
}

static void op_enable(struct lane *lane, unsigned a, unsigned b, unsigned c) {
  (void)a, (void)b, (void)c;
  for (; lane->disabled > 0; lane->disabled--) enable();
}

/* As often as it should come: by the first byte of an operation. */
static void (*const operations[64])(struct lane *, unsigned, unsigned, unsigned) = {
    op_malloc,  op_malloc,  op_malloc,  op_malloc,  op_malloc,  op_malloc,  op_malloc,  op_malloc,
    op_malloc,  op_malloc,  op_malloc,  op_malloc,  op_calloc,  op_calloc,  op_calloc,  op_calloc,
    op_realloc, op_realloc, op_realloc, op_realloc, op_realloc, op_aligned, op_aligned, op_aligned,
    op_free,    op_free,    op_free,    op_free,    op_free,    op_free,    op_free,    op_free,
    op_free,    op_free,    op_drop,    op_drop,    op_drop,    op_point,   op_point,   op_point,
    op_push,    op_push,    op_push,    op_pop,     op_pop,     op_give,    op_give,    op_take,
    op_take,    op_bad,     op_bad,     op_twice,   op_use_all, op_use_all, op_verify,  op_refused,
    op_collect, op_trim,    op_fork,    op_thread,  op_disable, op_enable,  op_signal,  op_register,
};

static void run_lane(struct lane *lane) {
  here = lane;
  atomic_store(&lane->task, gettid());
  for (lane->at = 0; lane->at < lane->operations; lane->at++) {
    const unsigned char *o = lane->bytes + lane->at * OPERATION;
    operations[o[0] % 64](lane, o[1], o[2], o[3]);
    if (lane->at % LOOK_EVERY == 0) verify_slot(lane, lane->at / LOOK_EVERY % SLOTS);
    if (lane->at % LOOK_AT_ALL_EVERY == LOOK_AT_ALL_EVERY - 1) verify_all(lane);
  }
  verify_all(lane);
  op_enable(lane, 0, 0, 0);
  for (unsigned slot = 0; slot < SLOTS; slot++) end_slot(lane, slot, lane->drops ? 0 : 1);
  lane->held = 0;
  lane->counts.operations += lane->operations;
  atomic_store(&lane->task, 0);
  here = NULL;
}

/* The words lie in data, on a stack, in a mapping or in a block of the heap, by the lane. */
static NOINLINE void *run_on_stack(void *lane) {
  volatile uintptr_t roots[SLOTS] = {0};
  ((struct lane *)lane)->roots = roots;
  run_lane(lane);
  return NULL;
}

static NOINLINE void *run_in_block(void *lane) {
  volatile uintptr_t *roots = calloc(SLOTS, sizeof *roots);
  CHECK(roots != NULL);
  ((struct lane *)lane)->roots = roots;
  run_lane(lane);
  ((struct lane *)lane)->roots = NULL;
  free((void *)roots);
  return NULL;
}

static NOINLINE void *run_in_place(void *lane) {
  run_lane(lane);
  return NULL;
}

static void *(*const places[LANES])(void *) = {run_in_place, run_on_stack, run_in_place,
                                               run_in_block};

void operations_init(void) {
  static volatile uintptr_t data[SLOTS];
  struct record_list lists[LANES] = {0};
  model_init(lists, LANES);
  for (unsigned i = 0; i < LANES; i++) state.lanes[i].records = lists[i];
  state.lanes[0].roots = data;
  state.lanes[2].roots =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(state.lanes[2].roots != MAP_FAILED);
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGRTMIN, &action, NULL) == 0);
  disable = (collect_function *)dlsym(RTLD_DEFAULT, "reclaim_disable");
  enable = (collect_function *)dlsym(RTLD_DEFAULT, "reclaim_enable");
}

void operations_run(const unsigned char *bytes, size_t size) {
  if (size < 1 + OPERATION) return;
  unsigned count = bytes[0] % LANES + 1;
  size_t each = (size - 1) / OPERATION / count;
  pthread_t threads[LANES];
  for (unsigned i = 0; i < count; i++) {
    struct lane *lane = &state.lanes[i];
    lane->bytes = bytes + 1 + i * each * OPERATION;
    lane->operations = each;
    lane->drops = bytes[0] & 0x10;
    lane->count = count;
  }
  for (unsigned i = 1; i < count; i++)
    CHECK(pthread_create(&threads[i], NULL, places[i], &state.lanes[i]) == 0);
  places[0](&state.lanes[0]);
  for (unsigned i = 1; i < count; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  here = &state.lanes[0];
  for (unsigned i = 0; i < TABLE; i++) op_take(here, 0, i, 1);
  end_slot(here, 0, 1);
  here->held = 0;
  here = NULL;
}

struct counts operations_counts(void) {
  struct counts sum = {0};
  for (unsigned i = 0; i < LANES; i++) {
    sum.operations += state.lanes[i].counts.operations;
    sum.dropped += state.lanes[i].counts.dropped;
    sum.kept += state.lanes[i].counts.kept;
  }
  return sum;
}
