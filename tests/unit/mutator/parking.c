/* parking.c: the moves of a thread's parking word, and who may make them. */
#include "tests/unit/unit.h"

#include "mutator/parking.h"

static struct thread thread;
static uint32_t current; /* what the collector's epoch is, odd during a stop */
static uint32_t epoch;

static void start(void) {
  thread = (struct thread){.id = 1};
  current = 7;
}

TestSuite(parking, .init = start, .timeout = 20);

Test(parking, in_and_out) {
  cr_expect(!parking_is_parked(&thread));
  cr_expect(parking_enter(&thread, 4096));
  cr_expect(parking_is_parked(&thread));
  cr_expect_eq(thread.parked_stack, 4096);
  cr_expect(!parking_enter(&thread, 8192), "once");
  cr_expect(parking_leave(&thread));
  cr_expect(!parking_is_parked(&thread));
  cr_expect(!parking_leave(&thread));
}

Test(parking, only_a_parked_thread_is_held) {
  cr_expect(!parking_hold(&thread, 7));
  parking_enter(&thread, 1);
  cr_expect(parking_hold(&thread, 7));
  cr_expect(parking_hold(&thread, 7), "as often as one likes");
  cr_expect(!parking_leave(&thread), "not while it is held");
  cr_expect(!parking_try_leave(&thread, &current, &epoch));
  cr_expect_eq(epoch, 7);
  cr_expect(parking_is_parked(&thread));
}

Test(parking, the_end_of_the_stop_lets_it_go) {
  parking_enter(&thread, 1);
  parking_hold(&thread, 7);
  current = 8;
  cr_expect(parking_try_leave(&thread, &current, &epoch));
  cr_expect(!parking_is_parked(&thread));
  cr_expect(parking_try_leave(&thread, &current, &epoch), "it has left");
  cr_expect(parking_enter(&thread, 2));
}

Test(parking, the_next_stop_holds_whom_the_last_one_held) {
  parking_enter(&thread, 1);
  parking_hold(&thread, 7);
  cr_expect(parking_hold(&thread, 9));
  current = 9;
  cr_expect(!parking_try_leave(&thread, &current, &epoch));
  cr_expect_eq(epoch, 9);
}

Test(parking, forbidden_for_good) {
  parking_enter(&thread, 1);
  parking_forbid(&thread);
  cr_expect(!parking_hold(&thread, 7), "it is signalled instead");
  cr_expect(parking_try_leave(&thread, &current, &epoch), "on behalf of the thread");
  cr_expect(!parking_leave(&thread), "which finds that it has left");
  cr_expect(parking_try_leave(&thread, &current, &epoch));
  cr_expect(!parking_enter(&thread, 1));
  cr_expect(!parking_is_parked(&thread));
}

Test(parking, forbidden_while_held) {
  parking_enter(&thread, 1);
  parking_hold(&thread, 7);
  parking_forbid(&thread);
  cr_expect(!parking_try_leave(&thread, &current, &epoch), "the stop must end first");
  current = 8;
  cr_expect(parking_try_leave(&thread, &current, &epoch));
  cr_expect(!parking_enter(&thread, 1));
}
