/* stacks.c: stacks of unusual form, and a register that is in no signal frame. stacks CASE

   red-zone        the pointer 64 bytes below the stack pointer, while signals go to another stack
   small-alternate a thread whose alternate stack is too small for a signal frame of today
   freed-alternate a block that is freed while it is some thread's alternate stack
   unmapped-alternate   memory that is unmapped meanwhile, by its thread and by another
   one-alternate   one alternate stack for all threads
   returned-alternate   the same, where a handler of each has given it back, and returns
   raw-alternate   one that a runtime gives to one thread after the other, and small stacks
   shared-alternate   a block that two threads have as theirs: one gives it back, one goes on
   resumed-alternate   a block that is freed in a handler, whose return makes it the stack again
   small-coroutine a coroutine on a stack that is too small, in a thread with an alternate one
   given-static, given-mapped   a thread on a stack that the program gave it
   malloced        a thread that has changed to a stack from the heap
   gs-base         a block to which the base of gs alone refers; own-gs-base: of the one collecting
 */
#include "reclaimed.h"
#include "roots.h"

#include <asm/prctl.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

static volatile int spinning, released;

static void wait_for_thread(void) {
  while (!spinning) sched_yield();
}

/* Starts the thread, collects while it spins, and lets it go. */
static void collect_beside(void *(*body)(void *), void *argument,
                           const pthread_attr_t *attributes) {
  pthread_t thread;
  spinning = released = 0;
  CHECK(pthread_create(&thread, attributes, body, argument) == 0);
  wait_for_thread();
  collect_often();
  released = 1;
  CHECK(pthread_join(thread, NULL) == 0);
}

static void spin(void) {
  spinning = 1;
  while (!released) __builtin_ia32_pause();
}

/* The words below the stack pointer, seen from a handler's frame elsewhere */

NOINLINE static uintptr_t spin_red_zone(uintptr_t word) {
  __asm__ volatile("not %[hidden]\nmov %[hidden], -64(%%rsp)\nxor %[hidden], %[hidden]\n"
                   "movl $1, %[spinning]\n1: pause\ncmpl $0, %[released]\nje 1b\n"
                   "mov -64(%%rsp), %[hidden]\nmovq $0, -64(%%rsp)\nnot %[hidden]"
                   : [spinning] "=m"(spinning), [hidden] "+r"(word)
                   : [released] "m"(released)
                   : "memory", "cc");
  return word;
}

static void give_alternate(void *memory, size_t size) {
  stack_t stack = {.ss_sp = memory, .ss_size = size};
  if (sigaltstack(&stack, NULL) != 0) not_possible("the kernel refuses such a signal stack");
}

static void *red_zone_thread(void *number) {
  static char alternate[65536];
  int i = (int)(intptr_t)number;
  give_alternate(alternate, sizeof alternate);
  uintptr_t word = spin_red_zone(hidden[i]);
  CHECK(word == hidden[i]);
  verify_block((void *)~word, i);
  return NULL;
}

static void red_zone(void) {
  for (int i = 0; i < SIZES; i++) {
    make_block(i);
    wipe_stack();
    collect_beside(red_zone_thread, (void *)(intptr_t)i, NULL);
  }
}

/* Stacks with no room for a signal frame */

enum { OLD_MINIMUM = 2048 };

static void *small_alternate_thread(void *memory) {
  give_alternate(memory, OLD_MINIMUM);
  spin();
  stack_t off = {.ss_flags = SS_DISABLE};
  CHECK(sigaltstack(&off, NULL) == 0);
  return NULL;
}

static void small_alternate(void) {
  if (getauxval(51) < OLD_MINIMUM) not_possible("signal frames of this machine fit");
  expect_garbage_back();
  unsigned long before = given_up("small-stack");
  collect_beside(small_alternate_thread, malloc(OLD_MINIMUM), NULL);
  CHECK(collector == NULL || given_up("small-stack") > before);
  before = given_up("small-stack");
  expect_garbage_back(); /* it is over with the thread */
  CHECK(given_up("small-stack") == before);
}

/* Blocks that are freed too early: no signal of the program's comes, but stops do. They are handed
   out again once they are no thread's alternate stack, and not before. */

