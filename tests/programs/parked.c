/* parked.c: a thread in a blocking call is parked: a collection sees it without stopping it. Each
   case has a thread in such a call, or on its way out of one that is unusual, with a block to which
   it alone holds a pointer. parked CASE

   The places: what the call was given; a register of the caller; the frames of a handler that runs
   in the parked thread, gated or installed by a raw system call; of the code after a longjmp out
   of the call; of the handlers of a cancellation; and a thread whose record somebody else could
   park: a vfork child, a raw clone that runs with its creator's TLS. */
#include "roots.h"

#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int pipes[2];                 /* what a thread blocks on */
static volatile bool there, checked; /* how the main thread and the other one wait: spinning */

static void wait_until(volatile bool *flag) {
  while (!*flag) sched_yield();
}

static void hold_spinning(void) {
  there = true;
  while (!checked)
    ;
}

/* The frames of whoever calls this hold the blocks while the main thread collects. */
NOINLINE static void hold_in_frames(void) {
  void *volatile slots[SIZES];
  store_blocks((void **)slots);
  hold_spinning();
  verify_blocks((void **)slots);
}

static pthread_t start(void *(*body)(void *), void *argument) {
  pthread_t thread;
  CHECK(pipe(pipes) == 0);
  CHECK(pthread_create(&thread, NULL, body, argument) == 0);
  return thread;
}

/* The thread says that it is about to call; then it is given some time to do so. */
volatile bool about_to_call;

static void let_it_block(void) {
  wait_until(&about_to_call);
  about_to_call = false;
  usleep(50000);
}

static void finish(pthread_t thread) {
  wait_until(&there);
  collect_often();
  checked = true;
  CHECK(pthread_join(thread, NULL) == 0);
}

/* What the call was given: only the kernel knows where to write. */
static pid_t child;

NOINLINE static void wait_into_new(int i) {
  make_block(i);
  wipe_stack();
  about_to_call = true;
  CHECK(waitpid(child, (int *)~hidden[i], 0) == child);
}

static void *thread_waits(void *number) {
  wait_into_new((int)(intptr_t)number);
  return NULL;
}

static void argument(void) {
  for (int i = 0; i < SIZES; i++) {
    int go[2], status;
    CHECK(pipe(go) == 0 && (child = fork()) >= 0);
    if (child == 0) {
      char byte;
      close(go[1]);
      _exit(read(go[0], &byte, 1) == 0 ? 77 : 1);
    }
    pthread_t thread = start(thread_waits, (void *)(intptr_t)i);
    let_it_block();
    collect_often();
    verify_block((void *)~hidden[i], i);
    close(go[1]);
    close(go[0]);
    CHECK(pthread_join(thread, NULL) == 0);
    memcpy(&status, (void *)~hidden[i], sizeof status);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 77);
  }
}

/* A register that the call preserves: poll_with_rbx(fds, count, timeout, complement) has the
   pointer nowhere else, and returns the complement again. */
uintptr_t poll_with_rbx(struct pollfd *, nfds_t, int, uintptr_t);
__asm__(".text\npoll_with_rbx:\npush %rbx\nmov %rcx, %rbx\nnot %rbx\nxor %ecx, %ecx\n"
        "movb $1, about_to_call(%rip)\ncall poll@PLT\nmov %rbx, %rax\nnot %rax\nxor %ebx, "
        "%ebx\npop %rbx\nret\n"
        ".type poll_with_rbx, @function\n");

static void *thread_polls(void *number) {
  int i = (int)(intptr_t)number;
  struct pollfd entry = {.fd = pipes[0], .events = POLLIN};
  uintptr_t word = poll_with_rbx(&entry, 1, -1, hidden[i]);
  CHECK(word == hidden[i]);
  verify_block((void *)~word, i);
  return NULL;
}

static void in_register(void) {
  for (int i = 0; i < SIZES; i++) {
    make_block(i);
    wipe_stack();
    pthread_t thread = start(thread_polls, (void *)(intptr_t)i);
    let_it_block();
    collect_often();
    CHECK(write(pipes[1], "", 1) == 1);
    CHECK(pthread_join(thread, NULL) == 0);
  }
}

