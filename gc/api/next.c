/* next.c: finds the functions that our interposed names hide (next.h).

   The bounds of the record table come from the linker, which defines __start_ and __stop_ for a
   section whose name is a C identifier. */
#include "api/next.h"

#include <dlfcn.h>
#include <errno.h>

extern HIDDEN struct next __start_reclaim_next[];
extern HIDDEN struct next __stop_reclaim_next[];

/* Stands for a function that is missing; callable with any arguments on the ABIs we know. */
static long absent(void) {
  errno = ENOSYS;
  return -1;
}

void *next_symbol(const char *name) {
  int error = errno;
  void *function = dlsym(RTLD_NEXT, name);

  errno = error;
  return function;
}

void *next_resolve(struct next *record) {
  void *function = next_symbol(record->name);

  if (function == NULL) function = (void *)absent;
  atomic_set(&record->function, function);
  return function;
}

void next_resolve_all(void) {
  for (struct next *record = __start_reclaim_next; record < __stop_reclaim_next; record++)
    next_resolve(record);
}
