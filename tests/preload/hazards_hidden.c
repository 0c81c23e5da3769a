/* hazards_hidden.c: coroutines, and pointers that are no plain aligned address of a block's
   beginning (1.12 and sections 3 and 4 of tests/HAZARDS). confirm=1, since at its default the
   collector waits for a second look, which is a remedy of its own: the last tests. */
#include "hazards.h"

#define STRICT "confirm=1"

/* --- coroutines: a suspended one holds the only pointer to a block -----------------------------
 */

#define COROUTINE(identifier, way, remedy, ...)                                                    \
  HAZARD(identifier, remedy, .command.argv = {"coroutines", way, __VA_ARGS__},                     \
         .command.options = STRICT)

COROUTINE(context_on_malloced_stack, "context-malloc", "mappings")
COROUTINE(context_on_mapped_stack, "context-mmap", "mappings")
COROUTINE(context_on_stack_grown_by_faults, "context-lazy", "mappings")
COROUTINE(context_on_stack_that_grows_down, "context-grows", "mappings")
COROUTINE(jump_begun_by_makecontext, "jump-context", "mappings")
COROUTINE(jump_begun_by_makecontext_rbp, "jump-context", "demangle", "rbp")
COROUTINE(jump_begun_on_alternate_stack, "jump-altstack", "mappings")
COROUTINE(jump_begun_on_alternate_stack_rbp, "jump-altstack", "demangle", "rbp")
COROUTINE(assembly, "assembly", "mappings")
COROUTINE(preempted, "preempted", "mappings")
CASE_BY_DESIGN(fortified_jumps, "coroutines", "fortified")

/* --- disguised pointers ------------------------------------------------------------------------
 */

#define DISGUISED(identifier, name, remedy)                                                        \
  HAZARD(identifier, remedy, .command.argv = {"disguised", name}, .command.options = STRICT)
DISGUISED(tag_in_low_bits, "low-tag", "interior")
DISGUISED(behind_a_prefix, "prefix", "interior")
DISGUISED(last_byte, "last-byte", "interior")
DISGUISED(one_past_the_end, "end", "slack")

/* What an option finds, and what is lost without it (or below it). */
static void with_option(const char *options, const char *program, const char *name,
                        const char *argument, bool holds) {
  struct hazard hazard = {.command.argv = {program, name, argument ? "hold" : NULL, argument},
                          .command.options = options};
  if (holds) hazard_holds(&hazard);
  else hazard_can_fail(&hazard);
}
#define BY_OPTION(identifier, program, name, argument, enough, too_little)                         \
  Test(holds, identifier, .timeout = 150) { with_option(enough, program, name, argument, true); }  \
  Test(can_fail, identifier, .timeout = 150) {                                                     \
    with_option(too_little, program, name, argument, false);                                       \
  }
#define AND "," STRICT

BY_OPTION(tag_in_high_bits, "disguised", "high-tag", NULL, "strip-high-bits=on" AND, STRICT)
BY_OPTION(tag_in_17_bits, "disguised", "wide-tag", NULL, "strip-high-bits=on" AND, STRICT)
BY_OPTION(before_by_1, "disguised", "before-1", NULL, "slop=1" AND, STRICT)
BY_OPTION(before_by_16, "disguised", "before-16", NULL, "slop=16" AND, "slop=15" AND)
BY_OPTION(before_by_256, "disguised", "before-256", NULL, "slop=256" AND, "slop=240" AND)
BY_OPTION(before_by_4096, "disguised", "before-4096", NULL, "slop=4096" AND, "slop=4080" AND)
BY_OPTION(at_4_modulo_8, "disguised", "at-4", NULL, STRICT, "stride=8" AND)
BY_OPTION(at_1_modulo_8, "disguised", "at-1", NULL, "stride=1" AND, STRICT)
BY_OPTION(high_tag_and_before, "disguised", "before-16", NULL, "strip-high-bits=on,slop=16" AND,
          "strip-high-bits=on" AND)

/* --- hidden for a moment -----------------------------------------------------------------------
 */

BY_OPTION(hidden_for_one_cycle, "transient", "complement", "1", "confirm=2", STRICT)
BY_OPTION(hidden_for_two_cycles, "transient", "complement", "2", "confirm=3", "confirm=2")
BY_OPTION(hidden_for_six_cycles, "transient", "complement", "6", "confirm=7", "confirm=6")
BY_OPTION(in_a_file_for_one_cycle, "transient", "file", "1", "confirm=2", STRICT)

/* A suspect is a block like any other until it is taken back; and it is taken back. */
static void transient(const char *options, const char *use, const char *collections) {
  struct hazard hazard = {.command.argv = {"transient", "complement", use, collections},
                          .command.options = options};
  hazard_holds(&hazard);
}
Test(suspects, may_be_measured_resized_and_freed, .timeout = 150) {
  transient("errors=abort,confirm=2", "use", "1");
  transient("errors=abort,confirm=7", "use", "6");
  transient("errors=abort,check=condemn,confirm=3", "use", "2");
}
Test(suspects, are_taken_back_when_confirmed, .timeout = 150) {
  transient("", "leak", "2");
  transient("confirm=1", "leak", "1");
  transient("confirm=7", "leak", "7");
  transient("free=ignore", "leak", "1");
}