/* A handler that runs in the parked thread, and what it leaves behind. */
static sigjmp_buf escape;
static bool escapes, ends;

static void on_signal(int number) {
  (void)number;
  if (escapes) siglongjmp(escape, 1);
  if (ends) pthread_exit(NULL);
  hold_in_frames();
}

/* Far below the frame from which the call was made. */
NOINLINE static void hold_deep(void) {
  volatile char room[16384];
  room[0] = 1;
  hold_in_frames();
  CHECK(room[0] == 1);
}

static void on_end(void *unused) {
  (void)unused;
  hold_deep();
}

static void *thread_is_signalled(void *unused) {
  (void)unused;
  char byte;
  if (ends) {
    pthread_key_t key;
    CHECK(pthread_key_create(&key, on_end) == 0 && pthread_setspecific(key, &key) == 0);
  }
  if (sigsetjmp(escape, 1) == 0) {
    about_to_call = true;
    CHECK(read(pipes[0], &byte, 1) == 1); /* restarted after the handler */
    CHECK(!escapes && !ends);
  } else {
    hold_deep();
  }
  return NULL;
}

static void signal_it(void) {
  pthread_t thread = start(thread_is_signalled, NULL);
  let_it_block();
  CHECK(pthread_kill(thread, SIGUSR1) == 0);
  wait_until(&there);
  CHECK(write(pipes[1], "", 1) == 1);
  finish(thread);
}

static void install(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
}

static void handler(void) {
  install();
  signal_it();
}

static void jump(void) {
  escapes = true;
  handler();
}

static void thread_end(void) {
  ends = true;
  handler();
}

/* The kernel's own form of a handler, which no function of libc has seen. */
void restore_frame(void);
__asm__(".text\nrestore_frame:\nmov $15, %eax\nsyscall\n.type restore_frame, @function\n");

static void raw_handler(void) {
  struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
  } action = {on_signal, SA_RESTART | 0x04000000, restore_frame, 0};
  long result; /* inline, so that not even syscall() is called */
  register long fourth __asm__("r10") = 8;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(SYS_rt_sigaction), "D"(SIGUSR1), "S"(&action), "d"(0), "r"(fourth)
                   : "rcx", "r11", "memory");
  CHECK(result == 0);
  signal_it();
}

/* A cancellation unwinds the call and runs the program's handlers. */
static void *thread_is_cancelled(void *asynchronous) {
  char byte;
  if (asynchronous) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
  pthread_cleanup_push(on_end, NULL);
  about_to_call = true;
  if (read(pipes[0], &byte, 1) != 0) fail("read came back");
  pthread_cleanup_pop(0);
  return NULL;
}

static void cancel_it(void *asynchronous) {
  pthread_t thread = start(thread_is_cancelled, asynchronous);
  let_it_block();
  collect(); /* it has been held before */
  CHECK(pthread_cancel(thread) == 0);
  finish(thread);
}

static void cancel(void) { cancel_it(NULL); }
static void cancel_asynchronously(void) { cancel_it(&pipes); }

/* The request is there before the thread runs for the first time: it comes to nothing on the one
   processor while we do not wait. */
static void cancel_early(void) {
  enum { ROUNDS = 20 };
  cpu_set_t all, one;
  int number = 0;
  CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
  while (!CPU_ISSET(number, &all)) number++;
  CPU_ZERO(&one);
  CPU_SET(number, &one);
  for (int round = 0; round < ROUNDS; round++) {
    there = checked = false;
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    pthread_t thread = start(thread_is_cancelled, NULL);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    finish(thread);
    close(pipes[0]);
    close(pipes[1]);
  }
}

/* In the child of a fork libc gives the stacks of the parent's threads to new ones, which then have
   the handles of threads that are not there. */
