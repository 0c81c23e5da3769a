/* hazards_calls.c: blocking calls (sections 5.4, 8a.3, 8a.4 and 8a.6 of tests/HAZARDS). A stop
   leaves no trace in them: whether their threads are parked, which needs no signal, or signalled,
   as where parking is not possible. The tables of eintr.c and cancel.c have each call, with its
   fortified name where it has one. */
#include "hazards.h"

ONE_TEST_AT_A_TIME

#define OFTEN "collect-every-ms=1"

/* Exit status and length of a table say all; its times differ. */
static void table(const char *name, const char *without, unsigned cycles) {
  struct command command = {.argv = {name}, .options = OFTEN, .without = without, .seconds = 100};
  struct run run = run_command(&command);
  if (run.status >> 8 == 77) cr_skip_test("%s", run.errors);
  expect_success(&run);
  expect_cycles(&run, cycles);
  expect_few_skipped(&run, 5);
  fprintf(stderr, "%s %s: %u cycles, %.1f s\n", name, without ? without : "", run.cycles.done,
          run.seconds);
  run_discard(&run);
}

Test(calls, eintr, .timeout = 120) { table("eintr", NULL, 500); }
Test(calls, eintr_signalled, .timeout = 120) { table("eintr", "parking", 500); }
Test(calls, cancel, .timeout = 120) { table("cancel", NULL, 50); }
Test(calls, cancel_signalled, .timeout = 120) { table("cancel", "parking", 50); }
Test(calls, sigaction, .timeout = 120) { table("sigaction", NULL, 5); }

static const struct hazard unrestarted = {
    .command.argv = {"eintr", "poll"}, .command.options = OFTEN, .remedy = "parking+restart_calls"};
Test(can_fail, eintr, .timeout = 60) { hazard_can_fail(&unrestarted); }

#define PARKED(identifier, name, left_out)                                                         \
  HAZARD(identifier, left_out, .command.argv = {"parked", name}, .cycles = 3)

PARKED(argument, "argument", "kept_arguments")
PARKED(in_register, "register", "parked_frame")
PARKED(handler, "handler", "gate_unparks")
PARKED(raw_handler, "raw-handler", "raw_handlers")
PARKED(jump, "jump", "gate_unparks")
PARKED(thread_end, "thread-end", "gate_unparks")
PARKED(cancelled, "cancel", "cancel_unparks")
PARKED(cancelled_asynchronously, "cancel-asynchronously", "cancel_unparks")
PARKED(cancelled_early, "cancel-early", "early_cancel")
PARKED(cancelled_early_in_child, "cancel-early-in-child", "early_cancel")
HAZARD(vfork_child, "lent_memory", .command.argv = {"parked", "vfork-child"}) /* most time out */
PARKED(shared_tls, "shared-tls", "own_record")
