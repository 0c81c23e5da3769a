/* model.c: see model.h. */
#include "model.h"

#include <sys/mman.h>

/* A claim is a byte a granule, for so much of the heap from below. */
enum { GRANULE = 16, BELOW = 64 << 20 };
#define CLAIMED ((size_t)8 << 30)

struct model model;

static void *map(size_t size) {
  void *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

/* The value of the last option of this name, as the library reads them. FUZZ_BELIEF stands for
   RECLAIM, so that a test can give the model a wrong idea of the library. */
static bool option_is(const char *name, const char *value) {
  const char *list = getenv("FUZZ_BELIEF");
  if (list == NULL) list = getenv("RECLAIM");
  bool is = false;
  for (size_t length = strlen(name); list != NULL && *list != '\0';) {
    size_t entry = strcspn(list, ",");
    if (strncmp(list, name, length) == 0 && list[length] == '=')
      is = entry == length + 1 + strlen(value) &&
           strncmp(list + length + 1, value, strlen(value)) == 0;
    list += entry + (list[entry] == ',');
  }
  return is;
}

void model_init(struct record_list *lists, unsigned count) {
  model.records = map(RECORDS * sizeof *model.records);
  for (uint32_t i = NO_RECORD + 1; i < RECORDS; i++) record_return(&lists[i % count], i);
  model.present = collector != NULL;
  if (!model.present) return;
  model.policy = option_is("free", "ignore")       ? IGNORE
                 : option_is("free", "quarantine") ? QUARANTINE
                                                   : TRUST;
  model.zero = option_is("zero", "on");
  model.bad_frees = option_is("errors", "ignore");
  void *volatile first = malloc(1);
  model.lowest = ((uintptr_t)first - BELOW) & ~(uintptr_t)0xfffff;
  free(first);
  model.claims = map(CLAIMED / GRANULE);
}

uint32_t record_take(struct record_list *list) {
  uint32_t record = list->first;
  if (record != NO_RECORD) list->first = record_at(record)->next;
  return record;
}

void record_return(struct record_list *list, uint32_t record) {
  *record_at(record) = (struct record){.next = list->first};
  list->first = record;
}

/* --- contents --- */

/* Bit 7 of every byte is set: no word of it, at whatever step, is an address. */
static uint64_t pattern(uint32_t number, size_t word) {
  uint64_t z = ((uint64_t)number << 32 ^ word) * 0x9e3779b97f4a7c15u;
  return (z ^ z >> 29) | 0x8080808080808080u;
}

static void fill(char *block, size_t from, size_t to, uint32_t number) {
  while (from < to) {
    uint64_t word = pattern(number, from / 8);
    size_t skip = from % 8, length = 8 - skip < to - from ? 8 - skip : to - from;
    if (length == 8) memcpy(block + from, &word, 8);
    else memcpy(block + from, (char *)&word + skip, length);
    from += length;
  }
}

/* The memory of large blocks is given back as they are freed under quarantine: they read as zeros
   then, but for a pointer that was stored since. */
static bool is_emptied(const struct record *record, size_t from, size_t to) {
  enum { LEAST_EMPTIED = (256 << 10) - 4096 };
  if (!record->freed || model.policy != QUARANTINE || record->filled < LEAST_EMPTIED) return false;
  const char *block = record_address(record);
  for (size_t i = from; i < to; i++)
    if (block[i] != 0) return false;
  return true;
}

static void expect(const char *block, size_t from, size_t to, const struct record *record) {
  if (is_emptied(record, from, to)) return;
  while (from < to) {
    uint64_t word = pattern(record->number, from / 8), found;
    size_t skip = from % 8, length = 8 - skip < to - from ? 8 - skip : to - from;
    if (length == 8) {
      memcpy(&found, block + from, 8);
      if (found != word) break;
    } else if (memcmp(block + from, (char *)&word + skip, length) != 0) {
      break;
    }
    from += length;
  }
  if (from < to)
    finding("contents: byte %zu of %zu of the block at %p%s was overwritten", from, record->size,
            (const void *)block, record->freed ? ", freed and kept," : "");
}

static void expect_zero(const char *block, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (block[i] != 0) finding("zero: byte %zu of %zu is %#x", i, size, (unsigned char)block[i]);
}

/* --- claims --- */

static unsigned char *claims_of(const struct record *record, size_t *count) {
  uintptr_t first = ~record->hidden - model.lowest;
  size_t bytes = record->filled > 0 ? record->filled : 1;
  if (first >= CLAIMED || bytes > CLAIMED - first)
    finding("the heap is larger than the map of claims: %#lx", ~record->hidden);
  *count = (bytes + GRANULE - 1) / GRANULE;
  return model.claims + first / GRANULE;
}

void block_claim(const struct record *record) {
  size_t count;
  if (model.claims == NULL) return;
  unsigned char *claims = claims_of(record, &count);
  for (size_t i = 0; i < count; i++)
    if (claims[i] != 0)
      finding("overlap: byte %zu of the new block of %zu at %p belongs to another", i * GRANULE,
              record->size, (void *)record_address(record));
  memset(claims, 0x80 | (record->number & 0x7f), count);
}

void block_disclaim(const struct record *record) {
  size_t count;
  if (model.claims == NULL) return;
  unsigned char *claims = claims_of(record, &count);
  for (size_t i = 0; i < count; i++)
    if (claims[i] != (0x80 | (record->number & 0x7f)))
      finding("overlap: byte %zu of the block of %zu at %p was given to another", i * GRANULE,
              record->size, (void *)record_address(record));
  memset(claims, 0, count);
}

/* --- blocks --- */

static void accept(struct record *record, void *block, size_t size, size_t alignment) {
  if (((uintptr_t)block & (alignment - 1)) != 0)
    finding("alignment: %p is not aligned to %zu", block, alignment);
  size_t usable = malloc_usable_size(block);
  if (usable < size) finding("usable size: %zu of %zu", usable, size);
  record->hidden = ~(uintptr_t)block;
  record->size = record->filled = size;
  block_claim(record);
}

void block_made(struct record *record, void *block, size_t size, size_t alignment, bool zero) {
  static uint32_t numbers;
  record->number = __atomic_add_fetch(&numbers, 1, __ATOMIC_RELAXED);
  record->offset = record->place = 0;
  record->next = NO_RECORD;
  record->freed = false;
  accept(record, block, size, GRANULE > alignment ? GRANULE : alignment);
  if (zero || model.zero) expect_zero(block, size);
  fill(block, 0, size, record->number);
}

void block_resized(struct record *record, void *block, size_t size, size_t kept) {
  accept(record, block, size, GRANULE);
  record->filled = kept;
  block_verify(record);
  record->filled = size;
  fill(block, kept, size, record->number);
}

void block_verify(const struct record *record) {
  const char *block = record_address(record);
  if (record->next == NO_RECORD) {
    expect(block, 0, record->filled, record);
    return;
  }
  uintptr_t link;
  memcpy(&link, block + record->place, LINK);
  bool emptied = link == 0 && is_emptied(record, record->place + LINK, record->filled);
  if (link != record_pointer(record_at(record->next)) && !emptied)
    finding("contents: the pointer at byte %zu of the block of %zu at %p was overwritten",
            record->place, record->size, (const void *)block);
  expect(block, 0, record->place, record);
  expect(block, record->place + LINK, record->filled, record);
}

void block_use_all(struct record *record) {
  char *block = record_address(record);
  size_t usable = malloc_usable_size(block);
  if (usable < record->size) finding("usable size: %zu of %zu", usable, record->size);
  block_disclaim(record);
  fill(block, record->filled, usable, record->number);
  record->filled = usable;
  block_claim(record);
}

void block_link(struct record *record, uint32_t next, size_t place) {
  uintptr_t pointer = record_pointer(record_at(next));
  record->next = next;
  record->place = place;
  memcpy(record_address(record) + place, &pointer, LINK);
}

void block_unlink(struct record *record) {
  bool emptied = is_emptied(record, record->place + LINK, record->filled);
  record->next = NO_RECORD;
  if (emptied) memset(record_address(record) + record->place, 0, LINK);
  else fill(record_address(record), record->place, record->place + LINK, record->number);
}
