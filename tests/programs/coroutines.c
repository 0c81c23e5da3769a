/* coroutines.c: a suspended coroutine holds the only pointer to a block. coroutines WAY [PLACE]

   Ways of switching, as real libraries do it:
     context-malloc   makecontext and swapcontext, the stack from malloc
     context-mmap     the same, the stack from mmap, with a guard
     context-lazy     the same; most of the stack is inaccessible, a SIGSEGV handler lets it grow
     context-grows    the same; the stack is a MAP_GROWSDOWN mapping, still a few pages long
     jump-context     begun by makecontext, then switched by sigsetjmp and siglongjmp
     jump-altstack    begun in a signal handler on an alternate stack, then switched like that
     assembly         callee-saved registers pushed, stack pointers exchanged
     preempted        a signal handler on the coroutine's stack switches away by swapcontext
   Places: rbx, rbp, slot (a word of its stack), xmm (preempted only; the other ways save no vector
   register, and the caller of a function cannot expect one back).

   Assembly puts the pointer there and nowhere else, and asks for the switch. What the switch itself
   left below the coroutine's stack pointer is wiped, as any later call would do. */
#include "blocks.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

enum { STACK = 256 * 1024, LAZY_PART = 64 * 1024 };

struct coroutine {
  char *stack;
  ucontext_t context;
  sigjmp_buf jump;
  void *stack_pointer; /* assembly */
};
static struct coroutine *coroutine, *caller; /* both from malloc: their buffers are in the heap */
static uintptr_t (*place)(void (*)(void), uintptr_t);
static int size_now;
static volatile bool ended;
uintptr_t suspended_at; /* its stack pointer, a little above the last one at most */

/* --- places: call(function, hidden) holds the pointer in that place alone meanwhile ------------
 */

