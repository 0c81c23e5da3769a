/* exec.c: exec and collections keep out of each other's way.

   A stop signal that is queued to a thread when another thread execs stays pending across the
   exec, and its default action kills the new program. So each exec announces itself: it waits for
   a running cycle and holds off the next, until the exec fails. The process image replaces
   everything when it succeeds, the announcement included.

   exec is async-signal-safe and stays so: no allocation, argument vectors on the stack. The
   announcement is held by the calling thread alone; nothing else is kept here. */
#include "api/next.h"
#include "api/process.h"
#include "base/remedy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <unistd.h>

/* Runs an exec call between announcement and, since it came back, retraction. */
#define ANNOUNCED(call)                                                                            \
  __extension__({                                                                                  \
    bool announced_ = !WITHOUT(exec_announce) && process_announce();                               \
    int result_ = (call);                                                                          \
    if (announced_) retract();                                                                     \
    result_;                                                                                       \
  })

static void retract(void) {
  int error = errno;

  process_retract();
  errno = error;
}

EXPORT int execve(const char *path, char *const arguments[], char *const environment[]) {
  return ANNOUNCED(NEXT(execve)(path, arguments, environment));
}

EXPORT int execv(const char *path, char *const arguments[]) {
  return ANNOUNCED(NEXT(execv)(path, arguments));
}

EXPORT int execvp(const char *file, char *const arguments[]) {
  return ANNOUNCED(NEXT(execvp)(file, arguments));
}

EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[]) {
  return ANNOUNCED(NEXT(execvpe)(file, arguments, environment));
}

EXPORT int fexecve(int descriptor, char *const arguments[], char *const environment[]) {
  return ANNOUNCED(NEXT(fexecve)(descriptor, arguments, environment));
}

EXPORT int execveat(int directory, const char *path, char *const arguments[],
                    char *const environment[], int flags) {
  return ANNOUNCED(NEXT(execveat)(directory, path, arguments, environment, flags));
}

/* The variadic forms: count the arguments up to the NULL, copy them to the stack. */

static ptrdiff_t count_arguments(va_list list) {
  ptrdiff_t count = 1;

  while (va_arg(list, const char *) != NULL)
    if (++count == INT_MAX) return -1;
  return count;
}

/* Leaves the list just past the NULL, where execle has its environment. */
static void copy_arguments(char **arguments, const char *first, ptrdiff_t count, va_list *list) {
  arguments[0] = (char *)first;
  for (ptrdiff_t i = 1; i <= count; i++) arguments[i] = va_arg(*list, char *);
}

/* `call` sees the vector as `arguments` and the list, for an environment, as `list`. */
#define WITH_ARGUMENTS(first, call)                                                                \
  __extension__({                                                                                  \
    va_list list;                                                                                  \
    int result_ = -1;                                                                              \
    va_start(list, first);                                                                         \
    ptrdiff_t count_ = count_arguments(list);                                                      \
    va_end(list);                                                                                  \
    if (count_ < 0) {                                                                              \
      errno = E2BIG;                                                                               \
    } else {                                                                                       \
      char *arguments[count_ + 1];                                                                 \
      va_start(list, first);                                                                       \
      copy_arguments(arguments, first, count_, &list);                                             \
      result_ = (call);                                                                            \
      va_end(list);                                                                                \
    }                                                                                              \
    result_;                                                                                       \
  })

EXPORT int execl(const char *path, const char *first, ...) {
  return WITH_ARGUMENTS(first, execv(path, arguments));
}

EXPORT int execlp(const char *file, const char *first, ...) {
  return WITH_ARGUMENTS(first, execvp(file, arguments));
}

EXPORT int execle(const char *path, const char *first, ...) {
  return WITH_ARGUMENTS(first, execve(path, arguments, va_arg(list, char **)));
}
