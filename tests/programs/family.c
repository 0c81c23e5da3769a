/* family.c: the malloc family gives glibc's values, errno and alignment. Prints what it found, so
   that a run under plain malloc can be compared line by line. */
#include "program.h"

/* The calls below are wrong on purpose. */
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Walloc-size-larger-than="
#pragma GCC diagnostic ignored "-Wunused-result"
#pragma GCC diagnostic ignored "-Wuse-after-free"
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#pragma GCC diagnostic ignored "-Wnon-power-of-two-alignment"

/* The compiler knows these functions and may fold calls of them: it is kept from seeing them. */
static void *(*volatile call_malloc)(size_t) = malloc;
static void *(*volatile call_calloc)(size_t, size_t) = calloc;
static void *(*volatile call_realloc)(void *, size_t) = realloc;
static void *(*volatile call_reallocarray)(void *, size_t, size_t) = reallocarray;
static void *(*volatile call_aligned_alloc)(size_t, size_t) = aligned_alloc;
static void *(*volatile call_memalign)(size_t, size_t) = memalign;
static void (*volatile call_free)(void *) = free;
#define malloc call_malloc
#define calloc call_calloc
#define realloc call_realloc
#define reallocarray call_reallocarray
#define aligned_alloc call_aligned_alloc
#define memalign call_memalign
#define free call_free

static volatile size_t huge = (size_t)PTRDIFF_MAX + 1, most = SIZE_MAX, zero;

#define SHOW(expression) printf("%-60s %ld\n", #expression, (long)(expression))

static bool aligned(const void *p, size_t to) { return p != NULL && (uintptr_t)p % to == 0; }

/* Every byte that malloc_usable_size promises can be written. */
static bool writable(void *p) {
  size_t size = malloc_usable_size(p);
  memset(p, 0xa5, size);
  return malloc_usable_size(p) == size;
}

static void zero_sizes(void) {
  void *a = malloc(zero), *b = malloc(zero), *c = calloc(zero, 8), *d = realloc(NULL, zero);
  SHOW(a != NULL && b != NULL && c != NULL && d != NULL && a != b);
  SHOW(aligned(a, 16));
  free(a), free(b), free(c), free(d);
  void *p = malloc(10);
  errno = 5;
  SHOW(realloc(p, zero) == NULL);
  SHOW(errno);
  SHOW(malloc_usable_size(NULL));
  free(NULL);
}