enum { FREED_STACKS = 100, TAKEN_BESIDE = 200 };
static uintptr_t freed[FREED_STACKS];

static bool is_freed(const void *block, size_t size) {
  for (int i = 0; i < FREED_STACKS; i++)
    if (~freed[i] - (uintptr_t)block < size) return true;
  return false;
}

NOINLINE static int take_and_fill(size_t size) {
  static void *blocks[10 * TAKEN_BESIDE];
  int again = 0, count = (int)(size <= 65536 ? 10 * TAKEN_BESIDE : TAKEN_BESIDE);
  for (int i = 0; i < count; i++) {
    blocks[i] = malloc(size);
    memset(blocks[i], 0x55, size);
    again += is_freed(blocks[i], size);
  }
  for (int i = 0; i < count; i++) free(blocks[i]);
  return again;
}

NOINLINE static void free_while_in_use(int i, size_t size) {
  void *memory = malloc(size);
  freed[i] = ~(uintptr_t)memory;
  give_alternate(memory, size);
  free(memory);
}

static void *freed_alternate_thread(void *size) {
  free_while_in_use(0, (size_t)size);
  wipe_stack();
  CHECK(collector == NULL || take_and_fill((size_t)size) == 0);
  spin();
  CHECK(collector == NULL || take_and_fill((size_t)size) == 0);
  return NULL;
}

static void *freed_alternate_short(void *number) {
  free_while_in_use((int)(intptr_t)number, 16384);
  return NULL;
}

static void freed_alternate(void) {
  static const size_t stack_sizes[] = {16384, 40000, 1 << 20};
  for (int i = 0; i < 3; i++) {
    pthread_t thread;
    spinning = released = 0;
    CHECK(pthread_create(&thread, NULL, freed_alternate_thread, (void *)stack_sizes[i]) == 0);
    wait_for_thread();
    for (int turn = 0; turn < 5; turn++) {
      collect();
      CHECK(collector == NULL || take_and_fill(stack_sizes[i]) == 0);
    }
    released = 1;
    CHECK(pthread_join(thread, NULL) == 0);
  }
  for (int i = 0; i < FREED_STACKS; i++) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, freed_alternate_short, (void *)(intptr_t)i) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  int again = 0;
  for (int attempt = 0; attempt < 5 && again < FREED_STACKS - 10; attempt++) {
    wipe_stack();
    collect();
    again = take_and_fill(16384);
  }
  CHECK(collector == NULL || again >= FREED_STACKS - 10);
}

static void *unmapped_alternate_thread(void *unused) {
  void *memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  give_alternate(memory, 65536);
  CHECK(munmap(memory, 65536) == 0);
  spin();
  return unused;
}

static void *unmapper(void *memory) {
  CHECK(munmap(memory, 65536) == 0);
  return NULL;
}

static void *unmapped_by_another(void *unused) {
  void *memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  give_alternate(memory, 65536);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, unmapper, memory) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  spin();
  return unused;
}

/* A call that fails takes nothing away. */
static void not_unmapped(void) {
  static _Alignas(4096) char memory[65536];
  stack_t stack;
  give_alternate(memory, sizeof memory);
  CHECK(munmap(memory + 1, sizeof memory) == -1);
  CHECK(sigaltstack(NULL, &stack) == 0 && stack.ss_sp == memory && !(stack.ss_flags & SS_DISABLE));
}

static void unmapped_alternate(void) {
  collect_beside(unmapped_alternate_thread, NULL, NULL);
  collect_beside(unmapped_by_another, NULL, NULL);
  not_unmapped();
}

/* Several threads that have one for all and compute: whoever wakes with another's registers errs.
 */
static bool gives_back;
static void give_back_in_handler(int number) {
  const stack_t none = {.ss_flags = SS_DISABLE};
  (void)number;
  CHECK(sigaltstack(&none, NULL) == 0);
}

static void *computes(void *number) {
  static char one[65536];
  give_alternate(one, sizeof one);
  if (gives_back) CHECK(raise(SIGUSR1) == 0); /* whose return brings it back */
  uint64_t first = 0;
  __atomic_fetch_add(&spinning, 1, __ATOMIC_SEQ_CST);
  for (int turn = 0; !released; turn++) {
    uint64_t sum = (uintptr_t)number;
    for (int i = 0; i < 5000; i++) {
      sum = sum * 6364136223846793005u + (uintptr_t)number;
      __asm__ volatile("" : "+r"(sum));
    }
    if (turn == 0) first = sum;
    CHECK(sum == first);
  }
  return NULL;
}

