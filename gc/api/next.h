/* next.h: the functions that our interposed names hide, mostly libc's own.

   NEXT(poll)(fds, count, timeout) calls the definition of poll that comes after ours in the
   lookup order. Every use of NEXT puts one record in the section "reclaim_next", so the table
   of hidden functions is the sum of its uses and no list has to be kept in step;
   next_resolve_all() walks it once at start-up. After that no call looks anything up, which
   matters in signal handlers, after fork and in vfork children: dlsym takes the loader's lock.
   A use before start-up (another library's constructor) resolves its own record.

   A function that this libc lacks resolves to a stub that fails with ENOSYS, never to NULL;
   all hidden functions that can be missing return -1 for failure.

   Owner of the records: any thread; each pointer is written with the one value it can have. */
#ifndef RECLAIM_NEXT_H
#define RECLAIM_NEXT_H

#include "base/base.h"

struct next {
  const char *name;
  void *function; /* NULL until resolved */
};

/* What dlsym(RTLD_NEXT) says; NULL if the name is absent. Keeps errno. May take locks. */
HIDDEN void *next_symbol(const char *name);
/* Resolves one record; never NULL. */
HIDDEN COLD void *next_resolve(struct next *record);
/* Resolves all records. To be called once, early, outside signal handlers. */
HIDDEN void next_resolve_all(void);

/* The alignment equals the size so that the linker sets the records side by side. */
#define NEXT(symbol)                                                                               \
  ((__typeof__(&symbol))__extension__({                                                            \
    static struct next record_ __attribute__((section("reclaim_next"), used,                       \
                                              aligned(sizeof(struct next)))) = {#symbol, NULL};    \
    void *function_ = atomic_get(&record_.function);                                               \
    LIKELY(function_ != NULL) ? function_ : next_resolve(&record_);                                \
  }))

/* A second name of a function of ours, as libc has them: __poll for poll. gcc warns when the alias
   lacks its target's attributes, clang cannot copy them and does not mind. */
#if __has_attribute(copy)
#define SAME_ATTRIBUTES(target) __attribute__((copy(target)))
#else
#define SAME_ATTRIBUTES(target)
#endif
#define ALIAS(name, target)                                                                        \
  extern EXPORT __typeof__(target) name __attribute__((alias(#target))) SAME_ATTRIBUTES(target)

#endif
