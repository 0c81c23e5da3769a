/* zero_size.c: addresses of blocks of no bytes: each its own, inaccessible, freed once. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "mutator/zero_size.h"

static void start(void) {
  unit_start_heap();
  zero_size_start();
}
TestSuite(zero_size, .init = start, .timeout = 60);

Test(zero_size, addresses_are_inaccessible_and_not_of_the_heap) {
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  for (int i = 0; i < 1000; i++) {
    char *block = zero_size_make(GRANULE);
    cr_assert(block && (uintptr_t)block % GRANULE == 0);
    cr_assert(zero_size_holds(block) && !heap_holds((uintptr_t)block));
    cr_assert(zero_size_is_live(block));
    cr_assert(write(ends[1], block, 1) < 0 && errno == EFAULT);
    cr_assert_eq(release(block), RELEASE_FOREIGN);
  }
  struct port_range all = unit_reservation();
  uintptr_t begin = zero_size.begin;
  cr_expect(begin >= all.begin && begin + zero_size.size <= all.end, "and none of the program's");
}

Test(zero_size, each_is_freed_once) {
  char *one = zero_size_make(GRANULE), *two = zero_size_make(GRANULE);
  cr_expect_neq(one, two);
  cr_expect(!zero_size_is_live(one + 1) && !zero_size_release(one + 1), "inside of one");
  cr_expect(zero_size_release(one));
  cr_expect(!zero_size_is_live(one) && !zero_size_release(one));
  cr_expect(zero_size_is_live(two));
  cr_expect(!zero_size_release(two + 100 * GRANULE), "never made");
  cr_expect(!zero_size_holds(allocate(0, NULL)) && !zero_size_holds(NULL) &&
            !zero_size_holds(&one));
}

Test(zero_size, as_aligned_as_was_asked) {
  static const size_t alignments[] = {16, 32, 64, 256, 1024, 4096};
  for (int round = 0; round < 20; round++)
    for (size_t a = 0; a < sizeof alignments / sizeof *alignments; a++) {
      char *block = zero_size_make(alignments[a]), *other = zero_size_make(GRANULE);
      cr_assert(block && (uintptr_t)block % alignments[a] == 0, "%zu", alignments[a]);
      cr_assert(block != other && zero_size_is_live(block));
      if (round % 2) cr_assert(zero_size_release(block) && !zero_size_release(block));
    }
  cr_expect_null(zero_size_make(8192));
}

/* Addresses that are left out between the aligned ones are none of the others'. */
Test(zero_size, aligned_ones_come_to_an_end_of_their_own) {
  options.free_policy = FREE_QUARANTINE;
  unsigned count = 0;
  for (char *block; (block = zero_size_make(4096)); count++)
    cr_assert((uintptr_t)block % 4096 == 0 && zero_size_holds(block));
  cr_expect_eq(count, ZERO_SIZE_BLOCKS / (4096 / GRANULE));
  for (int i = 0; i < ZERO_SIZE_BLOCKS; i++)
    if (!zero_size_make(GRANULE)) cr_assert_fail("after %d", i);
}

/* An address comes again as late as can be. */
Test(zero_size, all_others_are_handed_out_before_one_comes_again) {
  void *first = zero_size_make(GRANULE);
  cr_assert(zero_size_release(first));
  for (int i = 1; i < ZERO_SIZE_BLOCKS; i++) {
    void *block = zero_size_make(GRANULE);
    if (block == first || !zero_size_release(block)) cr_assert_fail("after %d", i);
  }
  cr_expect_eq(zero_size_make(GRANULE), first);
}

Test(zero_size, there_is_an_end_of_them) {
  void *last = NULL;
  for (int i = 0; i < ZERO_SIZE_BLOCKS; i++)
    if (!(last = zero_size_make(GRANULE))) cr_assert_fail("after %d", i);
  cr_expect_null(zero_size_make(GRANULE));
  cr_assert(zero_size_release(last));
  void *again = NULL;
  for (int i = 0; i < ZERO_SIZE_BLOCKS && !again; i++) again = zero_size_make(GRANULE);
  cr_expect_eq(again, last);
}

Test(zero_size, none_comes_again_where_free_does_not_free_at_once) {
  options.free_policy = FREE_QUARANTINE;
  for (int i = 0; i < ZERO_SIZE_BLOCKS; i++)
    if (!zero_size_release(zero_size_make(GRANULE))) cr_assert_fail("after %d", i);
  cr_expect_null(zero_size_make(GRANULE));
}

enum { THREADS = 4, EACH = 50000 };
static unsigned freed_twice;
static void *make_and_free(void *mine) {
  char **blocks = mine;
  for (int i = 0; i < EACH; i++) {
    blocks[i % 100] = zero_size_make(GRANULE);
    if (i % 100 == 99)
      for (int k = 0; k < 100; k++)
        if (!zero_size_release(blocks[k])) atomic_add(&freed_twice, 1);
  }
  return NULL;
}

Test(zero_size, threads_never_share_one) {
  static char *blocks[THREADS][100];
  pthread_t threads[THREADS];
  for (int t = 0; t < THREADS; t++)
    cr_assert_eq(pthread_create(&threads[t], NULL, make_and_free, blocks[t]), 0);
  for (int t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
  cr_expect_eq(freed_twice, 0);
}

Test(no_zero_size, without_a_start_there_are_none, .init = unit_start_heap) {
  cr_expect_null(zero_size_make(GRANULE));
  cr_expect(!zero_size_holds(NULL));
}
