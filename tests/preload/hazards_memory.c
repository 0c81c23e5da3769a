/* hazards_memory.c: roots and mapped memory (sections 1 and 2 of tests/HAZARDS). A hazard whose
   remedy is left out and then shows as a hang gets a few seconds for it. */
#include "hazards.h"

#define ROOT(identifier, name, remedy) CASE(identifier, "roots", name, remedy)

/* Registers and stacks */
ROOT(xmm, "xmm", "signal_frame")
ROOT(ymm, "ymm", "signal_frame")
ROOT(zmm, "zmm", "signal_frame")
CASE(red_zone, "stacks", "red-zone", "red_zone")
ROOT(under_handler, "under-handler", "whole_stack")
/* The collector's own data hold its caller's sp; libc's cleanups point to a thread's stack too. */
CASE_BY_DESIGN(malloced_stack, "roots", "malloced-stack")
CASE_BY_DESIGN(thread_malloced_stack, "roots", "thread-malloced-stack")
CASE(stack_pointer, "stacks", "malloced", "stack_pointer+signal_frame")
/* More than one word refers to it here. */
CASE_BY_DESIGN(alternate_stack, "roots", "alternate-stack")
ROOT(thread_alternate_stack, "thread-alternate-stack",
     "alternate_stack+stack_pointer+signal_frame+freed_signal_stack")
CASE(freed_alternate_stack, "stacks", "freed-alternate", "freed_signal_stack")
CASE(shared_alternate_stack, "stacks", "shared-alternate", "freed_signal_stack")
CASE(resumed_alternate_stack, "stacks", "resumed-alternate", "freed_signal_stack")
CASE(unmapped_alternate_stack, "stacks", "unmapped-alternate", "unmapped_signal_stack")
CASE(raw_alternate_stack, "stacks", "raw-alternate", "on_stack")
CASE(returned_alternate_stack, "stacks", "returned-alternate", "shared_signal_stack")
CASE(one_alternate_stack, "stacks", "one-alternate", "shared_signal_stack")
CASE(small_alternate, "stacks", "small-alternate", "small_stacks")
CASE(small_coroutine, "stacks", "small-coroutine", "on_stack")
ROOT(arguments, "arguments", "main_stack_top")
ROOT(environment, "environment", "main_stack_top")
ROOT(stream, "stream", "mappings")
CASE_BY_DESIGN(no_locks, "forbidden", NULL)
ROOT(given_stack, "given-stack", "mappings+stack_pointer+signal_frame+segment_bases")
CASE(given_static, "stacks", "given-static", "mappings")
CASE(given_mapped, "stacks", "given-mapped", "mappings")
CASE(gs_base, "stacks", "gs-base", "segment_bases+signal_frame")
CASE(own_gs_base, "stacks", "own-gs-base", "segment_bases")

/* Threads on their way in and out */
ROOT(thread_result, "thread-result", "mappings")
ROOT(thread_argument, "thread-argument", "mappings")
CASE(exits, "storms", "exits", "exiting_threads")
CASE(creations, "storms", "creations", "newcomers")
HAZARD(workers, "rings+kernel_workers", .command.argv = {"unanswered", "workers"},
       .command.without = "rings", .command.seconds = 60, .hangs = 3)
CASE_BY_DESIGN(long_handler, "masked", "long-handler")

/* Objects of the loader, thread-local storage */
ROOT(bss, "bss", "mappings")
ROOT(module_data, "module-data", "private_files")
ROOT(module_bss, "module-bss", "mappings")
CASE(libraries, "storms", "libraries", "private_files")
ROOT(module_tls, "module-tls", "mappings")
ROOT(thread_module_tls, "thread-module-tls", "mappings")
ROOT(keys, "keys", "mappings")

/* Another collector in the process: its heap holds pointers, and its signals are its own */
CASE(second_heap, "second_collector", "1", "mappings")
CASE(second_collector, "second_collector", "1", "reserved_signal")

/* Mapped memory */
ROOT(mapping, "mapping", "mappings")
ROOT(program_break, "break", "mappings")
CASE(file, "mapped", "file", "private_files")
CASE(many, "mapped", "many", "many_mappings")
CASE(sparse, "mapped", "sparse", "present_only")
/* It takes minutes if each page is asked for. */
static const struct hazard reserved = {.command.argv = {"mapped", "reserved"},
                                       .command.options = "kernel=baseline",
                                       .command.seconds = 30,
                                       .cycles = 60};
Test(holds, large_reservations, .timeout = 40) { hazard_holds(&reserved); }
CASE(truncated, "mapped", "truncated", "present_only+truncated_files")
CASE(shared, "mapped", "shared", "shared_memory")
CASE(shared_forked, "mapped", "shared-forked", "shared_after_fork")
CASE(shared_closed, "mapped", "shared-closed", "unreadable_pages")
CASE(in_code, "mapped", "in-code", "addresses_in_code")
CASE(closed, "mapped", "closed", "unreadable_pages")
CASE(keys_closed, "mapped", "keys", "unreadable_pages")
CASE(closed_block, "mapped", "closed-block", "unreadable_pages")
CASE(closed_across, "mapped", "closed-across", "words_across")
CASE(neighbours_across, "mapped", "neighbours-across", "words_across")
CASE(missing, "mapped", "missing", "present_only")
CASE(lazily_freed, "mapped", "lazily-freed", "mappings")
CASE_BY_DESIGN(in_flight, "mapped", "in-flight")
