/* frame.c and switch.S: registers found in a signal frame, and calls on another stack. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <ucontext.h>

TestSuite(frame, .timeout = 30);

static struct port_frame seen;
static int general, vector;
static const uint64_t number = 0x7e57ab1e7e57ab1e, wide = 0x3141592653589793;

static void handle(int signal_number, siginfo_t *info, void *context) {
  (void)signal_number;
  (void)info;
  port_frame_read(context, &seen);
  for (uintptr_t at = seen.frame_begin; at + 8 <= seen.frame_end; at += 8) {
    general += *(uint64_t *)at == number;
    vector += *(uint64_t *)at == wide;
  }
}

static __attribute__((noinline)) uintptr_t raise_with_registers(void) {
  uintptr_t stack;
  __asm__ volatile("mov %%rsp, %0\n\t"
                   "mov %1, %%r13\n\tmovq %2, %%xmm11\n\t"
                   "mov $39, %%eax\n\tsyscall\n\t" /* getpid */
                   "mov %%eax, %%edi\n\tmov $12, %%esi\n\tmov $62, %%eax\n\tsyscall\n\t"
                   "xor %%r13d, %%r13d\n\tpxor %%xmm11, %%xmm11"
                   : "=&r"(stack)
                   : "m"(number), "m"(wide)
                   : "rax", "rdi", "rsi", "rcx", "r11", "r13", "xmm11", "memory");
  return stack;
}

Test(frame, holds_all_registers) {
  struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
  sigaction(SIGUSR2, &action, NULL);
  uintptr_t stack = raise_with_registers();
  cr_expect_eq(general, 1);
  cr_expect_eq(vector, 1);
  cr_expect_eq(seen.stack_pointer, stack);
  cr_expect(seen.program_counter > (uintptr_t)raise_with_registers &&
            seen.program_counter < (uintptr_t)raise_with_registers + 256);
  cr_expect(seen.frame_end > seen.frame_begin && seen.frame_end - seen.frame_begin < 32768);
  cr_expect(seen.frame_end <= seen.stack_pointer);
  cr_expect_eq(seen.alternate_stack, 0);
}

Test(frame, on_an_alternate_stack) {
  static char stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternate, NULL);
  struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGUSR2, &action, NULL);
  uintptr_t interrupted = raise_with_registers();
  cr_expect_eq(seen.alternate_stack, (uintptr_t)stack);
  cr_expect(seen.frame_begin > (uintptr_t)stack && seen.frame_end <= (uintptr_t)stack + 65536);
  cr_expect_eq(seen.stack_pointer, interrupted);
  cr_expect_eq(general, 1);
  cr_expect_eq(vector, 1);
}

static char other_stack[65536] __attribute__((aligned(16)));
static uintptr_t spilled;
static int found, on_other_stack;

static void search(void *argument) {
  char here;
  on_other_stack = &here >= other_stack && &here < other_stack + sizeof other_stack;
  cr_assert_eq(argument, &found);
  for (int i = 0; i < 6; i++) found += ((uint64_t *)spilled)[i] == number;
  cr_expect_eq((uintptr_t)__builtin_frame_address(0) % 16, 0);
}

Test(frame, a_call_on_another_stack_spills_the_callee_saved_registers) {
  uint64_t after = 0;
  __asm__ volatile("mov %[number], %%r14\n\t"
                   "mov %[top], %%rdx\n\tlea %[spilled], %%rcx\n\t"
                   "lea %[search], %%rdi\n\tlea %[found], %%rsi\n\t"
                   "mov %%rsp, %%r12\n\tand $-16, %%rsp\n\t"
                   "call port_call_on_stack\n\t"
                   "mov %%r12, %%rsp\n\tmov %%r14, %[after]"
                   : [after] "=r"(after), [spilled] "+m"(spilled), [found] "+m"(found)
                   : [number] "m"(number), [top] "r"(other_stack + sizeof other_stack),
                     [search] "m"(*(char *)search)
                   : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r14",
                     "memory", "cc");
  cr_expect_eq(found, 1);
  cr_expect(on_other_stack);
  cr_expect_eq(after, number, "and brings them back");
  cr_expect(spilled < (uintptr_t)&after + 65536 && spilled > (uintptr_t)&after - 65536);
}
