/* roots.c: every place that may hold the only pointer to a block, each in a test of its own; the
   places are the cases of tests/programs/roots.c. Each runs with what this kernel offers and with
   the fallbacks for older ones. */
#include "harness.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

static void hold(const char *name, const char *options) {
  struct command command = {.argv = {"roots", name}, .seconds = 40};
  struct run plain = run_command(&command);
  if (plain.status >> 8 == 77) cr_skip_test("%s", plain.errors);
  expect_success(&plain);
  command.options = options;
  struct run run = run_command(&command);
  expect_success(&run);
  expect_cycles(&run, 4);
  expect_few_skipped(&run, 5);
  run_discard(&plain);
  run_discard(&run);
}

/* The pointer dangles: the block has been freed. */
static void hold_freed(const char *name) {
  struct command command = {.argv = {"roots", name},
                            .options = "free=quarantine",
                            .environment = {"BLOCKS_ARE_FREED=1"},
                            .seconds = 40};
  struct run run = run_command(&command);
  if (run.status >> 8 == 77) cr_skip_test("%s", run.errors);
  expect_success(&run);
  expect_cycles(&run, 4);
  expect_few_skipped(&run, 5);
  run_discard(&run);
}

#define CASE_OF_LIVE(identifier, name)                                                             \
  Test(roots, identifier, .timeout = 90) { hold(name, ""); }                                       \
  Test(roots_baseline, identifier, .timeout = 90) { hold(name, "kernel=baseline"); }
#define CASE(identifier, name)                                                                     \
  CASE_OF_LIVE(identifier, name)                                                                   \
  Test(roots_quarantined, identifier, .timeout = 90) { hold_freed(name); }

/* The control first: what nothing refers to comes back. */
CASE_OF_LIVE(none, "none")

CASE(data, "data")
CASE(bss, "bss")
CASE(tls, "tls")
CASE(stack, "stack")
CASE(heap, "heap")
CASE(arguments, "arguments")
CASE_OF_LIVE(environment, "environment") /* getenv reads it */
CASE(stream, "stream")

CASE(own_registers, "own-registers")
CASE(rbx, "rbx")
CASE(r11, "r11")
CASE(xmm, "xmm")
CASE(ymm, "ymm")
CASE(zmm, "zmm")
CASE(red_zone, "red-zone")

CASE(thread_stack, "thread-stack")
CASE(thread_tls, "thread-tls")
CASE(masked_thread, "masked-thread")
CASE(given_stack, "given-stack")
CASE(keys, "keys")
CASE(thread_argument, "thread-argument")
CASE(thread_result, "thread-result")
CASE(alternate_stack, "alternate-stack")
CASE(thread_alternate_stack, "thread-alternate-stack")
CASE(under_handler, "under-handler")

CASE(module_data, "module-data")
CASE(module_bss, "module-bss")
CASE(module_tls, "module-tls")
CASE(thread_module_tls, "thread-module-tls")

CASE(mapping, "mapping")
CASE(sparse_mapping, "sparse-mapping")
CASE(program_break, "break")
CASE(file_mapping, "file-mapping")
CASE(truncated_file, "truncated-file")
CASE(closed_page, "closed-page")
CASE(readonly_page, "readonly-page")
CASE(added_root, "added-root")

CASE(past_the_end, "past-the-end")
CASE(middle, "middle")
CASE(half_alignment, "half-alignment")

CASE(coroutine, "coroutine")
CASE(malloced_stack, "malloced-stack")
CASE(thread_malloced_stack, "thread-malloced-stack")

/* The block is handed out again where free() frees. */
Test(roots_quarantined, lost_when_it_is_freed_at_once, .timeout = 40) {
  struct command command = {
      .argv = {"roots", "data"}, .options = "", .environment = {"BLOCKS_ARE_FREED=1"}};
  struct run run = run_command(&command);
  cr_assert(run.status >> 8 == 1 && strstr(run.errors, "overwritten") != NULL, "%s",
            run_describe(&run));
  run_discard(&run);
}

/* Every case of the program is a test here. */
Test(roots, all_listed, .timeout = 20) {
  struct command command = {.argv = {"roots", "list"}};
  struct run run = run_command(&command);
  int lines = 0;
  for (const char *p = run.output; *p; p++) lines += *p == '\n';
  cr_assert_eq(lines, 44, "%d cases", lines);
  run_discard(&run);
}

/* The tests can fail: with words read at eight-byte steps a pointer at half alignment is missed. */
Test(roots, missed_at_stride_8, .timeout = 40) {
  struct command command = {.argv = {"roots", "half-alignment"}, .options = "stride=8"};
  struct run run = run_command(&command);
  cr_assert(run.status >> 8 == 1 && strstr(run.errors, "reclaimed") != NULL, "%s",
            run_describe(&run));
  run_discard(&run);
}
