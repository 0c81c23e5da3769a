/* roots_registers.c: the cases of roots in which a register holds the pointer, the stack pointer
   included: coroutines and stacks in allocated memory. */
#include "roots.h"

#include <sched.h>
#include <ucontext.h>

/* Registers. The pointer is made from its complement inside the assembly, so that no compiler
   temporary ever holds it; the loop waits for the flag with the pointer in that register alone. */

static volatile int spinning, released;

#define SPIN "movl $1, %[spinning]\n1: pause\ncmpl $0, %[released]\nje 1b\n"
#define SPIN_OPERANDS [spinning] "=m"(spinning), [hidden] "+r"(word)
#define SPIN_INPUTS [released] "m"(released)

NOINLINE static uintptr_t spin_rbx(uintptr_t word) {
  __asm__ volatile("mov %[hidden], %%rbx\nnot %%rbx\nxor %[hidden], %[hidden]\n" SPIN
                   "not %%rbx\nmov %%rbx, %[hidden]\nxor %%rbx, %%rbx"
                   : SPIN_OPERANDS:SPIN_INPUTS
                   : "rbx", "memory", "cc");
  return word;
}

NOINLINE static uintptr_t spin_r11(uintptr_t word) {
  __asm__ volatile("mov %[hidden], %%r11\nnot %%r11\nxor %[hidden], %[hidden]\n" SPIN
                   "not %%r11\nmov %%r11, %[hidden]\nxor %%r11, %%r11"
                   : SPIN_OPERANDS:SPIN_INPUTS
                   : "r11", "memory", "cc");
  return word;
}

NOINLINE static uintptr_t spin_xmm(uintptr_t word) {
  __asm__ volatile("not %[hidden]\nmovq %[hidden], %%xmm9\nxor %[hidden], %[hidden]\n" SPIN
                   "movq %%xmm9, %[hidden]\nnot %[hidden]\npxor %%xmm9, %%xmm9"
                   : SPIN_OPERANDS:SPIN_INPUTS
                   : "xmm9", "memory", "cc");
  return word;
}

NOINLINE static uintptr_t spin_ymm(uintptr_t word) {
  __asm__ volatile("not %[hidden]\nmovq %[hidden], %%xmm9\nxor %[hidden], %[hidden]\n"
                   "vinsertf128 $1, %%xmm9, %%ymm9, %%ymm9\n" /* to the upper half alone */
                   "vxorps %%xmm8, %%xmm8, %%xmm8\n"
                   "vblendps $0x0f, %%ymm8, %%ymm9, %%ymm9\n" SPIN
                   "vextractf128 $1, %%ymm9, %%xmm9\nmovq %%xmm9, %[hidden]\nnot %[hidden]\n"
                   "vxorps %%xmm9, %%xmm9, %%xmm9\nvzeroupper"
                   : SPIN_OPERANDS:SPIN_INPUTS
                   : "xmm8", "xmm9", "memory", "cc");
  return word;
}

__attribute__((target("avx512f"))) NOINLINE static uintptr_t spin_zmm(uintptr_t word) {
  __asm__ volatile("not %[hidden]\nvmovq %[hidden], %%xmm31\nxor %[hidden], %[hidden]\n"
                   "vpxord %%zmm30, %%zmm30, %%zmm30\n"
                   "vinserti32x4 $3, %%xmm31, %%zmm30, %%zmm31\n"
                   "vpxord %%zmm30, %%zmm30, %%zmm30\n" SPIN
                   "vextracti32x4 $3, %%zmm31, %%xmm31\nvmovq %%xmm31, %[hidden]\nnot %[hidden]\n"
                   "vpxord %%zmm31, %%zmm31, %%zmm31\nvzeroupper"
                   : SPIN_OPERANDS:SPIN_INPUTS
                   : "xmm30", "xmm31", "memory", "cc");
  return word;
}

/* 64 bytes below the stack pointer: live by the calling convention. */
NOINLINE static uintptr_t spin_red_zone(uintptr_t word) {
  __asm__ volatile("not %[hidden]\nmov %[hidden], -64(%%rsp)\nxor %[hidden], %[hidden]\n" SPIN
                   "mov -64(%%rsp), %[hidden]\nmovq $0, -64(%%rsp)\nnot %[hidden]"
                   : SPIN_OPERANDS:SPIN_INPUTS
                   : "memory", "cc");
  return word;
}

static uintptr_t (*spin)(uintptr_t);

static void *thread_spins(void *number) {
  int i = (int)(intptr_t)number;
  uintptr_t word = spin(hidden[i]);
  CHECK(word == hidden[i]);
  verify_block((void *)~word, i);
  return NULL;
}

