/* roots_module.c: a library for dlopen, with one root of each kind it can hold: initialised data,
   bss and dynamic thread-local storage. */
#include <stddef.h>

static void *in_data = (void *)&in_data;
static void *in_bss;
static __thread void *in_tls;
static __thread char filler[5000]; /* too large for the static surplus: allocated on first use */

void **module_root(int kind) {
  filler[kind] = 1;
  return kind == 0 ? &in_data : kind == 1 ? &in_bss : &in_tls;
}
