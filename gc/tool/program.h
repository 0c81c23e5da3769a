/* program.h: finds the program to run and says beforehand why it could not be collected. */
#ifndef RECLAIM_PROGRAM_H
#define RECLAIM_PROGRAM_H

enum { STATUS_USAGE = 2, STATUS_UNFIT = 126, STATUS_MISSING = 127 };

struct fault {
  int status;         /* exit status, 0: nothing is wrong */
  char message[1024]; /* one line: what, where, what would be right */
};

/* Finds `name` as a shell does: with a slash as it stands, otherwise along PATH. Returns an
   allocated path, or NULL with `fault` filled in. */
char *program_find(const char *name, struct fault *fault);

/* Follows #! lines down to the program that the kernel would start and looks at it. False with
   `fault` filled in when it is known that it cannot run under a preloaded library. A file that is
   neither a script nor ELF passes: the kernel may know more about it. */
_Bool program_inspect(const char *path, struct fault *fault);

#endif