#define CALL_WITH(reg)                                                                             \
  uintptr_t call_with_##reg(void (*)(void), uintptr_t);                                            \
  __asm__(".text\ncall_with_" #reg ":\npush %" #reg "\nmov %rsi, %" #reg "\nnot %" #reg            \
          "\nxor %esi, %esi\ncall *%rdi\nmov %" #reg ", %rax\nnot %rax\npop %" #reg "\nret\n"      \
          ".type call_with_" #reg ", @function\n");
CALL_WITH(rbx)
CALL_WITH(rbp)
uintptr_t call_with_slot(void (*)(void), uintptr_t);
__asm__(".text\ncall_with_slot:\nsub $24, %rsp\nnot %rsi\nmov %rsi, 8(%rsp)\nxor %esi, %esi\n"
        "call *%rdi\nmov 8(%rsp), %rax\nnot %rax\nmovq $0, 8(%rsp)\nadd $24, %rsp\nret\n"
        ".type call_with_slot, @function\n");
uintptr_t call_with_xmm(void (*)(void), uintptr_t);
__asm__(".text\ncall_with_xmm:\nsub $8, %rsp\nnot %rsi\nmovq %rsi, %xmm9\nxor %esi, %esi\n"
        "call *%rdi\nmovq %xmm9, %rax\nnot %rax\npxor %xmm9, %xmm9\nadd $8, %rsp\nret\n"
        ".type call_with_xmm, @function\n");

/* --- switches: they leave rbx, rbp and xmm9 to whoever called ----------------------------------
 */

/* The functions' addresses, so that no lazy binding saves registers on the stack. */
void *switch_context = (void *)swapcontext, *set_jump = (void *)__sigsetjmp,
     *jump = (void *)siglongjmp;

/* A collector that interposes swapcontext has a frame of its own here. */
void swap(ucontext_t *from, ucontext_t *to);
__asm__(".text\nswap:\nlea -1024(%rsp), %rax\nmov %rax, suspended_at(%rip)\nsub $8, %rsp\ncall "
        "*switch_context(%rip)\n"
        "add $8, %rsp\nret\n.type swap, @function\n");

void leap(struct __jmp_buf_tag *from, struct __jmp_buf_tag *to);
__asm__(".text\nleap:\nsub $24, %rsp\nmov %rsi, (%rsp)\nmov %rsp, suspended_at(%rip)\n"
        "xor %esi, %esi\ncall *set_jump(%rip)\ntest %eax, %eax\njnz 1f\nmov (%rsp), %rdi\n"
        "mov $1, %esi\ncall *jump(%rip)\n1: add $24, %rsp\nret\n.type leap, @function\n");

void exchange(void **from, void *to);
__asm__(".text\nexchange:\npush %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp, (%rdi)\nmov %rsp, suspended_at(%rip)\nmov %rsi, %rsp\npop %r15\npop %r14\n"
        "pop %r13\npop %r12\npop %rbx\npop %rbp\nret\n.type exchange, @function\n");

/* The handler runs on the way back from the system call, all registers in its frame. */
void interrupt_itself(void);
__asm__(".text\ninterrupt_itself:\nmov $39, %eax\nsyscall\nmov %eax, %edi\nmov $186, %eax\n"
        "syscall\nmov %eax, %esi\nmov $12, %edx\nmov $234, %eax\nsyscall\nret\n" /* tgkill, USR2 */
        ".type interrupt_itself, @function\n");

static void leave_by_context(void) { swap(&coroutine->context, &caller->context); }
static void enter_by_context(void) { swap(&caller->context, &coroutine->context); }
static void leave_by_jump(void) { leap(coroutine->jump, caller->jump); }
static void enter_by_jump(void) { leap(caller->jump, coroutine->jump); }
static void leave_by_exchange(void) { exchange(&coroutine->stack_pointer, caller->stack_pointer); }
static void enter_by_exchange(void) { exchange(&caller->stack_pointer, coroutine->stack_pointer); }
static void preempt(int signal_number) {
  (void)signal_number;
  leave_by_context();
}

static void (*leave)(void);

/* --- the coroutine ------------------------------------------------------------------------------
 */

static void body(void) {
  uintptr_t hidden = place(leave, hidden_blocks[size_now]);
  verify_block(hidden, size_now);
  ended = true;
  for (;;) {
    if (leave == interrupt_itself) leave_by_context();
    else leave();
  }
}

static void make_context(void) {
  CHECK(getcontext(&coroutine->context) == 0);
  coroutine->context.uc_stack.ss_sp = coroutine->stack;
  coroutine->context.uc_stack.ss_size = STACK;
  coroutine->context.uc_link = &caller->context;
  makecontext(&coroutine->context, body, 0);
}

/* The first entry by swapcontext; it comes back by a jump. */
static void begin_jumping(void) {
  make_context();
  if (sigsetjmp(caller->jump, 0) == 0) setcontext(&coroutine->context);
}

static void begin_in_handler(int signal_number) {
  (void)signal_number;
  if (sigsetjmp(coroutine->jump, 0) == 0) return;
  body();
}

static void begin_on_alternate_stack(void) {
  stack_t stack = {.ss_sp = coroutine->stack, .ss_size = STACK};
  struct sigaction action = {.sa_handler = begin_in_handler, .sa_flags = SA_ONSTACK};
  CHECK(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
  CHECK(raise(SIGUSR1) == 0);
  stack.ss_flags = SS_DISABLE;
  CHECK(sigaltstack(&stack, NULL) == 0);
  enter_by_jump();
}

static void begin_exchanging(void) {
  void **top = (void **)(coroutine->stack + STACK - 64);
  top[6] = (void *)body; /* what exchange returns to; the stack is then as after a call */
  coroutine->stack_pointer = top;
  enter_by_exchange();
}

static void begin_by_context(void) {
  make_context();
  enter_by_context();
}

/* --- stacks -------------------------------------------------------------------------------------
 */

static char *stack_from_malloc(void) { return malloc(STACK); }

static char *map(int flags, size_t size) {
  char *memory = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

static char *stack_with_guard(void) {
  char *stack = map(0, STACK + 4096) + 4096;
  CHECK(mprotect(stack, STACK, PROT_READ | PROT_WRITE) == 0);
  return stack;
}

static volatile int faults;

static void let_grow(int signal_number, siginfo_t *info, void *context) {
  (void)signal_number;
  (void)context;
  uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)4095;
  if (page - (uintptr_t)coroutine->stack >= STACK) fail("a fault at %p", info->si_addr);
  faults++;
  CHECK(mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) == 0);
}

static char *stack_that_grows_lazily(void) {
  static char alternate[64 * 1024];
  stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  struct sigaction action = {.sa_sigaction = let_grow, .sa_flags = SA_ONSTACK | SA_SIGINFO};
  CHECK(sigaltstack(&stack, NULL) == 0 && sigaction(SIGSEGV, &action, NULL) == 0);
  char *memory = map(0, STACK);
  CHECK(mprotect(memory + STACK - LAZY_PART, LAZY_PART, PROT_READ | PROT_WRITE) == 0);
  return memory;
}

/* The kernel lets the mapping grow towards the lower end of what we call the stack. */
static char *stack_that_grows_down(void) {
  char *room = map(0, STACK + 2 * 1024 * 1024), *top = room + STACK + 2 * 1024 * 1024;
  CHECK(munmap(room, STACK + 2 * 1024 * 1024) == 0);
  enum { FIRST = 16 * 1024 };
  CHECK(mmap(top - FIRST, FIRST, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1,
             0) == top - FIRST);
  return top - STACK;
}

/* --- all together -------------------------------------------------------------------------------
 */

static const struct way {
  const char *name;
  char *(*stack)(void);
  void (*begin)(void), (*leave)(void), (*enter)(void);
  size_t accessible; /* from the top of the stack down */
} ways[] = {
    {"context-malloc", stack_from_malloc, begin_by_context, leave_by_context, enter_by_context,
     STACK},
    {"context-mmap", stack_with_guard, begin_by_context, leave_by_context, enter_by_context, STACK},
    {"context-lazy", stack_that_grows_lazily, begin_by_context, leave_by_context, enter_by_context,
     LAZY_PART},
    {"context-grows", stack_that_grows_down, begin_by_context, leave_by_context, enter_by_context,
     8 * 1024},
    {"jump-context", stack_with_guard, begin_jumping, leave_by_jump, enter_by_jump, STACK},
    {"jump-altstack", stack_from_malloc, begin_on_alternate_stack, leave_by_jump, enter_by_jump,
     STACK},
    {"assembly", stack_from_malloc, begin_exchanging, leave_by_exchange, enter_by_exchange, STACK},
    {"preempted", stack_with_guard, begin_by_context, interrupt_itself, enter_by_context, STACK},
};

static const struct {
  const char *name;
  uintptr_t (*call)(void (*)(void), uintptr_t);
} places[] = {{"rbx", call_with_rbx},
              {"rbp", call_with_rbp},
              {"slot", call_with_slot},
              {"xmm", call_with_xmm}};

NOINLINE static void wipe_below_coroutine(const struct way *way) {
  volatile char *at = coroutine->stack + STACK - way->accessible;
  while (at < (char *)suspended_at) *at++ = 0;
}

static void run(const struct way *way) {
  for (size_now = 0; size_now < BLOCK_SIZES; size_now++) {
    ended = false;
    make_hidden_block(size_now);
    wipe_stack();
    way->begin();
    CHECK(!ended && suspended_at - (uintptr_t)coroutine->stack < STACK);
    wipe_below_coroutine(way);
    int before = faults;
    collect_and_reuse(block_sizes[size_now]);
    CHECK(faults == before);
    way->enter();
    CHECK(ended);
    free((void *)~hidden_blocks[size_now]);
  }
}

/* What the fortified name is for: a jump to a frame that is gone ends the program, one up does
   not. */
extern _Noreturn void __longjmp_chk(jmp_buf, int);

NOINLINE static void set_deep_below(jmp_buf buffer) {
  volatile char room[64 * 1024];
  room[0] = 0;
  if (setjmp(buffer) == 1) _exit(3);
  room[sizeof room - 1] = 0;
}

static void check_fortified_jumps(void) {
  static jmp_buf up, down;
  if (setjmp(up) == 0) __longjmp_chk(up, 1);
  set_deep_below(down);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    int null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    __longjmp_chk(down, 1);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(int count, char **arguments) {
  CHECK(count == 2 || count == 3);
  if (strcmp(arguments[1], "fortified") == 0) {
    check_fortified_jumps();
    collect();
    puts("held");
    return 0;
  }
  const struct way *way = NULL;
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
    if (strcmp(ways[i].name, arguments[1]) == 0) way = &ways[i];
  CHECK(way != NULL);
  struct sigaction action = {.sa_handler = preempt};
  CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
  leave = way->leave;
  bool any = false;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    if (count == 3 && strcmp(places[i].name, arguments[2]) != 0) continue;
    if (places[i].call == call_with_xmm && leave != interrupt_itself) continue;
    any = true;
    place = places[i].call;
    coroutine = calloc(1, sizeof *coroutine);
    caller = calloc(1, sizeof *caller);
    CHECK(coroutine != NULL && caller != NULL);
    coroutine->stack = way->stack();
    CHECK(coroutine->stack != NULL);
    run(way);
  }
  CHECK(any);
  puts("held");
  return 0;
}
