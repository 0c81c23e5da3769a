/* clone.c: tasks that no library made. Each keeps the only pointer to a block in a register while
   collections are asked for.

   clone thread    raw threads, without thread-local storage of their own: they are in the task
                   list, and the stop handler runs with their maker's storage.
   clone process   clone(CLONE_VM): a process in our memory that nothing stops.
   clone raw       the same by syscall().
   clone vfork     clone(CLONE_VM | CLONE_VFORK): the parent waits; collections go on afterwards. */
#include "program.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { TASKS = 4, STACK = 64 * 1024, SIZE = 400 };

static struct task {
  uintptr_t hidden;
  uint32_t started, go, done;
  int child;
} tasks[TASKS];

static int run(void *pointer) {
  struct task *task = pointer;
  uintptr_t block = task->hidden;
  /* Disclosed in a register, and in no memory, until it is told to go on. */
  __asm__ volatile("not %0\n\t"
                   "movl $1, %1\n"
                   "1:\tpause\n\t"
                   "cmpl $0, %2\n\t"
                   "je 1b"
                   : "+r"(block), "=m"(task->started)
                   : "m"(task->go)
                   : "memory");
  task->done = pattern_holds((void *)block, SIZE, 1) ? 1 : 2;
  return 0;
}

static void *make_stack(void) {
  char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(stack != MAP_FAILED);
  return stack + STACK;
}

NOINLINE static void hide_block(struct task *task) {
  char *block = malloc(SIZE);
  CHECK(block != NULL);
  fill_pattern(block, SIZE, 1);
  task->hidden = ~(uintptr_t)block;
}

static void await(uint32_t *word) {
  while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 0) usleep(100);
}

/* syscall returns in the child too, to the address on top of its stack; above it lies the task. */
void begin_raw(void);
void run_raw(struct task *task);
__asm__(".pushsection .text\n"
        "begin_raw:\n\t"
        "pop %rdi\n\t"
        "call run_raw\n\t"
        "hlt\n"
        ".popsection");
__attribute__((used)) void run_raw(struct task *task) {
  run(task);
  _exit(0);
}

static int clone_raw(struct task *task, int flags) {
  uintptr_t *top = (uintptr_t *)make_stack() - 3;
  top[0] = (uintptr_t)begin_raw;
  top[1] = (uintptr_t)task;
  struct clone_args arguments = {.flags = (uint64_t)flags & ~(uint64_t)CSIGNAL,
                                 .exit_signal = (uint64_t)flags & CSIGNAL,
                                 .stack = (uint64_t)(uintptr_t)top - STACK / 2,
                                 .stack_size = STACK / 2};
  return (int)syscall(SYS_clone3, &arguments, sizeof arguments);
}

static void start(struct task *task, int flags, bool raw) {
  hide_block(task);
  task->child = raw ? clone_raw(task, flags) : clone(run, make_stack(), flags, task);
  if (task->child < 0) not_possible("no clone");
  await(&task->started);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  bool thread = strcmp(arguments[1], "thread") == 0, raw = strcmp(arguments[1], "raw") == 0;
  bool vforked = strcmp(arguments[1], "vfork") == 0;
  int flags = thread
                  ? CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
                  : CLONE_VM | SIGCHLD;
  if (vforked) {
    for (int i = 0; i < TASKS; i++) tasks[i].go = 1;
    flags |= CLONE_VFORK;
  }
  for (int i = 0; i < TASKS; i++) start(&tasks[i], flags, raw);
  for (int i = 0; i < 3; i++) {
    wipe_stack();
    collect();
    for (int block = 0; block < 200; block++) memset(malloc(SIZE), 0x11, SIZE);
  }
  for (int i = 0; i < TASKS; i++) {
    int status;
    __atomic_store_n(&tasks[i].go, 1, __ATOMIC_RELEASE);
    await(&tasks[i].done);
    if (!thread) CHECK(waitpid(tasks[i].child, &status, 0) == tasks[i].child && status == 0);
  }
  for (int i = 0; i < TASKS; i++) CHECK(tasks[i].done == 1);
  puts("kept");
  return 0;
}
