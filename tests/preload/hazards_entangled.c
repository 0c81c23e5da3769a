/* hazards_entangled.c: what the program does in the middle of something else of its own: a handler
   inside exec, fork or malloc, that may never return there; fork while another thread writes; a
   stack in a frame of another. Without their remedies these hang or lose blocks. */
#include "hazards.h"

ONE_TEST_AT_A_TIME

/* A collection in a handler on an alternate stack, or a stop of the thread that runs it, or of a
   coroutine; that stack being a local array, the frames it interrupted lie below the stack
   pointer. */
HAZARD(array_as_alternate_stack, "nested_stacks", .command.argv = {"stack_in_stack", "handler"})
HAZARD(array_as_alternate_stack_of_a_thread, "nested_stacks",
       .command.argv = {"stack_in_stack", "thread-handler"})
HAZARD(array_as_stack_of_a_child, "nested_stacks", .command.argv = {"stack_in_stack", "child"})
HAZARD(array_as_coroutine_stack, "nested_stacks", .command.argv = {"stack_in_stack", "coroutine"})
HAZARD(array_as_coroutine_stack_of_a_thread, "nested_stacks",
       .command.argv = {"stack_in_stack", "thread-coroutine"})

HAZARD(handler_collects_inside_exec, "own_exec",
       .command = {.argv = {"handler_exec", "1"}, .seconds = 60}, .hangs = 3)
HAZARD(fork_while_a_stream_allocates, "stream_list",
       .command = {.argv = {"fork_stdio", "100"}, .seconds = 60}, .hangs = 3)
HAZARD(longjmp_out_of_malloc, "whole_steps",
       .command = {.argv = {"longjmp_malloc", "2"}, .seconds = 60}, .hangs = 3)
