/* reclaimed.h: proof that collections run through: what nothing refers to comes back. A program on
   a hazard that would only make the collector give up asks for it when the worst is over, or while
   it lasts; without the library it is always content. */
#ifndef TESTS_RECLAIMED_H
#define TESTS_RECLAIMED_H

#include "program.h"

#include <malloc.h>

enum { DROPPED = 4000, DROPPED_SIZE = 1000 };

PROGRAM_UNUSED static size_t bytes_in_objects(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

PROGRAM_UNUSED NOINLINE static void drop_garbage(void) {
  for (int i = 0; i < DROPPED; i++) memset(malloc(DROPPED_SIZE), 0x33, DROPPED_SIZE);
}

/* By one collection; of garbage an eighth may stay, and other threads may allocate meanwhile. */
PROGRAM_UNUSED static bool garbage_comes_back(void) {
  if (collector == NULL) return true;
  size_t before = bytes_in_objects();
  drop_garbage();
  wipe_stack();
  collect();
  return bytes_in_objects() < before + DROPPED * DROPPED_SIZE / 8;
}

/* A thread may be silent for a moment on a busy machine, and the cycle is then given up. */
PROGRAM_UNUSED static void expect_garbage_back(void) {
  for (int attempt = 0; attempt < 5; attempt++)
    if (garbage_comes_back()) return;
  fail("collections take nothing back");
}

/* How many collections were given up for one reason, NULL: for any. */
PROGRAM_UNUSED static unsigned long given_up(const char *why) {
  uint64_t (*count)(const char *) =
      (uint64_t(*)(const char *))dlsym(RTLD_DEFAULT, "reclaim_given_up");
  return count == NULL ? 0 : count(why);
}

/* Collects in a thread of its own until told to end. */
static volatile bool collections_end;
PROGRAM_UNUSED static void *collect_until_end(void *unused) {
  struct timespec pause = {0, 500000};
  while (!collections_end) {
    collect();
    nanosleep(&pause, NULL);
  }
  return unused;
}

#endif
