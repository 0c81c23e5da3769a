/* without.c: which remedies (gc/base/remedy.h) the library that the tests build for it leaves out:
   those named in the environment, RECLAIM_WITHOUT=name+name. A name that is none ends the program,
   so that no test leaves out nothing by a slip of the pen. */
#include "base/remedy.h"

#include <string.h>
#include <unistd.h>

static const char *const names[] = {
#define REMEDY_NAME(name) #name,
    REMEDIES(REMEDY_NAME)
#undef REMEDY_NAME
};

static struct {
  bool read;
  bool off[REMEDY_COUNT];
} state;

static void refuse(const char *list) {
  static const char text[] = "RECLAIM_WITHOUT: no such remedy in ";
  if (write(2, text, sizeof text - 1) < 0 || write(2, list, strlen(list)) < 0 ||
      write(2, "\n", 1) < 0)
    _exit(99);
  _exit(99);
}

static void read_list(const char *list) {
  for (const char *at = list; *at != '\0';) {
    size_t length = strcspn(at, "+");
    bool found = false;
    for (size_t i = 0; i < REMEDY_COUNT; i++)
      if (strlen(names[i]) == length && memcmp(names[i], at, length) == 0)
        state.off[i] = found = true;
    if (!found) refuse(list);
    at += length + (at[length] == '+');
  }
}

bool remedy_is_off(enum remedy remedy) {
  if (UNLIKELY(!state.read)) {
    if (environ == NULL) return false; /* libc is not set up yet */
    state.read = true;
    for (char **entry = environ; *entry != NULL; entry++)
      if (strncmp(*entry, "RECLAIM_WITHOUT=", 16) == 0) read_list(*entry + 16);
  }
  return state.off[remedy];
}
