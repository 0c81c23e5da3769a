/* chaos.h: what the files of the program chaos share.

   A chain is a few linked blocks with verifiable contents. An ingredient of the chaos puts the one
   pointer to a chain into a place of its kind, lets time pass (meanwhile), finds the pointer there
   again and verifies the whole chain. Nothing else of the process refers to it but what finished
   calls left on stacks, which meanwhile() overwrites. */
#ifndef TESTS_CHAOS_H
#define TESTS_CHAOS_H

#include "program.h"

struct chain {
  struct chain *next;
  uint32_t size, seed;
  unsigned char bytes[];
};

/* Makes a chain at *place; the seed that it is verified by. */
uint32_t chain_make(struct chain *volatile *place, uint64_t *random);
void chain_verify(struct chain *volatile *place, uint32_t seed, const char *where);
/* Verifies it, clears *place and frees the chain, leaks it (one in eight), or gives it to another
   thread, which will free it. */
void chain_end(struct chain *volatile *place, uint32_t seed, const char *where, uint64_t *random);

/* Overwrites stale stack, then allocates, overwrites and frees, so that blocks wrongly taken back
   are used again; collects now and then. For stacks of 32 KiB and more. */
void meanwhile(uint64_t *random);

/* A fresh generator for a thread or process that `random`'s owner starts. */
uint64_t new_random(uint64_t *random);

/* An EINTR is earned when a handler of the program's has run in the calling thread since the mark,
   or the program's ids have changed. */
unsigned handled_mark(void);
bool handled_since(unsigned mark);
unsigned ids_mark(void);
bool ids_changed_since(unsigned mark);
extern pthread_rwlock_t ids_or_cancellation;

/* Ends the program with a line on what was found wrong, by whom, and how to repeat it. */
_Noreturn void chaos_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define CHAOS_CHECK(condition)                                                                     \
  do {                                                                                             \
    if (!(condition))                                                                              \
      chaos_fail("%s:%d: %s (%s)", __FILE__, __LINE__, #condition, strerror(errno));               \
  } while (0)

/* One of the threads that run ingredients. */
struct actor {
  unsigned number;
  uint64_t random;
};

struct ingredient {
  const char *name;
  void (*run)(struct actor *actor);
};
extern const struct ingredient memory_ingredients[], signal_ingredients[], process_ingredients[],
    thread_ingredients[];

enum { ACTORS = 8 };

/* Before any thread exists. */
void memory_prepare(void);  /* copies of the module, one for each actor */
void signals_prepare(void); /* the handlers */
void memory_clean(void);
void threads_finish(void); /* waits for the detached ones */

/* What a child of the program does after exec: chaos child SEED. */
int process_child(uint64_t seed);

#endif
