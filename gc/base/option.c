/* option.c: the one table of options and its parser. See option.h. */
#include "base/option.h"
#include "base/text.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

enum kind {
  SWITCH, /* bool: on|off */
  CHOICE, /* enum: the place of the word in `values` */
  DIGIT,  /* unsigned: the one-digit word in `values` itself */
  NUMBER, /* unsigned, low to high */
  SIZE,   /* size_t with a suffix, low to high */
  COUNT,  /* size_t, low to high */
  FILE_NAME,
  LIST /* LIB+LIB, added to what is there */
};

#define PIN_DEFAULT "libfontconfig"
/* What a second look costs and saves, confirm=1, 2 and 3. A program that leaks all it allocates
   (tests/programs/leak, 2 GiB): peak 39, 47 and 50 MB, 77, 137 and 202 cycles, processor time 0.78,
   0.84 and 1.01 s, the single pause as ever. With a fifth of all calls of free() dropped: lua5.4
   peak 302, 359 and 329 MB, processor 6.2, 6.7 and 7.8 s; redis 142 and 165 MB, 9.1 and 9.5 s. A
   program that leaks little pays nothing. A block whose only pointer is hidden 2 ms out of every
   22, with a cycle each 100 ms, was lost in 12, 2 and 0 % of its moments, each 5 ms in 54, 16 and 1
   % (tests/programs/transient, on a machine so busy that the 2 ms were often many more): the second
   look saves most of what can be saved, since in production cycles are further apart than such
   moments are long; a third costs as much again for little.
   A time that must pass as well was left out: the pace of cycles gives one already (32 MiB of
   growth lie between two, or a quarter of that while suspects wait), and a longer one would let a
   fast leak grow by all that it leaks meanwhile. */
#define CONFIRM_DEFAULT 2
#define FIELD(name) .offset = offsetof(struct options, name)

/* The order is that of --help. */
static const struct option_description table[] = {
    {"collect", "on|off", "on", "run collections at all", .kind = SWITCH, FIELD(collect)},
    {"free", "trust|quarantine|ignore", "trust",
     "free() frees at once / when no pointer is left / never", .kind = CHOICE, FIELD(free_policy)},
    {"reclaim", "on|off", "on, off with free=quarantine", "take back what was never freed",
     .kind = SWITCH, FIELD(reclaim)},
    {"confirm", "CYCLES from 1 to 7",
     "2, 1 with free=ignore and check=", "take back what that many collections in a row found lost",
     .kind = NUMBER, FIELD(confirm), .low = 1, .high = 7},
    {"growth", "PERCENT from 1 to 100000", "50", "collect when the heap has grown by so much",
     .kind = NUMBER, FIELD(growth), .low = 1, .high = 100000},
    {"limit", "SIZE like 512M (k, M, G or T), 0 for none", "0",
     "collect before the heap exceeds SIZE", .kind = SIZE, FIELD(limit), .high = SIZE_MAX},
    {"idle", "SECONDS from 0 (never) to 1000000", "10",
     "collect when the program was idle for so long", .kind = NUMBER, FIELD(idle), .high = 1000000},
    {"markers", "NUMBER from 0 (as many as processors) to 16", "0",
     "threads that mark what is in use", .kind = NUMBER, FIELD(markers), .high = 16},
    {"mark-order", "auto|pointers|pages", "auto",
     "small blocks are marked as they are found / page by page", .kind = CHOICE, FIELD(mark_order)},
    {"zero", "on|off", "off", "hand out zeroed blocks only", .kind = SWITCH, FIELD(zero)},
    {"canary", "on|off", "off", "check that nothing was written behind a block", .kind = SWITCH,
     FIELD(canary)},
    {"guard", "on|off", "off", "an inaccessible page behind large blocks", .kind = SWITCH,
     FIELD(guard)},
    {"freed", "zero|fault", "zero", "what a large block is after its free() under quarantine",
     .kind = CHOICE, FIELD(freed)},
    {"zero-size", "cell|fault", "cell",
     "what malloc(0) returns: a cell, or what cannot be accessed", .kind = CHOICE,
     FIELD(zero_size)},
    {"random", "on|off", "off", "hand out blocks in random order", .kind = SWITCH, FIELD(random)},
    {"huge-pages", "on|off", "off", "ask the kernel for huge pages: faster, in more memory",
     .kind = SWITCH, FIELD(huge_pages)},
    {"errors", "report|abort|ignore", "report", "what follows a bad free()", .kind = CHOICE,
     FIELD(errors)},
    {"log", "FILE|stderr", "none", "one line a collection; %p in FILE is the process id",
     .kind = FILE_NAME, FIELD(log)},
    {"stride", "4|8|1", "4", "bytes from one scanned word to the next", .kind = DIGIT,
     FIELD(stride)},
    {"slop", "BYTES from 0 to 4096", "0", "a word so far below a block counts as a pointer to it",
     .kind = NUMBER, FIELD(slop), .high = 4096},
    {"strip-high-bits", "on|off", "off", "find pointers that carry a tag in their top 17 bits",
     .kind = SWITCH, FIELD(strip_high_bits)},
    {"pin", "LIBRARY+LIBRARY...", PIN_DEFAULT, "keep all that these libraries allocate (adds)",
     .kind = LIST, FIELD(pin)},
    {"kernel", "auto|baseline", "auto", "baseline: use only what Linux 6.1 offers", .kind = CHOICE,
     FIELD(kernel)},
    {"inherit", "on|off", "on", "collect in programs started by exec as well", .kind = SWITCH,
     FIELD(inherit)},
    {"check", "off|condemn|poison", "off", "test mode: prove that nothing in use is reclaimed",
     .kind = CHOICE, FIELD(check)},
    {"collect-every", "ALLOCATIONS, 0 for off", "0",
     "test mode: collect once in so many allocations", .kind = COUNT, FIELD(collect_every),
     .high = SIZE_MAX},
    {"collect-every-ms", "MILLISECONDS from 0 (off) to 1000000000", "0",
     "test mode: collect once in so many milliseconds", .kind = NUMBER, FIELD(collect_every_ms),
     .high = 1000000000},
    {"drop-free", "PERCENT from 0 to 100", "0", "test mode: leak by ignoring free() calls",
     .kind = NUMBER, FIELD(drop_free), .high = 100},
};
#define OPTIONS (sizeof table / sizeof table[0])

