/* library.c: looks for libreclaim.so beside the launcher, so that a build tree and an installation
   that was moved work without any setting, then where it was configured to be. */
#include "tool/library.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY_NAME "libreclaim.so.0"

static char *absolute_if_readable(const char *path) {
  return access(path, R_OK) == 0 ? realpath(path, NULL) : NULL;
}

static char *beside_launcher(void) {
  static const char *const places[] = {".libs/", "", "../lib/"};
  char self[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length <= 0) return NULL;
  self[length] = 0;
  char *slash = strrchr(self, '/');
  if (slash == NULL) return NULL;
  slash[1] = 0;
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    char path[PATH_MAX + sizeof LIBRARY_NAME + 8];
    snprintf(path, sizeof path, "%s%s" LIBRARY_NAME, self, places[i]);
    char *found = absolute_if_readable(path);
    if (found != NULL) return found;
  }
  return NULL;
}

char *library_find(struct fault *fault) {
  const char *chosen = getenv("RECLAIM_LIBRARY");
  char *found;
  if (chosen != NULL && *chosen != 0) found = absolute_if_readable(chosen);
  else if ((found = beside_launcher()) == NULL)
    found = absolute_if_readable(LIBRARY_DIRECTORY "/" LIBRARY_NAME);
  fault->status = STATUS_UNFIT;
  if (found == NULL && chosen != NULL && *chosen != 0)
    snprintf(fault->message, sizeof fault->message,
             "RECLAIM_LIBRARY names %s, which cannot be read", chosen);
  else if (found == NULL)
    snprintf(fault->message, sizeof fault->message,
             LIBRARY_NAME " is neither beside this program nor in " LIBRARY_DIRECTORY
                          "; install it, or set RECLAIM_LIBRARY to its path");
  else if (strpbrk(found, " \t:") != NULL) {
    /* ld.so splits LD_PRELOAD at blanks and colons and knows no escape. */
    snprintf(fault->message, sizeof fault->message,
             "%s: LD_PRELOAD cannot hold a path with a blank or a colon; move the library and set "
             "RECLAIM_LIBRARY to its path",
             found);
    free(found);
    found = NULL;
  } else fault->status = 0;
  return found;
}
