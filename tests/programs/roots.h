/* roots.h: what the programs on roots share: the three blocks, whose addresses the program
   remembers complemented only, and the collections that would give a lost block away (blocks.c);
   and what the files of the program roots share besides. */
#ifndef TESTS_ROOTS_H
#define TESTS_ROOTS_H

#include "program.h"

enum { SIZES = 3 };
extern const size_t sizes[SIZES];
extern uintptr_t hidden[SIZES]; /* the complements of the addresses */

void *make_block(int i);
void verify_block(const void *found, int i);

/* Collects several times, and after each time allocates, overwrites and frees memory of the same
   sizes: a block wrongly taken back is handed out again and loses its contents. */
void collect_often(void);

/* SIZES words of storage that the case provides are given a block each, and checked. */
void store_blocks(void **slots);
void verify_blocks(void **slots);
void use_slots(void **slots); /* store, wipe, collect, verify */

/* A thread that runs body, which stores, then calls hold_until_checked, then verifies. */
void start_and_wait(void *(*body)(void *), void *argument);
void hold_until_checked(void);
void *thread_with_stack_slots(void *unused);

/* The cases of a file, by name. */
struct root_case {
  const char *name;
  void (*run)(void);
};
/* Runs the case of that name and says so; 2 when there is none. Ends the program with 1 or 77 when
   it fails. The exit status. */
int run_case(const struct root_case *cases, const char *name);
extern const struct root_case memory_cases[], thread_cases[], register_cases[];

#endif