/* The words of a CHOICE stand in the order of its enum. */
static_assert(FREE_TRUST == 0 && FREE_QUARANTINE == 1 && FREE_IGNORE == 2, "free");
static_assert(FREED_ZERO == 0 && FREED_FAULT == 1, "freed");
static_assert(ZERO_SIZE_CELL == 0 && ZERO_SIZE_FAULT == 1, "zero-size");
static_assert(ORDER_AUTO == 0 && ORDER_POINTERS == 1 && ORDER_PAGES == 2, "mark-order");
static_assert(ERRORS_REPORT == 0 && ERRORS_ABORT == 1 && ERRORS_IGNORE == 2, "errors");
static_assert(KERNEL_AUTO == 0 && KERNEL_BASELINE == 1, "kernel");
static_assert(CHECK_OFF == 0 && CHECK_CONDEMN == 1 && CHECK_POISON == 2, "check");
static_assert(sizeof(enum free_policy) == sizeof(unsigned), "a CHOICE is stored as unsigned");
static_assert(sizeof(struct options) <= UINT16_MAX, "an offset fits its field");
static_assert(OPTIONS == 28, "an option was added: give it a field, a default and a manual entry");

struct options options;

const struct option_description *option_table(size_t *count) {
  *count = OPTIONS;
  return table;
}

void options_default(struct options *o) {
  *o = (struct options){.collect = true,
                        .reclaim = true,
                        .confirm = CONFIRM_DEFAULT,
                        .growth = 50,
                        .idle = 10,
                        .stride = 4,
                        .pin = PIN_DEFAULT,
                        .inherit = true};
}

/* A piece of the text being read; not terminated. */
struct span {
  const char *start;
  size_t length;
};

static bool span_is(struct span s, const char *word, size_t length) {
  return s.length == length && memcmp(s.start, word, length) == 0;
}

static const struct option_description *find(struct span name) {
  for (size_t i = 0; i < OPTIONS; i++)
    if (span_is(name, table[i].name, strlen(table[i].name))) return &table[i];
  return NULL;
}

/* The place of `word` among words separated by '|', or -1. */
static int place_of(struct span word, const char *words) {
  for (int place = 0;; place++) {
    size_t length = strcspn(words, "|");
    if (span_is(word, words, length)) return place;
    if (words[length] == 0) return -1;
    words += length + 1;
  }
}

static bool parse_number(struct span s, bool suffix, uint64_t *result) {
  uint64_t value = 0;
  size_t i = 0;
  for (; i < s.length && s.start[i] >= '0' && s.start[i] <= '9'; i++)
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, (uint64_t)(s.start[i] - '0'), &value))
      return false;
  if (i == 0) return false;
  if (suffix && i + 1 == s.length) {
    unsigned shift;
    switch (s.start[i++]) {
    case 'k':
    case 'K': shift = 10; break;
    case 'm':
    case 'M': shift = 20; break;
    case 'g':
    case 'G': shift = 30; break;
    case 't':
    case 'T': shift = 40; break;
    default: return false;
    }
    if (value > UINT64_MAX >> shift) return false;
    value <<= shift;
  }
  *result = value;
  return i == s.length;
}