static void cancel_early_in_child(void) {
  int status;
  pthread_t thread = start(thread_is_cancelled, NULL);
  let_it_block();
  pid_t process = fork();
  CHECK(process >= 0);
  if (process == 0) {
    cancel_early();
    _exit(0);
  }
  CHECK(waitpid(process, &status, 0) == process && status == 0);
  CHECK(pthread_cancel(thread) == 0);
  finish(thread);
}

/* A vfork child waits in our memory, in the name of its parent, whose registers only the kernel
   has: the pointer is in one of them, and in no memory. */
static void *thread_collects(void *unused) {
  (void)unused;
  wait_until(&about_to_call);
  while (!checked) {
    collect_often();
    usleep(1000);
  }
  return NULL;
}

static void wait_and_exit(void) {
  wipe_stack();
  poll(NULL, 0, 400);
  _exit(0);
}

void *vfork_with_rbx(void (*child)(void), uintptr_t complement);
__asm__(".text\nvfork_with_rbx:\npush %rbx\npush %r12\nsub $8, %rsp\nmov %rdi, %r12\n"
        "mov %rsi, %rbx\nnot %rbx\nxor %esi, %esi\nmovb $1, about_to_call(%rip)\n"
        "call vfork@PLT\ntest %eax, %eax\njnz 1f\n"
        "xor %ebx, %ebx\ncall *%r12\n1:\nmov %rbx, %rax\n"
        "add $8, %rsp\npop %r12\npop %rbx\nret\n.type vfork_with_rbx, @function\n");

static void vfork_child(void) {
  pthread_t thread = start(thread_collects, NULL);
  make_block(1);
  wipe_stack();
  void *volatile found = vfork_with_rbx(wait_and_exit, hidden[1]);
  checked = true;
  CHECK(pthread_join(thread, NULL) == 0);
  verify_block(found, 1);
  CHECK(wait(NULL) > 0);
}

/* A raw clone without a TLS of its own calls poll in the name of its creator. */
static volatile bool polling;
static volatile int clone_ended;

static int poll_for_creator(void *unused) {
  (void)unused;
  polling = true;
  poll(NULL, 0, 1500);
  clone_ended = 1;
  syscall(SYS_exit, 0);
  return 0;
}

/* Spins with the pointer in a register alone; the complement again. */
NOINLINE static uintptr_t spin_with_rbx(uintptr_t word) {
  __asm__ volatile("mov %[word], %%rbx\nnot %%rbx\nxor %[word], %[word]\nmovb $1, %[there]\n"
                   "1: pause\ncmpb $0, %[checked]\nje 1b\nnot %%rbx\nmov %%rbx, %[word]\n"
                   "xor %%ebx, %%ebx"
                   : [there] "=m"(there), [word] "+r"(word)
                   : [checked] "m"(checked)
                   : "rbx", "memory", "cc");
  return word;
}

static void *thread_clones(void *unused) {
  (void)unused;
  enum { STACK = 64 * 1024 };
  static char stack[STACK] __attribute__((aligned(16)));
  CHECK(clone(poll_for_creator, stack + STACK,
              CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
              NULL) > 0);
  wait_until(&polling);
  double end = seconds_now() + 0.1;
  while (seconds_now() < end)
    ;
  make_block(1);
  wipe_stack();
  uintptr_t word = spin_with_rbx(hidden[1]);
  CHECK(word == hidden[1]);
  verify_block((void *)~word, 1);
  while (!clone_ended) sched_yield();
  return NULL;
}

static void shared_tls(void) { finish(start(thread_clones, NULL)); }

static const struct root_case cases[] = {
    {"argument", argument},
    {"register", in_register},
    {"handler", handler},
    {"raw-handler", raw_handler},
    {"jump", jump},
    {"thread-end", thread_end},
    {"cancel", cancel},
    {"cancel-asynchronously", cancel_asynchronously},
    {"cancel-early", cancel_early},
    {"cancel-early-in-child", cancel_early_in_child},
    {"vfork-child", vfork_child},
    {"shared-tls", shared_tls},
    {NULL, NULL},
};

int main(int count, char **arguments) {
  CHECK(count == 2);
  return run_case(cases, arguments[1]);
}
