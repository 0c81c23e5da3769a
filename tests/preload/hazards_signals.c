/* hazards_signals.c: signals (section 5 of tests/HAZARDS). A hazard whose remedy is left out and
   then shows as a hang gets a few seconds for it. */
#include "hazards.h"

/* Signals belong to the program */
CASE(pthread_mask, "masked", "pthread-mask", "reserved_signal")
CASE(process_mask, "masked", "process-mask", "reserved_signal")
CASE(raw_mask, "masked", "raw-mask", "patience")
CASE(by_sigwait, "masked", "sigwait", "reserved_signal")
CASE(by_signalfd, "masked", "signalfd", "reserved_signal")
CASE(handlers, "masked", "handlers", "reserved_signal")
CASE_BY_DESIGN(queued, "queued", "1")
CASE(identities, "identities", "1", "setxid_chain")

/* Descriptors that the collector thread opens for a moment (5.11) */
HAZARD(redirect, "own_descriptors", .command.argv = {"redirect", "400000"},
       .command.options = "collect-every-ms=1", .command.seconds = 100, .cycles = 100)

/* Ways out of malloc and into it */
CASE_BY_DESIGN(jumps, "jumps", "handler")
CASE_BY_DESIGN(cancelled, "jumps", "cancel")
CASE_BY_DESIGN(cancelled_deferred, "jumps", "deferred")
HAZARD_BY_DESIGN(thrown, .command.argv = {"thrown"}, .cycles = 10)

/* Under plain malloc a handler that allocates is an end of the program, so that it holds is tested
   in threads.c: handler_at_every_instruction, and jump_at_every_instruction. */
static const struct hazard handler_malloc = {
    .remedy = "handler_levels", .command.argv = {"step", "handler", "3000"}, .command.seconds = 60};
Test(can_fail, handler_malloc, .timeout = 150) { hazard_can_fail(&handler_malloc); }

/* Threads that cannot answer */
CASE(vfork_parent, "unanswered", "vfork", "patience")
CASE(spawn_parent, "unanswered", "spawn", "patience")
CASE(traced, "unanswered", "traced", "patience")
CASE_BY_DESIGN(stopped, "unanswered", "stopped")
CASE(leader, "unanswered", "leader", "one_signal")
/* Refused: a stop without a value could not be told from libc's own use of the number. */
CASE_BY_DESIGN(no_room, "unanswered", "no-room")
CASE(realtime, "unanswered", "realtime", "sleeping_waits")

/* Descriptors */
CASE(descriptors_full, "descriptors", "full", "above_limit")
CASE_BY_DESIGN(descriptors_closed, "descriptors", "closed")
CASE_BY_DESIGN(descriptor_numbers, "descriptors", "numbers")
