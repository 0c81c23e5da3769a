/* start.c: see start.h. */
#include "api/start.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "api/background.h"
#include "api/bad_pointer.h"
#include "api/libraries.h"
#include "api/next.h"
#include "api/process.h"
#include "api/signals.h"
#include "api/threads.h"
#include "base/identity.h"
#include "base/lock.h"
#include "base/message.h"
#include "base/option.h"
#include "collect/cycle.h"
#include "collect/pace.h"
#include "heap/heap.h"
#include "heap/random.h"
#include "mutator/canary.h"
#include "mutator/thread.h"
#include "mutator/zero_size.h"
#include "ports/port.h"
#include "report/report.h"
#include "report/site.h"

#define LARGEST_CHECKED_HEAP (64 * GIB) /* under check=: its side tables are as large again */

bool start_heap_done;
static struct lock heap_lock;

extern void *__libc_stack_end; /* the loader's: where the kernel put argc, argv and envp */

/* RECLAIM's value, before libc has set up `environ`. */
static const char *find_options(void) {
  char **entry = environ;
  if (!entry && __libc_stack_end) {
    long *words = __libc_stack_end;
    if (words[0] > 0 && words[0] < 1 << 20 && !words[1 + words[0]])
      entry = (char **)(words + 2 + words[0]);
  }
  for (; entry && *entry; entry++)
    if (!strncmp(*entry, "RECLAIM=", 8)) return *entry + 8;
  return NULL;
}

static void complain(const char *message, void *unused) {
  (void)unused;
  message_line(message);
}

static bool set_up_heap(void) {
  options_default(&options);
  const char *text = find_options();
  if (text) options_parse(&options, text, complain, NULL);
  bool sites = options.check != CHECK_OFF;
  size_t largest = sites ? LARGEST_CHECKED_HEAP : HEAP_LARGEST;
  if (!heap_init(largest, sites ? site_tables_size : NULL)) return false;
  if (options.canary) canary_start();
  if (sites && !site_init()) {
    heap_undo(); /* the next call of malloc tries again */
    return false;
  }
  /* The state byte is exchanged on the slow path alone: of frees that race just one goes through.
   */
  heap.free_slowly =
      options.free_policy != FREE_TRUST || options.errors == ERRORS_ABORT || options.canary;
  thread_instrumented = options.check != CHECK_OFF || options.collect_every || options.drop_free ||
                        options.zero || options.canary;
  heap.free_quickly = !thread_instrumented ? options.free_policy : FREE_TRUST;
  if (options.random) random_start();
  if (options.zero_size == ZERO_SIZE_FAULT) zero_size_start();
  mutator_init();
  return true;
}

bool start_heap(void) {
  if (atomic_get_acquire(&start_heap_done)) return true;
  lock_acquire(&heap_lock);
  if (!start_heap_done && set_up_heap()) atomic_set_release(&start_heap_done, true);
  lock_release(&heap_lock);
  return start_heap_done;
}

/* Children started by exec are not to be collected: they shall not find us in LD_PRELOAD. */
static void remove_from_preload(void) {
  const char *preload = getenv("LD_PRELOAD");
  if (!preload) return;
  char *rest = malloc(strlen(preload) + 1), *end = rest;
  if (!rest) return;
  *rest = 0;
  while (*preload) {
    size_t length = strcspn(preload, ": ");
    const char *name = preload;
    for (const char *c = preload; c < preload + length; c++)
      if (*c == '/') name = c + 1;
    if (length && strncmp(name, "libreclaim.so", 13) != 0) {
      if (end != rest) *end++ = ':';
      memcpy(end, preload, length);
      end += length;
      *end = 0;
    }
    preload += length + (preload[length] != 0);
  }
  if (*rest) setenv("LD_PRELOAD", rest, 1);
  else unsetenv("LD_PRELOAD");
  free(rest);
}

__attribute__((constructor(101))) static void start(void) {
  if (!start_heap()) return;
  identity_init();
  port_hardware = getauxval(AT_HWCAP2);
  next_resolve_all();
  signals_start();
  threads_start();
  process_start();
  bad_pointer_start();
  if (!options.inherit) remove_from_preload();
  if (!options.collect) return;
  if (!libraries_are_ours()) {
    report_note("passive: another allocator's malloc comes before ours; nothing is collected");
    return;
  }
  libraries_pin();
  pace_init();
  section_begin(); /* around many small ones: a program's start pays for each system call */
  bool ready = cycle_init();
  section_end();
  if (!ready) {
    report_note("passive: no memory for the collector; nothing is collected");
    return;
  }
  background_start();
}

__attribute__((destructor(101))) static void end(void) {
  if (start_heap_done && !atomic_get(&port_sealed) && identity_check() == IDENTITY_SELF)
    report_exit();
}
