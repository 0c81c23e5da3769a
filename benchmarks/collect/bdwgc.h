/* bdwgc.h: Boehm's collector, loaded while the program runs: nothing of it is needed to build. */
#ifndef BENCHMARKS_BDWGC_H
#define BENCHMARKS_BDWGC_H

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* As its gc.h and gc_mark.h declare them; NULL before bdwgc_load. */
static struct {
  void (*init)(void);
  void *(*malloc)(size_t);
  void *(*malloc_leaf)(size_t);
  void (*collect)(void);
  void *(*locked)(void *(*)(void *), void *);
  void (*reachable)(void (*)(void *, size_t, void *), void *);
  void (*on_event)(void (*)(int event));
  void (*start_markers)(void);
  int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  int (*join)(pthread_t, void **);
} bdwgc;

/* Ends the program where the library, or a function of it, is missing. Markers start at once, as
   many as GC_MARKERS in the environment says, the collecting thread being one of them. */
static inline void bdwgc_load(void) {
  static const struct {
    const char *name;
    void *place;
  } functions[] = {{"GC_init", &bdwgc.init},
                   {"GC_malloc", &bdwgc.malloc},
                   {"GC_malloc_atomic", &bdwgc.malloc_leaf},
                   {"GC_gcollect", &bdwgc.collect},
                   {"GC_call_with_alloc_lock", &bdwgc.locked},
                   {"GC_enumerate_reachable_objects_inner", &bdwgc.reachable},
                   {"GC_set_on_collection_event", &bdwgc.on_event},
                   {"GC_start_mark_threads", &bdwgc.start_markers},
                   {"GC_pthread_create", &bdwgc.create},
                   {"GC_pthread_join", &bdwgc.join}};
  void *library = dlopen("libgc.so.1", RTLD_NOW | RTLD_GLOBAL);
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *function = library ? dlsym(library, functions[i].name) : NULL;
    if (!function) {
      fprintf(stderr, "bdwgc: %s\n", dlerror());
      exit(1);
    }
    *(void **)functions[i].place = function;
  }
  bdwgc.init();
  bdwgc.start_markers();
}

#endif
