/* foreign_module.c: the library that foreign.c meets in several ways: in a namespace of its own,
   bound deeply, preloaded before and after others, as an auditor. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <link.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Allocates before main and after it; frees late what it made early. */
static char *early;

__attribute__((constructor)) static void before_main(void) {
  early = malloc(5000);
  if (early != NULL) memset(early, 'e', 5000);
  free(calloc(3, 70000));
}

__attribute__((destructor)) static void after_main(void) {
  char *late = malloc(300);
  if (early == NULL || early[4999] != 'e' || late == NULL) _exit(17);
  early = realloc(early, 9000);
  if (early == NULL || early[4999] != 'e') _exit(18);
  free(early), free(late);
}

/* An auditor says which interface it was made for. */
EXPORT unsigned int la_version(unsigned int version) {
  free(malloc(version));
  return LAV_CURRENT;
}

/* Holds pointers: one in its data, one in memory of its own malloc. */
static void *in_data, **in_block;

EXPORT void module_keep(void *first, void *second) {
  in_data = first;
  in_block = malloc(64);
  if (in_block != NULL) *in_block = second;
}

EXPORT void *module_first(void) { return in_data; }
EXPORT void *module_second(void) { return in_block == NULL ? NULL : *in_block; }

/* Gives and takes blocks. */
EXPORT char *module_make(const char *text) { return strdup(text); }
EXPORT void module_free(void *block) { free(block); }

/* Keeps the distance from one block to another instead of a pointer, as libfontconfig does. */
EXPORT void *module_pair(size_t size) {
  ptrdiff_t *header = malloc(sizeof *header);
  char *elements = malloc(size);
  if (header == NULL || elements == NULL) return NULL;
  for (size_t i = 0; i < size; i++) elements[i] = (char)(i * 7 | 0x80);
  __asm__ volatile("" : "+r"(elements) : : "memory"); /* the compiler takes it for lost */
  *header = elements - (char *)header;
  return header;
}

EXPORT int module_pair_holds(void *pair, size_t size) {
  const char *elements = (char *)pair + *(ptrdiff_t *)pair;
  for (size_t i = 0; i < size; i++)
    if (elements[i] != (char)(i * 7 | 0x80)) return 0;
  return 1;
}
