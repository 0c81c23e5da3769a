/* groups.h: this process's control group (version 2) and those above it, for what in ports/linux
   obeys their limits. */
#ifndef RECLAIM_GROUPS_H
#define RECLAIM_GROUPS_H

#include "ports/port.h"

enum { GROUP_PATH = 1024, GROUP_FILE = 32 };
struct group {
  char path[GROUP_PATH + GROUP_FILE]; /* its directory */
  char *end;                          /* where that ends; a file's name goes there */
};

/* Calls visit with the process's own group first, then with each one above it, down to where they
   are mounted. Not at all where the process is in none, or its place cannot be read. */
HIDDEN void groups_visit(const struct port_groups *where,
                         void (*visit)(struct group *group, void *context), void *context);
/* The beginning of one of the group's files, `size` bytes of it at most; its length, or below
   zero. */
HIDDEN long group_read(struct group *group, const char *file, char *buffer, size_t size);
/* The number at the beginning of one of the group's files; SIZE_MAX for "max", or where there is
   none. */
HIDDEN size_t group_number(struct group *group, const char *file);

#endif
