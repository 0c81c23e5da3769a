/* churn.c: threads allocate, free each other's blocks, leak, start and end.
   churn SECONDS THREADS [grows] [shares]

   A table of slots is shared by all threads. A thread makes a block (header, random length,
   contents that follow from a seed), exchanges it for the one in a random slot and verifies and
   frees that one, whoever made it; one in sixteen it drops instead. Chains hang on some blocks,
   reachable through them alone. Threads live for a few thousand turns and are replaced, 10,000 in
   all over a minute, or 170 a second. A block that was lost, handed out twice or overwritten shows
   in its checksum; growth shows in the resident set at one half and at the end of the run, unless
   "grows" says that it must: under the condemn oracle nothing that was lost is used again. "shares"
   says that it has the machine not to itself: a tenth of the threads will do. */
#include "program.h"

#include <stdatomic.h>

enum { SLOTS = 4096, CHAIN = 5, MOST_THREADS = 64 };

struct block {
  struct block *next;
  uint32_t size, seed;
  uint64_t sum;
  unsigned char bytes[];
};

static _Atomic(struct block *) slots[SLOTS];
static atomic_ulong made, freed, dropped, threads_ended;
static atomic_bool ending;

static uint64_t checksum(const struct block *block) {
  uint64_t sum = block->seed * 0x9e3779b97f4a7c15u + block->size;
  const unsigned char *bytes = block->bytes;
  size_t length = block->size - sizeof *block;
  /* Both ends and a sample: what another owner of the memory would have overwritten. */
  for (size_t i = 0; i < length; i += i < 64 || i + 64 >= length ? 1 : 61)
    sum = (sum ^ bytes[i]) * 0x100000001b3u;
  return sum;
}

static struct block *make_block(uint64_t *random) {
  uint64_t r = next_random(random);
  size_t limit = r % 256 == 0 ? 200000 : r % 16 == 0 ? 8000 : 400;
  size_t size = sizeof(struct block) + (r >> 20) % limit;
  struct block *block = r & 0x10000 ? malloc(size) : calloc(1, size);
  CHECK(block != NULL && ((uintptr_t)block & 15) == 0);
  if (!(r & 0x10000))
    for (size_t i = 0; i < size - sizeof *block; i += 37) CHECK(block->bytes[i] == 0);
  block->next = NULL;
  block->size = (uint32_t)size;
  block->seed = (uint32_t)(r >> 8) | 1;
  memset(block->bytes, (int)block->seed | 0x80, size - sizeof *block);
  block->sum = checksum(block);
  atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
  return block;
}

static void verify(const struct block *block) {
  if (block->size < sizeof *block || block->size > 300000 || block->sum != checksum(block))
    fail("block %p: size %u seed %#x sum %#lx: lost or overwritten", (const void *)block,
         block->size, block->seed, (unsigned long)block->sum);
}

static struct block *resized(struct block *block, uint64_t *random) {
  size_t size = sizeof *block + next_random(random) % 3000;
  size_t kept = size < block->size ? size : block->size;
  unsigned char last = kept > sizeof *block ? ((unsigned char *)block)[kept - 1] : 0;
  struct block *moved = realloc(block, size);
  CHECK(moved != NULL);
  CHECK(kept <= sizeof *block || ((unsigned char *)moved)[kept - 1] == last);
  moved->size = (uint32_t)size;
  memset(moved->bytes, (int)moved->seed | 0x80, size - sizeof *moved);
  moved->sum = checksum(moved);
  return moved;
}

static void *work(void *argument) {
  uint64_t random = (uintptr_t)argument * 0x9e3779b97f4a7c15u + 1;
  unsigned long turns = 300 + next_random(&random) % 2000;
  while (turns-- > 0 && !atomic_load_explicit(&ending, memory_order_relaxed)) {
    struct block *block = make_block(&random);
    if (next_random(&random) % 8 == 0) {
      struct block *tail = block;
      for (int i = 0; i < CHAIN; i++) tail = tail->next = make_block(&random);
    }
    block = atomic_exchange(&slots[next_random(&random) % SLOTS], block);
    if (block == NULL) continue;
    bool drop = next_random(&random) % 16 == 0;
    if (!drop && block->next == NULL && next_random(&random) % 8 == 0) {
      verify(block);
      block = resized(block, &random);
    }
    while (block != NULL) {
      struct block *next = block->next;
      verify(block);
      if (!drop) {
        block->sum = 0;
        free(block);
      }
      atomic_fetch_add_explicit(drop ? &dropped : &freed, 1, memory_order_relaxed);
      block = next;
    }
  }
  atomic_fetch_add(&threads_ended, 1);
  return NULL;
}

int main(int count, char **arguments) {
  CHECK(count >= 3);
  double length = strtod(arguments[1], NULL), start = seconds_now(), spent;
  unsigned n = (unsigned)atoi(arguments[2]);
  unsigned long wanted = (unsigned long)(length * 10000 / 60), begun = 0;
  pthread_t threads[MOST_THREADS];
  long half_way = 0;
  bool grows = collector == NULL;
  for (int i = 3; i < count; i++) {
    if (strcmp(arguments[i], "grows") == 0) grows = true;
    else if (strcmp(arguments[i], "shares") == 0) wanted /= 10;
    else fail("what is \"%s\"?", arguments[i]);
  }
  CHECK(n > 0 && n <= MOST_THREADS);
  for (unsigned i = 0; i < n; i++)
    CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)++begun) == 0);
  while ((spent = seconds_now() - start) < length || (begun < wanted && spent < 3 * length)) {
    for (unsigned i = 0; i < n; i++)
      if (pthread_tryjoin_np(threads[i], NULL) == 0)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)++begun) == 0);
    if (half_way == 0 && spent > length / 2) half_way = resident_kib();
    usleep(2000);
  }
  atomic_store(&ending, true);
  for (unsigned i = 0; i < n; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  long at_end = resident_kib();
  unsigned long live = 0;
  for (int i = 0; i < SLOTS; i++)
    for (struct block *block = slots[i]; block != NULL; block = block->next) {
      verify(block);
      live++;
    }
  CHECK(made == freed + dropped + live);
  dprintf(2, "%lu threads (%lu wanted), %lu blocks, %lu dropped, %lu live, %ld KiB then %ld KiB\n",
          begun, wanted, (unsigned long)made, (unsigned long)dropped, live, half_way, at_end);
  if (!grows && at_end > half_way + half_way / 2 + 32768)
    fail("grew from %ld to %ld KiB in the second half", half_way, at_end);
  CHECK(begun >= wanted);
  puts("all blocks accounted for");
  return 0;
}