static void overflows(void) {
  errno = 0, SHOW(malloc(huge) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(malloc(most) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(calloc(huge, 2) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(calloc(most / 4, 8) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(aligned_alloc(64, huge) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(memalign(4096, most - 100) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(valloc(most) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(pvalloc(most) == NULL), SHOW(errno == ENOMEM);
  char *p = malloc(10);
  strcpy(p, "kept");
  errno = 0, SHOW(realloc(p, huge) == NULL), SHOW(errno == ENOMEM), SHOW(!strcmp(p, "kept"));
  errno = 0, SHOW(reallocarray(p, huge, 4) == NULL), SHOW(errno == ENOMEM);
  SHOW(!strcmp(p, "kept"));
  p = reallocarray(p, 100, 4);
  SHOW(p != NULL && !strcmp(p, "kept") && malloc_usable_size(p) >= 400);
  free(p);
}

static void alignments(void) {
  void *p = NULL;
  errno = 5;
  SHOW(posix_memalign(&p, 3, 10) == EINVAL), SHOW(posix_memalign(&p, 2, 10) == EINVAL);
  SHOW(posix_memalign(&p, 0, 10) == EINVAL), SHOW(posix_memalign(&p, 24, 10) == EINVAL);
  SHOW(errno == 5 && p == NULL);
  SHOW(posix_memalign(&p, 8, zero) == 0 && p != NULL);
  free(p);
  SHOW(posix_memalign(&p, 64, huge - 100) == ENOMEM);
  for (size_t alignment = 8; alignment <= 1 << 21; alignment *= 2)
    for (size_t size = 1; size <= 1 << 20; size = size * 5 + 3) {
      CHECK(posix_memalign(&p, alignment, size) == 0 && aligned(p, alignment));
      CHECK(malloc_usable_size(p) >= size && writable(p));
      void *q = aligned_alloc(alignment, size);
      CHECK(aligned(q, alignment) && writable(q));
      void *r = memalign(alignment, size);
      CHECK(aligned(r, alignment) && writable(r));
      q = realloc(q, size + 100);
      CHECK(aligned(q, 16) && *(unsigned char *)q == 0xa5);
      free(p), free(q), free(r);
    }
  errno = 0;
  SHOW((p = aligned_alloc(3, 10)) != NULL && errno == 0), free(p);
  SHOW(aligned(p = aligned_alloc(64, 10), 64)), free(p);
  SHOW(aligned(p = memalign(48, 10), 64)), free(p);
  SHOW((p = memalign(0, 10)) != NULL), free(p);
  SHOW(aligned(p = valloc(1), 4096)), free(p);
  SHOW(aligned(p = pvalloc(1), 4096) && malloc_usable_size(p) >= 4096), free(p);
  SHOW((p = pvalloc(zero)) != NULL), free(p);
  SHOW(aligned(p = pvalloc(4097), 4096) && malloc_usable_size(p) >= 8192), free(p);
}

/* What is seldom asked for: alignments that are none, sizes that are all but too large, nothing. */
static void edges(void) {
  void *p = NULL;
  size_t top = ~(most >> 1), alignments[] = {top, top + 1, most, top >> 1, 5000, 1, 2, 24, 100};
  for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
    errno = 0, p = memalign(alignments[i], 10);
    printf("memalign %zu: %d %d", i, p != NULL, errno), free(p);
    errno = 0, p = aligned_alloc(alignments[i], 10);
    printf(", aligned_alloc %d %d", p != NULL, errno), free(p);
    p = NULL, errno = 0;
    int result = posix_memalign(&p, alignments[i], 10);
    printf(", posix_memalign %d %d %d\n", result, p != NULL, errno), free(p);
  }
  p = NULL, errno = 0;
  SHOW(posix_memalign(&p, 64, huge)), SHOW(errno), SHOW(p == NULL);
  errno = 0, SHOW(posix_memalign(&p, 4096, most)), SHOW(errno);
  errno = 0, SHOW((p = calloc(zero, zero)) != NULL && errno == 0), free(p);
  errno = 0, SHOW((p = calloc(zero, most)) != NULL && errno == 0), free(p);
  errno = 0, SHOW((p = reallocarray(NULL, 3, 5)) != NULL && errno == 0);
  errno = 0, SHOW(reallocarray(p, zero, 8) == NULL), SHOW(errno);
  errno = 0, SHOW(malloc(huge - 1) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(realloc(NULL, most) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(reallocarray(NULL, most, most) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(pvalloc(huge) == NULL), SHOW(errno == ENOMEM);
  errno = 0, SHOW(valloc(huge) == NULL), SHOW(errno == ENOMEM);
  SHOW(aligned(p = malloc(1), 16) && malloc_usable_size(p) >= 1), free(p);
  SHOW(mallopt(-42, 7)), SHOW(mallopt(M_PERTURB, 0));
  SHOW(malloc_info(5, stdout));
}

/* All sizes: alignment 16 from one byte on, room as asked, realloc keeps what was there. */
static void sizes(void) {
  static void *blocks[4000];
  size_t n = 0;
  for (size_t size = 1; size < 40000; size += size < 1100 ? 1 : size / 60) {
    unsigned char *p = malloc(size);
    CHECK(aligned(p, 16) && malloc_usable_size(p) >= size);
    if (malloc_usable_size(p) > size + (size < 32768 ? size / 4 + 64 : 65536))
      fail("%zu bytes asked for, %zu usable", size, malloc_usable_size(p));
    CHECK(writable(p));
    fill_pattern(p, size, (unsigned)size);
    blocks[n++] = p;
  }
  size_t i = 0;
  for (size_t size = 1; size < 40000; size += size < 1100 ? 1 : size / 60, i++) {
    CHECK(pattern_holds(blocks[i], size, (unsigned)size));
    blocks[i] = realloc(blocks[i], size * 3 + 1);
    CHECK(pattern_holds(blocks[i], size, (unsigned)size));
    blocks[i] = realloc(blocks[i], size / 2 + 1);
    CHECK(pattern_holds(blocks[i], size / 2 + 1, (unsigned)size));
    free(blocks[i]);
  }
  SHOW(n == i);
  /* Large blocks grow and shrink in place or elsewhere, their contents with them. */
  unsigned char *p = malloc(100000);
  fill_pattern(p, 100000, 3);
  for (size_t size = 100000; size < 200000000; size *= 2)
    CHECK((p = realloc(p, size)) != NULL && pattern_holds(p, 100000, 3));
  for (size_t size = 150000000; size > 100000; size /= 3)
    CHECK((p = realloc(p, size)) != NULL && pattern_holds(p, 100000, 3));
  free(p);
}

static void zeroing(void) {
  bool clean = true;
  for (int turn = 0; turn < 200; turn++)
    for (size_t size = 8; size < 3000000; size *= 7) {
      unsigned char *p = malloc(size);
      memset(p, 0xff, size);
      free(p);
      p = calloc(1, size);
      for (size_t i = 0; i<size; i += size> 4096 ? 509 : 1) clean &= p[i] == 0;
      clean &= p[size - 1] == 0;
      free(p);
      if (size > 100000) turn += 10;
    }
  SHOW(clean);
}

static void errno_kept(void) {
  void *p = malloc(100), *q = malloc(3000000);
  errno = 77;
  free(p), free(q);
  SHOW(errno);
  p = malloc(100), q = malloc(3000000);
  SHOW(errno); /* success leaves it alone too */
  free(p), free(q);
}

/* What the statistics say moves with what the program does. */
static void statistics(void) {
  struct mallinfo2 before = mallinfo2();
  enum { COUNT = 2000, SIZE = 2000 };
  static void *blocks[COUNT];
  for (int i = 0; i < COUNT; i++) blocks[i] = malloc(SIZE);
  struct mallinfo2 during = mallinfo2();
  SHOW(during.uordblks - before.uordblks >= (size_t)COUNT * SIZE);
  SHOW(during.uordblks - before.uordblks <= (size_t)COUNT * SIZE * 3 / 2);
  SHOW(during.arena + during.hblkhd >= during.uordblks);
  for (int i = 0; i < COUNT; i++) free(blocks[i]);
  struct mallinfo2 after = mallinfo2();
  SHOW(after.uordblks <= before.uordblks + (size_t)COUNT * SIZE / 8);
  struct mallinfo narrow = mallinfo();
  SHOW((size_t)narrow.uordblks >= after.uordblks / 2);

  char *text = NULL;
  size_t length = 0;
  FILE *stream = open_memstream(&text, &length);
  SHOW(malloc_info(1, stream) == -1 || malloc_info(1, stream) == EINVAL);
  rewind(stream);
  SHOW(malloc_info(0, stream));
  fclose(stream);
  SHOW(strncmp(text, "<malloc version=", 16) == 0 && strstr(text, "</malloc>") != NULL);
  free(text);
  SHOW(mallopt(M_MMAP_THRESHOLD, 1 << 20)), SHOW(mallopt(M_ARENA_MAX, 2));
  int trimmed = malloc_trim(0);
  SHOW(trimmed == 0 || trimmed == 1);
  malloc_stats(); /* on standard error, which is not compared */
}

/* Library functions that allocate inside libc, and programs that free it. */
static void inside_libc(void) {
  char *copy = strdup("strdup"), *printed = NULL, *line = NULL;
  size_t size = 0;
  CHECK(asprintf(&printed, "%s-%d", copy, 7) == 8);
  SHOW(!strcmp(printed, "strdup-7"));
  FILE *stream = fmemopen((void *)"one\ntwo\n", 8, "r");
  SHOW(getline(&line, &size, stream));
  line = realloc(line, size * 2);
  SHOW(!strcmp(line, "one\n"));
  fclose(stream);
  char *directory = getcwd(NULL, 0), *path = realpath("/", NULL);
  SHOW(directory != NULL && !strcmp(path, "/"));
  free(copy), free(printed), free(line), free(directory), free(path);
}

int main(void) {
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  zero_sizes();
  overflows();
  alignments();
  edges();
  sizes();
  zeroing();
  errno_kept();
  statistics();
  inside_libc();
  return 0;
}