static void one_alternate(void) {
  enum { THREADS = 4, TIMES = 300 };
  pthread_t threads[THREADS];
  spinning = released = 0;
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_create(&threads[i], NULL, computes, (void *)(uintptr_t)(i + 1)) == 0);
    while (spinning <= i) sched_yield();
  }
  for (int i = 0; i < TIMES; i++) collect();
  released = 1;
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void returned_alternate(void) {
  gives_back = true;
  CHECK(signal(SIGUSR1, give_back_in_handler) != SIG_ERR);
  one_alternate();
}

/* The first gives it back, the other goes on with it. */
static void *shared_memory;
static void *shares_for_a_while(void *unused) {
  give_alternate(shared_memory, 16384);
  stack_t off = {.ss_flags = SS_DISABLE};
  CHECK(sigaltstack(&off, NULL) == 0);
  return unused;
}

static void *shares(void *unused) {
  pthread_t first;
  give_alternate(shared_memory, 16384);
  CHECK(pthread_create(&first, NULL, shares_for_a_while, NULL) == 0);
  CHECK(pthread_join(first, NULL) == 0);
  spin();
  return unused;
}

static void shared_alternate(void) {
  pthread_t thread;
  shared_memory = malloc(16384);
  freed[0] = ~(uintptr_t)shared_memory;
  spinning = released = 0;
  CHECK(pthread_create(&thread, NULL, shares, NULL) == 0);
  wait_for_thread();
  free(shared_memory);
  shared_memory = NULL;
  for (int turn = 0; turn < 5; turn++) {
    CHECK(collector == NULL || take_and_fill(16384) == 0);
    collect();
  }
  released = 1;
  CHECK(pthread_join(thread, NULL) == 0);
}

static void free_old_stack(int number) {
  (void)number;
  stack_t old;
  static char other[65536];
  CHECK(sigaltstack(NULL, &old) == 0);
  give_alternate(other, sizeof other);
  free(old.ss_sp);
}

static void *resumed_alternate_thread(void *unused) {
  void *memory = malloc(16384);
  freed[0] = ~(uintptr_t)memory;
  give_alternate(memory, 16384);
  struct sigaction action = {.sa_handler = free_old_stack};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && raise(SIGUSR1) == 0);
  CHECK(collector == NULL || take_and_fill(16384) == 0);
  spin();
  CHECK(collector == NULL || take_and_fill(16384) == 0);
  return unused;
}

static void resumed_alternate(void) { collect_beside(resumed_alternate_thread, NULL, NULL); }

static ucontext_t outside, inside;

static void run_small_coroutine(void) {
  char *area = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(area != MAP_FAILED && mprotect(area + 4096, 4096, PROT_READ | PROT_WRITE) == 0);
  CHECK(getcontext(&inside) == 0);
  inside.uc_stack.ss_sp = area + 4096;
  inside.uc_stack.ss_size = 1024;
  inside.uc_link = &outside;
  makecontext(&inside, spin, 0);
  CHECK(swapcontext(&outside, &inside) == 0);
}

static void *small_coroutine_thread(void *unused) {
  static char alternate[65536];
  give_alternate(alternate, sizeof alternate);
  run_small_coroutine();
  return unused;
}

static void small_coroutine(void) { collect_beside(small_coroutine_thread, NULL, NULL); }

/* A runtime of its own (Go's) gives a thread its stack, by calls that nobody sees, for as long as
   the thread is in it; a handler's return shows it. Then the same stack is another thread's. */
static char raw_stack[65536];

static void nothing(int number) { (void)number; }

static void give_raw(int flags) {
  void *volatile block = malloc(100); /* the library knows this thread */
  free(block);
  stack_t stack = {.ss_sp = raw_stack, .ss_size = sizeof raw_stack, .ss_flags = flags};
  long result = SYS_sigaltstack; /* not by syscall(), which is seen */
  __asm__ volatile("syscall" : "+a"(result) : "D"(&stack), "S"(0L) : "rcx", "r11", "memory");
  CHECK(result == 0);
}

