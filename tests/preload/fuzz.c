/* fuzz.c: random programs on the malloc family against a model of what each block holds, where, how
   long and for whom (tests/fuzz): with threads, under all three policies of free(), under
   collections from without and within. A million operations in all, and the corpus that make fuzz
   has left, in every mode. Nothing is found, and nearly all that the programs lose comes back.

   A failure names the seed of the input and its operation, and leaves the input in its directory:
     RECLAIM=... LD_PRELOAD=.../libreclaim.so tests/programs/fuzz replay finding
     RECLAIM=... LD_PRELOAD=.../libreclaim.so tests/programs/fuzz shrink finding */
#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

ONE_TEST_AT_A_TIME

#define OPERATIONS 125000ull /* of each mode */

struct figures {
  unsigned long long operations, dropped, kept, collections, reclaimed;
};

static void fuzz(struct figures *sum, const char *options, const char *how, const char *what,
                 const char *count) {
  struct run run = run_collected(options, 100, "fuzz", how, what, count, NULL);
  struct figures f;
  int read =
      sscanf(run.output, "operations %llu dropped %llu kept %llu collections %llu reclaimed %llu",
             &f.operations, &f.dropped, &f.kept, &f.collections, &f.reclaimed);
  expect_no_false_reclaim(&run);
  cr_assert_eq(read, 5, "%s", run_describe(&run));
  sum->operations += f.operations;
  sum->dropped += f.dropped;
  sum->kept += f.kept;
  sum->collections += f.collections;
  sum->reclaimed += f.reclaimed;
  run_discard(&run);
}

/* 260 inputs in so many processes. */
static void random_programs(const char *options, unsigned seed, unsigned processes) {
  struct figures f = {0};
  char first[16], count[16];
  unsigned inputs = 260 / processes;
  snprintf(count, sizeof count, "%u", inputs);
  for (unsigned i = 0; i < processes; i++) {
    snprintf(first, sizeof first, "%u", seed + i * inputs);
    fuzz(&f, options, "seed", first, count);
  }
  fprintf(stderr, "fuzz %s: %llu operations, %llu dropped, %llu collections, %llu reclaimed\n",
          options, f.operations, f.dropped, f.collections, f.reclaimed);
  cr_assert_geq(f.operations, OPERATIONS, "only %llu operations", f.operations);
  cr_assert_geq(f.collections, OPERATIONS / 250, "only %llu collections", f.collections);
  cr_assert_geq(f.dropped, OPERATIONS / 20, "only %llu blocks dropped", f.dropped);
  /* Of what the program dropped words left on stacks keep a few. Where free() waits for the
     collector, what was freed counts as well. */
  cr_assert_geq(f.reclaimed, f.dropped / 10 * 9, "%llu of %llu reclaimed", f.reclaimed, f.dropped);
}

#define MODE(name, options, seed, processes)                                                       \
  Test(fuzz, name, .timeout = 400) {                                                               \
    struct figures corpus = {0};                                                                   \
    fuzz(&corpus, "errors=ignore," options, "replay", "@INPUTS@/../../fuzz/corpus", NULL);         \
    cr_assert_gt(corpus.operations, 1000, "%llu operations", corpus.operations);                   \
    random_programs("errors=ignore," options, seed, processes);                                    \
  }

MODE(trust, "free=trust", 1, 1)
MODE(trust_often, "collect-every-ms=1,confirm=2,markers=4", 1001, 1)
MODE(trust_zero, "zero=on,collect-every=500,limit=32M", 2001, 1)
MODE(trust_injector, "drop-free=20,collect-every=500,kernel=baseline,mark-order=pages", 3001, 1)
MODE(ignore, "free=ignore,collect-every=1000", 4001, 1)
MODE(quarantine, "free=quarantine,reclaim=on,collect-every-ms=5", 5001, 1)
MODE(quarantine_keeping, "free=quarantine,collect-every-ms=2,markers=4", 12001, 4)
MODE(poison, "check=poison,free=quarantine,collect-every=1000", 7001, 1)
MODE(canary, "canary=on,collect-every=500", 8001, 1)
MODE(canary_quarantine,
     "canary=on,free=quarantine,reclaim=on,collect-every-ms=5,mark-order=pages,markers=4", 9001, 1)
MODE(guard, "guard=on,collect-every=500", 10001, 1)
MODE(random, "random=on,collect-every=500", 11001, 1)
/* What is condemned stays, and every collection looks at all of it. */
MODE(condemn, "check=condemn,collect-every=5000", 6001, 10)

/* The model believes of plain malloc what it believes of ours. */
Test(fuzz, plain, .timeout = 120) {
  struct command command = {.argv = {"fuzz", "seed", "1", "50"}};
  struct run run = run_command(&command);
  expect_success(&run);
  run_discard(&run);
}

/* It can fail: without these remedies it finds something, and where the library does other than the
   model was told. */
static bool shows(const struct run *run, const char *const *signs) {
  for (; *signs != NULL; signs++)
    if (strstr(run->errors, *signs) != NULL) return true;
  return false;
}

static void finds(struct command command, const char *const *signs) {
  static const char *const argv[] = {"fuzz", "seed", "1", "200"};
  memcpy(command.argv, argv, sizeof argv);
  command.seconds = 60;
  struct run run = run_command(&command);
  cr_assert(!run.timed_out && run.status != 0, "nothing was found%s", run_describe(&run));
  cr_assert(shows(&run, signs) && strstr(run.errors, "the input is in") != NULL,
            "something else was found%s", run_describe(&run));
  run_discard(&run);
}

#define SIGNS(...) ((const char *const[]){__VA_ARGS__, NULL})
/* Of a block that was reclaimed while in use: its contents or its place are another's, or the
   program frees it after all. */
#define LOST "contents: ", "overlap: ", "a block that the collector took back"

#define FINDS_WITHOUT(remedy, left, ...)                                                           \
  Test(finds, without_##remedy, .timeout = 90) {                                                   \
    finds((struct command){.without = #remedy, .options = left}, SIGNS(__VA_ARGS__));              \
  }

FINDS_WITHOUT(slack, "", "usable size: ")
FINDS_WITHOUT(calloc_zeroes, "", "zero: ")
FINDS_WITHOUT(interior, "", LOST)
FINDS_WITHOUT(mappings, "", LOST)
FINDS_WITHOUT(signal_frame, "collect-every-ms=1", LOST)
FINDS_WITHOUT(fork_child_reset, "", "the fork child hangs")

#define FINDS_BELIEF(name, belief, ...)                                                            \
  Test(finds, name, .timeout = 90) {                                                               \
    finds((struct command){.options = "errors=ignore", .environment = {"FUZZ_BELIEF=" belief}},    \
          SIGNS(__VA_ARGS__));                                                                     \
  }

/* Handed out again, or written by another thread to which it was. */
FINDS_BELIEF(reuse_of_what_is_kept, "free=quarantine",
             "overlap: ", "freed and kept, was overwritten")
FINDS_BELIEF(contents_not_zeroed, "zero=on", "zero: ")
