/* program.h: what every test program needs: the collector if it is there, a way to wipe what a
   function left on the stack and in registers, and blocks whose contents can be verified.

   The programs know nothing of the library at link time, as the programs they stand for: they
   look reclaim_collect up by name, and without the library they do the same under plain malloc.
   Exit status: 0 all well, 1 a check failed (said on standard error), 77 not possible here. */
#ifndef TESTS_PROGRAM_H
#define TESTS_PROGRAM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define PROGRAM_UNUSED __attribute__((unused))

/* Also usable where stdio is not: one write, no allocation. */
PROGRAM_UNUSED static _Noreturn void fail(const char *format, ...) {
  char text[512];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(text, sizeof text - 1, format, list);
  va_end(list);
  if (length > (int)sizeof text - 2) length = (int)sizeof text - 2;
  text[length++] = '\n';
  if (write(2, text, (size_t)length) < 0) _exit(2);
  _exit(1);
}

PROGRAM_UNUSED static _Noreturn void not_possible(const char *why) {
  dprintf(2, "skipped: %s\n", why);
  _exit(77);
}

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) fail("%s:%d: %s", __FILE__, __LINE__, #condition);                           \
  } while (0)

/* The collector */

typedef void collect_function(void);

static collect_function *collector;

/* Before main: dlsym takes the loader's lock, and a child that _Fork made while another thread
   holds it would wait for ever, with any malloc. */
__attribute__((constructor(101))) PROGRAM_UNUSED static void find_collector(void) {
  collector = (collect_function *)dlsym(RTLD_DEFAULT, "reclaim_collect");
}

PROGRAM_UNUSED static bool collect(void) {
  if (collector != NULL) collector();
  return collector != NULL;
}

/* Overwrites the part of the stack that finished calls have used, and the registers. */
PROGRAM_UNUSED NOINLINE static void wipe_stack(void) {
  volatile char room[96 * 1024];
  for (size_t i = 0; i < sizeof room; i++) room[i] = 0;
  __asm__ volatile("xor %%eax,%%eax; xor %%ecx,%%ecx; xor %%edx,%%edx; xor %%esi,%%esi;"
                   "xor %%edi,%%edi; xor %%r8d,%%r8d; xor %%r9d,%%r9d; xor %%r10d,%%r10d;"
                   "xor %%r11d,%%r11d; xor %%ebx,%%ebx; xor %%r12d,%%r12d; xor %%r13d,%%r13d;"
                   "xor %%r14d,%%r14d; xor %%r15d,%%r15d; pxor %%xmm0,%%xmm0;"
                   "pxor %%xmm1,%%xmm1; pxor %%xmm2,%%xmm2; pxor %%xmm3,%%xmm3"
                   :
                   : "m"(room)
                   : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "rbx", "r12",
                     "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "memory");
}

/* A small fast generator; the state is the caller's, so that threads do not share one. */
PROGRAM_UNUSED static inline uint64_t next_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return *state = x;
}

/* Contents that can be verified: bytes that follow from a seed and never look like addresses. */

PROGRAM_UNUSED static void fill_pattern(void *block, size_t size, unsigned seed) {
  unsigned char *bytes = block;
  for (size_t i = 0; i < size; i++)
    bytes[i] = (unsigned char)((i * 7 + seed * 131 + (i >> 8)) | 0x80);
}

PROGRAM_UNUSED static bool all_zero(const void *block, size_t size) {
  const char *bytes = block;
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0; /* of one byte at least */
}

PROGRAM_UNUSED static bool pattern_holds(const void *block, size_t size, unsigned seed) {
  const unsigned char *bytes = block;
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != (unsigned char)((i * 7 + seed * 131 + (i >> 8)) | 0x80)) return false;
  return true;
}

/* The resident set in KiB, by a raw read that allocates nothing; 0 where it cannot be had. */
PROGRAM_UNUSED static long resident_kib(void) {
  char text[128] = {0};
  long total, resident;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL) return 0;
  bool read = fgets(text, sizeof text, file) != NULL;
  fclose(file);
  return read && sscanf(text, "%ld %ld", &total, &resident) == 2 ? resident * 4 : 0;
}

PROGRAM_UNUSED static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