static void *raw_for_a_while(void *unused) {
  give_raw(0);
  CHECK(raise(SIGUSR1) == 0);
  give_raw(SS_DISABLE);
  spin();
  return unused;
}

static void *raw_in_coroutine(void *unused) {
  give_raw(0);
  CHECK(raise(SIGUSR1) == 0);
  run_small_coroutine();
  return unused;
}

static void raw_alternate(void) {
  struct sigaction action = {.sa_handler = nothing};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  pthread_t first, second;
  spinning = released = 0;
  CHECK(pthread_create(&first, NULL, raw_for_a_while, NULL) == 0);
  wait_for_thread();
  spinning = 0;
  CHECK(pthread_create(&second, NULL, raw_in_coroutine, NULL) == 0);
  wait_for_thread();
  collect_often();
  released = 1;
  CHECK(pthread_join(first, NULL) == 0 && pthread_join(second, NULL) == 0);
}

/* Stacks that the program provides */

static void *hold_on_stack(void *unused) {
  void *volatile slots[SIZES];
  store_blocks((void **)slots);
  wipe_stack();
  spin();
  verify_blocks((void **)slots);
  return unused;
}

static void on_given_stack(void *stack, size_t size) {
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstack(&attributes, stack, size) == 0);
  collect_beside(hold_on_stack, NULL, &attributes);
  CHECK(pthread_attr_destroy(&attributes) == 0);
}

static void given_static(void) {
  static _Alignas(4096) char stack[512 * 1024];
  on_given_stack(stack, sizeof stack);
}

static void given_mapped(void) {
  size_t size = 512 * 1024;
  void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(stack != MAP_FAILED);
  on_given_stack(stack, size);
}

/* A stack from the heap, to which the stack pointer alone refers */

void call_on_stack(void *(*)(void *), uintptr_t hidden_top);
__asm__(".text\ncall_on_stack:\npush %rbx\nmov %rsp, %rbx\nnot %rsi\nmov %rsi, %rsp\n"
        "xor %esi, %esi\ncall *%rdi\nmov %rbx, %rsp\npop %rbx\nret\n"
        ".type call_on_stack, @function\n");

NOINLINE static uintptr_t make_stack(size_t size) {
  return ~((uintptr_t)((char *)malloc(size) + size) & ~(uintptr_t)63);
}

static void *malloced_thread(void *unused) {
  uintptr_t top = make_stack(512 * 1024);
  wipe_stack();
  call_on_stack(hold_on_stack, top);
  return unused;
}

static void malloced(void) { collect_beside(malloced_thread, NULL, NULL); }

/* The base of gs */

NOINLINE static void set_base(int i) { /* by a raw call, as whoever does this makes it */
  void *block = make_block(i);
  CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, block) == 0);
}

static void verify_base(int i) {
  uintptr_t base = 0;
  CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0);
  verify_block((void *)base, i);
}

static void *base_thread(void *number) {
  set_base((int)(intptr_t)number);
  wipe_stack();
  spin();
  verify_base((int)(intptr_t)number);
  return NULL;
}

static void gs_base(void) {
  for (int i = 0; i < SIZES; i++) collect_beside(base_thread, (void *)(intptr_t)i, NULL);
}

static void own_gs_base(void) {
  for (int i = 0; i < SIZES; i++) {
    set_base(i);
    wipe_stack();
    collect_often();
    verify_base(i);
  }
}

static const struct root_case cases[] = {
    {"red-zone", red_zone},
    {"small-alternate", small_alternate},
    {"freed-alternate", freed_alternate},
    {"unmapped-alternate", unmapped_alternate},
    {"shared-alternate", shared_alternate},
    {"one-alternate", one_alternate},
    {"returned-alternate", returned_alternate},
    {"raw-alternate", raw_alternate},
    {"resumed-alternate", resumed_alternate},
    {"small-coroutine", small_coroutine},
    {"given-static", given_static},
    {"given-mapped", given_mapped},
    {"malloced", malloced},
    {"gs-base", gs_base},
    {"own-gs-base", own_gs_base},
    {NULL, NULL},
};

int main(int count, char **arguments) { return count == 2 ? run_case(cases, arguments[1]) : 2; }
