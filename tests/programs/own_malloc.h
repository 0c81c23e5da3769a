/* own_malloc.h: a small allocator of a program's own, for own_malloc.c and part_malloc.c: a bump
   pointer over mapped memory with the size before each block; what is freed goes to a list. */
#ifndef TESTS_OWN_MALLOC_H
#define TESTS_OWN_MALLOC_H

#include "program.h"

#include <sys/mman.h>

static char *own_at, *own_end;
static unsigned long own_calls;
static pthread_mutex_t own_lock = PTHREAD_MUTEX_INITIALIZER;

static void *own_make(size_t alignment, size_t size) {
  pthread_mutex_lock(&own_lock);
  own_calls++;
  uintptr_t at = ((uintptr_t)own_at + 16 + alignment - 1) & ~(uintptr_t)(alignment - 1);
  if (own_at == NULL || size > (size_t)(own_end - own_at) ||
      at + size > (uintptr_t)own_end) { /* a new stretch */
    size_t room = (size + alignment + (1 << 20)) & ~(size_t)0xfff;
    char *memory = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      pthread_mutex_unlock(&own_lock);
      return NULL;
    }
    own_at = memory;
    own_end = memory + room;
    at = ((uintptr_t)own_at + 16 + alignment - 1) & ~(uintptr_t)(alignment - 1);
  }
  ((size_t *)at)[-2] = size;
  ((size_t *)at)[-1] = 0x6f776e;
  own_at = (char *)((at + size + 15) & ~(uintptr_t)15);
  pthread_mutex_unlock(&own_lock);
  return (void *)at;
}

/* A block of another allocator is what must never come here. */
static size_t own_size(const void *block) {
  const size_t *header = (const size_t *)block - 2;
  if (header[1] != 0x6f776e) fail("%p is not a block of the program's own allocator", block);
  return header[0];
}

static void own_free(void *block) {
  if (block == NULL) return;
  memset(block, 0xee, own_size(block));
}

static void *own_resize(void *block, size_t size) {
  void *target = own_make(16, size);
  if (block == NULL || target == NULL) return target;
  size_t old = own_size(block);
  memcpy(target, block, old < size ? old : size);
  own_free(block);
  return target;
}

/* The program: libc's own functions and threads use the allocator, and a collection is asked for.
 */
static void *own_work(void *argument) {
  char *text = strdup("in a thread");
  CHECK(strcmp(text, "in a thread") == 0);
  free(text);
  return argument;
}

static void own_program(void) {
  unsigned long before = own_calls;
  char *printed = NULL, *line = NULL, *blocks[300];
  size_t room = 0;
  for (unsigned i = 0; i < 300; i++) fill_pattern(blocks[i] = malloc(500), 500, i);
  CHECK(asprintf(&printed, "%d-%s", 7, "printed") == 9);
  FILE *stream = fmemopen((void *)"one\ntwo\n", 8, "r");
  CHECK(getline(&line, &room, stream) == 4);
  fclose(stream);
  for (int turn = 0; turn < 20; turn++) {
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, own_work, &room) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == &room);
    wipe_stack();
    collect();
  }
  for (unsigned i = 0; i < 300; i++) {
    CHECK(pattern_holds(blocks[i], 500, i));
    blocks[i] = realloc(blocks[i], 900);
    CHECK(pattern_holds(blocks[i], 500, i));
    free(blocks[i]);
  }
  free(printed), free(line);
  CHECK(own_calls - before >= 600);
  puts("held");
}

#endif
