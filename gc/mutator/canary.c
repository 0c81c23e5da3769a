/* canary.c: see canary.h. */
#include "mutator/canary.h"

#include <limits.h>
#include <string.h>

#include "base/option.h"
#include "heap/random.h"
#include "ports/port.h"

enum {
  SET = 0x80,   /* in the first byte of an entry: it is one */
  LOW_BITS = 7, /* of the slack less one in that byte; the others in the next */
};

_Static_assert(CANARY_MOST == SET << CHAR_BIT, "an entry is two bytes");

static struct {
  struct random_secret secret;
  uint64_t set, clear; /* in each word of the pattern */
} state;

void canary_start(void) {
  random_draw(&state.secret);
  state.set = 0x8080808080808080u;
  state.clear = 0;
  if (!options.strip_high_bits) return;
  /* The top bit is cut off before a word is looked at: its neighbour differs from the heap's. */
  uint64_t neighbours = state.set >> 1;
  if (heap.base >> (PORT_ADDRESS_BITS - 1) & 1) state.clear = neighbours;
  else state.set |= neighbours;
}

/* The eight bytes at an address divisible by eight. */
static uint64_t pattern(uintptr_t address) {
  return (random_mix(&state.secret, address) | state.set) & ~state.clear;
}

/* --- entries -----------------------------------------------------------------------------------
 */

/* Two bytes for the block's first two granules; a cell of one granule has little slack, and one. */
static uint8_t *entry_of(uintptr_t block) {
  return heap.pads + ((block - heap.base) >> GRANULE_SHIFT);
}

static size_t slack_of(const uint8_t *entry, uint8_t first, size_t cell) {
  size_t high = cell > GRANULE ? atomic_get(&entry[1]) : 0;
  size_t slack = ((size_t)(first & (SET - 1)) | high << LOW_BITS) + 1;
  return size_min(slack, cell); /* else two free it at once, and another makes it anew */
}

/* The slack of a block, 0: not known. */
static size_t slack(uintptr_t block, size_t cell) {
  const uint8_t *entry = entry_of(block);
  uint8_t first = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
  return first ? slack_of(entry, first, cell) : 0;
}

/* The same, and from now on it is not known. */
static size_t take_slack(uintptr_t block, size_t cell) {
  uint8_t *entry = entry_of(block);
  uint8_t first = __atomic_exchange_n(entry, 0, __ATOMIC_SEQ_CST);
  if (!first) return 0;
  size_t result = slack_of(entry, first, cell);
  if (cell > GRANULE) atomic_set(&entry[1], 0); /* another cell's first byte, perhaps, one day */
  return result;
}

/* --- the pattern -------------------------------------------------------------------------------
 */

void canary_set(uintptr_t block, size_t cell, size_t request) {
  size_t length = cell - request;
  CHECK(length - 1 < CANARY_MOST);
  uintptr_t at = block + request, end = block + cell;
  size_t skipped = at % sizeof(uint64_t);
  if (skipped) {
    uint64_t word = pattern(at - skipped);
    memcpy((void *)at, (const char *)&word + skipped, sizeof word - skipped);
    at += sizeof word - skipped;
  }
  for (; at < end; at += sizeof(uint64_t)) *(uint64_t *)at = pattern(at);
  uint8_t *entry = entry_of(block);
  if (cell > GRANULE) atomic_set(&entry[1], (uint8_t)((length - 1) >> LOW_BITS));
  __atomic_store_n(entry, (uint8_t)(SET | ((length - 1) & (SET - 1))), __ATOMIC_RELEASE);
}

/* The first byte of [at, end) that is not as it was made; end: all are. */
static uintptr_t first_change(uintptr_t at, uintptr_t end) {
  size_t skipped = at % sizeof(uint64_t);
  for (at -= skipped; at < end; at += sizeof(uint64_t), skipped = 0) {
    uint64_t word = pattern(at), found;
    memcpy(&found, (const void *)at, sizeof found);
    if (found == word) continue;
    for (size_t byte = skipped; byte < sizeof word; byte++)
      if (((const char *)&found)[byte] != ((const char *)&word)[byte]) return at + byte;
  }
  return end;
}

void canary_wipe(uintptr_t block, size_t cell) {
  size_t length = take_slack(block, cell);
  memset((void *)(block + cell - length), 0, length);
}

void canary_move(uintptr_t block, size_t cell, size_t request) {
  canary_wipe(block, cell);
  canary_set(block, cell, request);
}

void canary_forget(uintptr_t block, size_t cell) { take_slack(block, cell); }

size_t canary_request(uintptr_t block, size_t cell) {
  size_t length = slack(block, cell);
  return cell - (length ? length : 1);
}

bool canary_check(uintptr_t block, size_t cell, struct canary_change *change) {
  size_t length = slack(block, cell);
  uintptr_t end = block + cell, at = first_change(end - length, end);
  if (at == end || !take_slack(block, cell)) return true;
  *change = (struct canary_change){.request = cell - length, .at = at - block};
  return false;
}
