/* option.h: what Reclaim can be told, from RECLAIM=name=value,... and reclaim --name=value.
   One table in option.c serves the library's parser, the launcher's parser and its --help.
   Owner: the library parses once at start, before any other thread exists; afterwards `options`
   is only read. Nothing here allocates, prints or looks at the locale. */
#ifndef RECLAIM_OPTION_H
#define RECLAIM_OPTION_H

#include "base/base.h"

#define OPTION_FILE_SIZE 4096 /* PATH_MAX, the final zero included */
#define OPTION_PIN_SIZE 512

enum free_policy { FREE_TRUST, FREE_QUARANTINE, FREE_IGNORE };
enum freed_memory { FREED_ZERO, FREED_FAULT };
enum zero_size_mode { ZERO_SIZE_CELL, ZERO_SIZE_FAULT };
enum error_policy { ERRORS_REPORT, ERRORS_ABORT, ERRORS_IGNORE };
enum mark_order { ORDER_AUTO, ORDER_POINTERS, ORDER_PAGES };
enum kernel_mode { KERNEL_AUTO, KERNEL_BASELINE };
enum check_mode { CHECK_OFF, CHECK_CONDEMN, CHECK_POISON };

struct options {
  bool collect;                  /* off: the heap alone, no cycle ever */
  enum free_policy free_policy;  /* what free() does */
  enum freed_memory freed;       /* what large quarantined blocks are read as */
  bool reclaim;                  /* take back what was never freed */
  bool reclaim_set;              /* `reclaim` was given, not derived from `free` */
  unsigned growth;               /* percent of the live bytes that start the next cycle */
  size_t limit;                  /* bytes the heap should stay under, 0: none */
  unsigned idle;                 /* seconds without work before an idle cycle, 0: never */
  unsigned markers;              /* threads that mark, at most; 0: as many as processors */
  enum mark_order mark_order;    /* in which order small objects are scanned */
  bool zero;                     /* every block handed out is zeroed */
  bool canary;                   /* the slack of blocks is checked */
  bool guard;                    /* a page behind large blocks is closed */
  enum zero_size_mode zero_size; /* what malloc(0) returns */
  bool random;                   /* pages and cells are taken in random order */
  bool huge_pages;               /* the kernel is asked to back the heap by huge pages */
  enum error_policy errors;      /* what follows a bad free() */
  char log[OPTION_FILE_SIZE];    /* file name or "stderr", empty: no log */
  unsigned stride;               /* bytes from one scanned word to the next: 1, 4 or 8 */
  unsigned slop;                 /* a word so many bytes below a block marks it, too */
  bool strip_high_bits;          /* words are looked at without bits that no address has */
  unsigned confirm;              /* cycles in a row that must not reach a leaked block: 1 to 7 */
  bool confirm_set;              /* `confirm` was given, not derived from `free` and `check` */
  char pin[OPTION_PIN_SIZE];     /* LIB+LIB: what these libraries allocate is a root */
  enum kernel_mode kernel;       /* baseline: only what Linux 6.1 has */
  bool inherit;                  /* programs started by exec are collected as well */
  enum check_mode check;         /* oracle for wrong reclaims */
  size_t collect_every;          /* a cycle every so many allocations, 0: off */
  unsigned collect_every_ms;     /* a cycle every so many milliseconds, 0: off */
  unsigned drop_free;            /* percent of the free() calls that are dropped */
};

struct option_description {
  const char *name;
  const char *values;   /* what may be given, as --help and complaints show it */
  const char *fallback; /* the default, in the same form */
  const char *help;     /* one line */
  /* The rest is for the parser alone. */
  uint16_t kind;
  uint16_t offset;    /* of the field in struct options */
  uint64_t low, high; /* numbers only, both allowed */
};

extern HIDDEN struct options options;

/* Is nothing taken back but what the program freed? */
static inline bool options_keep_unfreed(void) {
  return options.free_policy == FREE_QUARANTINE && !options.reclaim;
}

HIDDEN void options_default(struct options *o);

/* Reads "name=value,name=value" over what `o` holds already; the last of two equal names wins.
   A bad entry leaves its option as it was, `complain` (if not NULL) gets one line on it without
   a newline, and reading goes on. True when no entry was bad. Whether `o` was filled by
   options_default or by an earlier call, `reclaim` follows `free` until it is given itself. */
HIDDEN bool options_parse(struct options *o, const char *text,
                          void (*complain)(const char *message, void *context), void *context);

HIDDEN const struct option_description *option_table(size_t *count);

#endif
