/* hazards.h: a hazard is a case of a program in tests/programs that meets it under collections, and
   a remedy in the library that answers it. Each is tested twice: the case holds, and it fails when
   that one remedy is left out, so that no case is empty. tests/HAZARDS is the list of all. */
#ifndef TESTS_HAZARDS_H
#define TESTS_HAZARDS_H

#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { CHANCES = 5 }; /* some cases fail only by chance, most of the time */

struct hazard {
  struct command command; /* .options NULL means the defaults */
  const char *remedy;     /* to be left out; NULL: the library cannot do without it (say why) */
  unsigned hangs;         /* seconds after which its absence shows as a hang; 0: command.seconds */
  unsigned cycles;        /* collections that the run must complete at least; 0: 1 */
};

static inline void hazard_holds(const struct hazard *hazard) {
  struct command command = hazard->command;
  const char *options = command.options != NULL ? command.options : "";
  command.options = NULL;
  struct run plain = run_command(&command);
  if (plain.status >> 8 == 77) cr_skip_test("%s", plain.errors);
  expect_success(&plain);
  command.options = options;
  struct run run = run_command(&command);
  expect_no_false_reclaim(&run);
  expect_same_result(&plain, &run);
  expect_cycles(&run, hazard->cycles != 0 ? hazard->cycles : 1);
  run_discard(&plain);
  run_discard(&run);
}

/* Without its remedy the case gives itself away: a check of its own fails, it crashes, it hangs,
   the oracle speaks, or the collections are not completed that it must see. */
static inline void hazard_can_fail(const struct hazard *hazard) {
  struct command command = hazard->command;
  if (command.options == NULL) command.options = "";
  command.without = hazard->remedy;
  if (hazard->hangs != 0) command.seconds = hazard->hangs;
  unsigned cycles = hazard->cycles != 0 ? hazard->cycles : 1;
  for (int chance = 1, failed = 0; !failed; chance++) {
    struct run run = run_command(&command);
    if (run.status >> 8 == 77) cr_skip_test("%s", run.errors);
    cr_assert(run.status >> 8 != 99, "%s", run_describe(&run));
    failed = run.timed_out || run.status != 0 || run.cycles.false_reclaims != 0 ||
             run.cycles.done < cycles;
    cr_assert(failed || chance < CHANCES, "it held without its remedy: the case proves nothing%s",
              run_describe(&run));
    run_discard(&run);
  }
}

/* HAZARD(identifier, "remedy", .command.argv = {"program", "case"}, ...) */
#define HAZARD(identifier, left_out, ...)                                                          \
  static const struct hazard hazard_##identifier = {.remedy = left_out, __VA_ARGS__};              \
  Test(holds, identifier, .timeout = 150) { hazard_holds(&hazard_##identifier); }                  \
  Test(can_fail, identifier, .timeout = 150) { hazard_can_fail(&hazard_##identifier); }

/* A hazard whose remedy is how the library is built, and cannot be left out. */
#define HAZARD_BY_DESIGN(identifier, ...)                                                          \
  static const struct hazard hazard_##identifier = {__VA_ARGS__};                                  \
  Test(holds, identifier, .timeout = 150) { hazard_holds(&hazard_##identifier); }

/* A case by its name; without its remedy it may hang. */
#define CASE(identifier, program, name, left_out)                                                  \
  HAZARD(identifier, left_out, .command.argv = {program, name}, .hangs = 3)
#define CASE_BY_DESIGN(identifier, program, name)                                                  \
  HAZARD_BY_DESIGN(identifier, .command.argv = {program, name})

#endif
