/* forbidden.c: what a collector must not call while threads are stopped, since one of them may hold
   the lock it takes. This program's own functions stand before libc's (it exports them), and any
   call of them while it collects is an end. forbidden

   pthread_getattr_np opens /proc/self/maps by stdio, which allocates; dl_iterate_phdr waits for
   whoever is inside dlopen; stdio, opendir and the locale have locks of their own. */
#include "program.h"

#include <dirent.h>
#include <link.h>

static volatile bool collecting;

#define FORBID(name)                                                                               \
  do {                                                                                             \
    if (collecting) {                                                                              \
      static const char text[] = name " was called by a collection\n";                             \
      if (write(2, text, sizeof text - 1) < 0) _exit(2);                                           \
      _exit(1);                                                                                    \
    }                                                                                              \
  } while (0)

#define NEXT_OF(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes) {
  FORBID("pthread_getattr_np");
  return NEXT_OF(pthread_getattr_np)(thread, attributes);
}

int dl_iterate_phdr(int (*each)(struct dl_phdr_info *, size_t, void *), void *data) {
  FORBID("dl_iterate_phdr");
  return NEXT_OF(dl_iterate_phdr)(each, data);
}

FILE *fopen(const char *path, const char *mode) {
  FORBID("fopen");
  return NEXT_OF(fopen)(path, mode);
}

ssize_t getline(char **line, size_t *size, FILE *file) {
  FORBID("getline");
  return NEXT_OF(getline)(line, size, file);
}

DIR *opendir(const char *path) {
  FORBID("opendir");
  return NEXT_OF(opendir)(path);
}

int vfprintf(FILE *file, const char *format, va_list list) {
  FORBID("vfprintf");
  return NEXT_OF(vfprintf)(file, format, list);
}

int open(const char *path, int flags, ...) {
  FORBID("open");
  int mode = 0;
  va_list list;
  va_start(list, flags);
  mode = va_arg(list, int);
  va_end(list);
  return NEXT_OF(open)(path, flags, mode);
}

static volatile bool running, ending;

static void *allocate(void *unused) {
  running = true;
  while (!ending) free(malloc(500));
  return unused;
}

int main(void) {
  pthread_t thread;
  void *kept = malloc(100);
  fill_pattern(kept, 100, 1);
  CHECK(pthread_create(&thread, NULL, allocate, NULL) == 0);
  while (!running) usleep(1000);
  collect();
  for (int i = 0; i < 50; i++) {
    collecting = true;
    collect();
    collecting = false;
  }
  ending = true;
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(pattern_holds(kept, 100, 1));
  puts("nothing that locks");
  return 0;
}
