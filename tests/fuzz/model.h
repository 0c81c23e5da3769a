/* model.h: what the fuzzed program believes of its blocks, kept where the collector finds nothing.

   A block's address stands in its record as a complement, in memory that the model mapped itself,
   so that the model keeps no block alive: only what the program keeps undisguised does. Every block
   is full of bytes that follow from its number and never look like addresses, and its granules are
   claimed in a map while it is the program's, so that two blocks that overlap are found when the
   second is made. A record belongs to the thread that holds its block. */
#ifndef TESTS_FUZZ_MODEL_H
#define TESTS_FUZZ_MODEL_H

#include "program.h"

enum { RECORDS = 8192, NO_RECORD = 0, LINK = sizeof(void *) };

struct record {
  uintptr_t hidden; /* complement of the address; 0: the record is free */
  size_t size;      /* asked for */
  size_t filled;    /* has known contents and is claimed: size, or the usable size */
  size_t offset;    /* where in the block the pointer points that the program keeps */
  size_t place;     /* where in the block the pointer to `next` lies */
  uint32_t next;    /* the block that this one alone points to; in a free record the next free */
  uint32_t number;  /* decides the contents */
  bool freed;       /* and still kept, under a policy that lets it be */
};

struct record_list {
  uint32_t first;
};

enum policy { TRUST, QUARANTINE, IGNORE };

/* What RECLAIM demands of the library, as far as the model must know it. */
extern struct model {
  struct record *records;
  unsigned char *claims; /* NULL: not asked for, as in a child of fork */
  uintptr_t lowest;      /* address of the first claim */
  bool present;          /* the library is there */
  enum policy policy;
  bool zero;      /* every block is handed out zeroed */
  bool bad_frees; /* are ignored, so that there may be some */
} model;

/* Once, before any thread. lists: so many owners share the records. */
void model_init(struct record_list *lists, unsigned count);

/* Ends the program, and says where it was: see operations.c. */
_Noreturn void finding(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* NO_RECORD: the owner has none left. */
uint32_t record_take(struct record_list *list);
void record_return(struct record_list *list, uint32_t record);

static inline struct record *record_at(uint32_t record) { return &model.records[record]; }
static inline char *record_address(const struct record *record) { return (char *)~record->hidden; }
/* What the program keeps. */
static inline uintptr_t record_pointer(const struct record *record) {
  return ~record->hidden + record->offset;
}

/* A block the library has just handed out: checks alignment, usable size and that nobody else has
   it, then fills it. zero: its contents must be. */
void block_made(struct record *record, void *block, size_t size, size_t alignment, bool zero);
/* The same for one whose first `kept` bytes are the record's. */
void block_resized(struct record *record, void *block, size_t size, size_t kept);
/* Contents, the link included. */
void block_verify(const struct record *record);
/* The program uses all that malloc_usable_size grants it. */
void block_use_all(struct record *record);
/* The pointer to another block comes into this one, or is replaced by its own contents. */
void block_link(struct record *record, uint32_t next, size_t place);
void block_unlink(struct record *record);
/* Nobody else may have it; or from here on anyone. */
void block_claim(const struct record *record);
void block_disclaim(const struct record *record);

#endif