static void in_register(uintptr_t (*with)(uintptr_t)) {
  spin = with;
  for (int i = 0; i < SIZES; i++) {
    pthread_t thread;
    spinning = released = 0;
    make_block(i);
    wipe_stack();
    CHECK(pthread_create(&thread, NULL, thread_spins, (void *)(intptr_t)i) == 0);
    while (!spinning) sched_yield();
    collect_often();
    released = 1;
    CHECK(pthread_join(thread, NULL) == 0);
  }
}

static void in_rbx(void) { in_register(spin_rbx); }
static void in_r11(void) { in_register(spin_r11); }
static void in_xmm(void) { in_register(spin_xmm); }
static void in_red_zone(void) { in_register(spin_red_zone); }

static void in_ymm(void) {
  if (!__builtin_cpu_supports("avx")) not_possible("no AVX");
  in_register(spin_ymm);
}

static void in_zmm(void) {
  if (!__builtin_cpu_supports("avx512f")) not_possible("no AVX-512");
  in_register(spin_zmm);
}

/* The collecting thread's own callee-saved registers: call(function, hidden) holds the pointer in
   that register alone while the function runs, and returns the complement again. */
#define CALL_WITH(reg)                                                                             \
  uintptr_t call_with_##reg(void (*)(void), uintptr_t);                                            \
  __asm__(".text\ncall_with_" #reg ":\npush %" #reg "\nmov %rsi, %" #reg "\nnot %" #reg            \
          "\nxor %esi, %esi\ncall *%rdi\nmov %" #reg ", %rax\nnot %rax\npop %" #reg "\nret\n"      \
          ".type call_with_" #reg ", @function\n");
CALL_WITH(rbx)
CALL_WITH(rbp)
CALL_WITH(r12)
CALL_WITH(r15)

static void in_own_registers(void) {
  uintptr_t (*const calls[])(void (*)(void), uintptr_t) = {call_with_rbx, call_with_rbp,
                                                           call_with_r12, call_with_r15};
  for (size_t c = 0; c < sizeof calls / sizeof *calls; c++)
    for (int i = 0; i < SIZES; i++) {
      make_block(i);
      wipe_stack();
      uintptr_t word = calls[c](collect_often, hidden[i]);
      CHECK(word == hidden[i]);
      verify_block((void *)~word, i);
    }
}

/* Coroutines: a suspended one on a malloc'ed stack, and a thread that runs on one to which its
   stack pointer is the only reference. */
static ucontext_t *main_context, *coroutine;

static void coroutine_body(void) {
  void *volatile slots[SIZES];
  store_blocks((void **)slots);
  wipe_stack();
  swapcontext(coroutine, main_context);
  verify_blocks((void **)slots);
}

static void in_suspended_coroutine(void) {
  size_t size = 256 * 1024;
  main_context = malloc(sizeof *main_context);
  coroutine = malloc(sizeof *coroutine);
  CHECK(getcontext(coroutine) == 0);
  coroutine->uc_stack.ss_sp = malloc(size);
  coroutine->uc_stack.ss_size = size;
  coroutine->uc_link = main_context;
  makecontext(coroutine, coroutine_body, 0);
  swapcontext(main_context, coroutine);
  collect_often();
  swapcontext(main_context, coroutine);
}

void call_on_stack(void (*)(void), uintptr_t hidden_top);
__asm__(".text\ncall_on_stack:\npush %rbx\nmov %rsp, %rbx\nnot %rsi\nmov %rsi, %rsp\n"
        "xor %esi, %esi\ncall *%rdi\nmov %rbx, %rsp\npop %rbx\nret\n"
        ".type call_on_stack, @function\n");

static void body_on_own_stack(void) {
  void *volatile slots[SIZES];
  store_blocks((void **)slots);
  collect_often();
  verify_blocks((void **)slots);
}

static void on_malloced_stack(void) {
  size_t size = 512 * 1024;
  char *stack = malloc(size);
  uintptr_t top = ~((uintptr_t)(stack + size) & ~(uintptr_t)63);
  stack = NULL;
  wipe_stack();
  call_on_stack(body_on_own_stack, top);
}

static void *thread_on_own_stack(void *unused) {
  (void)unused;
  char *stack = malloc(512 * 1024);
  uintptr_t top = ~((uintptr_t)(stack + 512 * 1024) & ~(uintptr_t)63);
  stack = NULL;
  wipe_stack();
  call_on_stack((void (*)(void))thread_with_stack_slots, top);
  return NULL;
}

static void thread_on_malloced_stack(void) { start_and_wait(thread_on_own_stack, NULL); }

const struct root_case register_cases[] = {
    {"own-registers", in_own_registers},
    {"rbx", in_rbx},
    {"r11", in_r11},
    {"xmm", in_xmm},
    {"ymm", in_ymm},
    {"zmm", in_zmm},
    {"red-zone", in_red_zone},
    {"coroutine", in_suspended_coroutine},
    {"malloced-stack", on_malloced_stack},
    {"thread-malloced-stack", thread_on_malloced_stack},
    {NULL, NULL},
};