static bool append_library(char *list, struct span value) {
  size_t used = strlen(list);
  if (used + 1 + value.length >= OPTION_PIN_SIZE) return false;
  if (used != 0) list[used++] = '+';
  memcpy(list + used, value.start, value.length);
  list[used + value.length] = 0;
  return true;
}

static bool store(struct options *o, const struct option_description *option, struct span value) {
  void *field = (char *)o + option->offset;
  uint64_t number;
  int place;
  switch ((enum kind)option->kind) {
  case SWITCH:
    if ((place = place_of(value, "off|on")) < 0) return false;
    *(bool *)field = place;
    if (field == &o->reclaim) o->reclaim_set = true;
    return true;
  case CHOICE:
    if ((place = place_of(value, option->values)) < 0) return false;
    *(unsigned *)field = (unsigned)place;
    return true;
  case DIGIT:
    if (value.length != 1 || place_of(value, option->values) < 0) return false;
    *(unsigned *)field = (unsigned)(value.start[0] - '0');
    return true;
  case NUMBER:
    if (!parse_number(value, false, &number) || number < option->low || number > option->high)
      return false;
    *(unsigned *)field = (unsigned)number;
    if (field == &o->confirm) o->confirm_set = true;
    return true;
  case SIZE:
  case COUNT:
    if (!parse_number(value, option->kind == SIZE, &number) || number < option->low ||
        number > option->high)
      return false;
    *(size_t *)field = (size_t)number;
    return true;
  case FILE_NAME:
    if (value.length >= OPTION_FILE_SIZE) return false;
    memcpy(field, value.start, value.length);
    ((char *)field)[value.length] = 0;
    return true;
  case LIST: return value.length == 0 || append_library(field, value);
  }
  return false;
}

/* Foreign text: shortened, and without control characters, since it may meet a terminal. */
static void add_foreign(struct text *t, const char *start, size_t length) {
  size_t shown = size_min(length, 80);
  for (size_t i = 0; i < shown; i++) {
    unsigned char c = (unsigned char)start[i];
    text_add_bytes(t, c < ' ' || c == 127 ? "?" : start + i, 1);
  }
  if (shown < length) text_add(t, "...");
}

static void describe_fault(struct text *t, const struct option_description *option,
                           struct span entry, size_t name_length) {
  if (option == NULL) {
    text_add(t, name_length != 0 ? "unknown option \"" : "no option is named in \"");
    add_foreign(t, entry.start, name_length != 0 ? name_length : entry.length);
    text_add(t, "\"; the options are");
    for (size_t i = 0; i < OPTIONS; i++) {
      text_add(t, " ");
      text_add(t, table[i].name);
    }
    return;
  }
  text_add(t, "option ");
  text_add(t, option->name);
  text_add(t, name_length == entry.length ? " has no value; it takes " : " takes ");
  text_add(t, option->values);
  if (name_length < entry.length) {
    text_add(t, ", not \"");
    add_foreign(t, entry.start + name_length + 1, entry.length - name_length - 1);
    text_add(t, "\"");
  }
}

bool options_parse(struct options *o, const char *text,
                   void (*complain)(const char *message, void *context), void *context) {
  bool good = true;
  while (*text != 0) {
    struct span entry = {text, strcspn(text, ",")};
    text += entry.length + (text[entry.length] == ',');
    if (entry.length == 0) continue;
    const char *equals = memchr(entry.start, '=', entry.length);
    size_t name_length = equals != NULL ? (size_t)(equals - entry.start) : entry.length;
    const struct option_description *option = find((struct span){entry.start, name_length});
    if (option != NULL && equals != NULL &&
        store(o, option, (struct span){equals + 1, entry.length - name_length - 1}))
      continue;
    good = false;
    if (complain != NULL) {
      char line[640];
      struct text t = text_in(line, sizeof line - 1);
      describe_fault(&t, option, entry, name_length);
      *t.end = 0;
      complain(line, context);
    }
  }
  if (!o->reclaim_set) o->reclaim = o->free_policy != FREE_QUARANTINE;
  if (!o->confirm_set)
    o->confirm = o->free_policy == FREE_IGNORE || o->check != CHECK_OFF ? 1 : CONFIRM_DEFAULT;
  return good;
}
