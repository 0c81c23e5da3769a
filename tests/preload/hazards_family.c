/* hazards_family.c: the malloc family, its limits and memory pressure (sections 7, 8 and 8b of
   tests/HAZARDS). */
#include "hazards.h"

ONE_TEST_AT_A_TIME

#define PRESSURE(identifier, name, remedy, ...)                                                    \
  HAZARD(identifier, remedy, .command.argv = {"pressure", name}, .command.seconds = 100,           \
         __VA_ARGS__)
#define PRESSURE_BY_DESIGN(identifier, name)                                                       \
  HAZARD_BY_DESIGN(identifier, .command.argv = {"pressure", name}, .command.seconds = 100)

/* 137 MB without; it has ten seconds to go back. */
#define PEAK(identifier, name)                                                                     \
  HAZARD(identifier, "give_back", .command.argv = {"peak", name}, .command.seconds = 60)

/* One library has all of it; what glibc's hooks and variables would change is glibc's. */
CASE_BY_DESIGN(whole_family, "foreign", "family")
HAZARD_BY_DESIGN(settings_of_libc, .command.argv = {"foreign", "family"},
                 .command.environment = {"MALLOC_ARENA_MAX=1", "MALLOC_PERTURB_=165",
                                         "MALLOC_CHECK_=3", "MALLOC_TRACE=trace",
                                         "GLIBC_TUNABLES=glibc.malloc.tcache_count=0"})
/* How much was asked for is not kept anywhere: a cell is scanned and copied whole. */
PRESSURE_BY_DESIGN(usable_size, "usable")
/* A freed cell holds no links, and its memory stays. */
PRESSURE_BY_DESIGN(read_after_free, "stale")
PRESSURE(mapped_over, "mapped-over", "own_pages")
static const struct hazard mapped_over_wiped = {.command.argv = {"pressure", "mapped-over"},
                                                .command.options = "free=quarantine,zero=on"};
static const struct hazard stacks_waiting = {.command.argv = {"pressure", "closed-stacks"},
                                             .command.options = "free=quarantine"};
static const struct hazard stacks_kept = {.command.argv = {"pressure", "closed-stacks"},
                                          .command.options = "free=ignore"};
PRESSURE_BY_DESIGN(closed_stacks, "closed-stacks")
Test(holds, closed_stacks_in_quarantine, .timeout = 150) { hazard_holds(&stacks_waiting); }
Test(holds, closed_stacks_that_are_not_freed, .timeout = 150) { hazard_holds(&stacks_kept); }
Test(holds, mapped_over_and_wiped, .timeout = 150) { hazard_holds(&mapped_over_wiped); }
PRESSURE_BY_DESIGN(list_freed_before_it_is_read_alone, "walked-alone")
PRESSURE(list_freed_before_it_is_read, "walked", "freed_in_hand")

PRESSURE(address_space_limit, "limit", "address_space_limit")
/* Only what is used is made writable, which is what this limit counts. */
PRESSURE_BY_DESIGN(data_limit, "data")
PRESSURE(no_memory, "no-memory", "collect_before_enomem")
PRESSURE(locked_memory, "locked", "locked_memory")
PRESSURE(recycled_memory, "recycled", "calloc_zeroes")
PRESSURE(moved_blocks, "moves", "bounded_moves")
/* The heap and each of its tables are one mapping each. */
PRESSURE_BY_DESIGN(mappings, "mappings")
PRESSURE(given_back, "given-back", "give_back")
PEAK(peak_of_its_own, "own")
PEAK(peak_of_others, "others")
HAZARD(idle_threads, "idle_threads", .command.argv = {"idle"}, .command.seconds = 60)

/* Growth is what was allocated less what was freed. */
PRESSURE_BY_DESIGN(steady_heap, "steady")
PRESSURE(growing_heap, "growing", "back_off")
PRESSURE(queue, "queue", "wipe_dead+give_back", .cycles = 10)
/* The option is the remedy. */
static const struct hazard reused = {
    .command.argv = {"reused"}, .command.options = "free=quarantine,reclaim=on", .cycles = 40};
static const struct hazard reused_at_once = {.command.argv = {"reused"}, .cycles = 40};
Test(holds, reused_addresses, .timeout = 150) { hazard_holds(&reused); }
Test(can_fail, reused_addresses, .timeout = 150) { hazard_can_fail(&reused_at_once); }
PRESSURE(dead_stack, "dead-stack", "unused_stack")
PRESSURE(adjacent_stack, "adjacent", "stack_bounds")
PRESSURE_BY_DESIGN(random_bits, "bits")
/* Marking does not recurse. */
PRESSURE_BY_DESIGN(deep_list, "deep")
PRESSURE(wide_block, "wide", "mark_overflow")
PRESSURE(sparse_block, "sparse", "large_presence")
