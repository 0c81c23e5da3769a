/* sigaction.c: what a program sees of its own signal handlers: queries, flags, masks, one-shot
   handlers, the older functions, children by vfork and fork. What it prints must be the same with
   the library and without it, so it prints no addresses; the checks hold on their own. */
#include "program.h"

#include <setjmp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

/* Not in the headers, but in libc. */
int __sigaction(int, const struct sigaction *, struct sigaction *);
sighandler_t bsd_signal(int, sighandler_t);
sighandler_t __sysv_signal(int, sighandler_t);

enum { RESTORER = 0x04000000 }; /* libc's own flag; what a query shows of it is libc's affair */

static volatile sig_atomic_t plain_runs, info_runs, last_signal, nested, deepest, raised;
static volatile siginfo_t last_info;
static volatile bool context_well, masked_usr2, masked_itself;

static void plain(int number) {
  sigset_t mask;
  plain_runs++;
  last_signal = number;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  masked_usr2 = sigismember(&mask, SIGUSR2);
  masked_itself = sigismember(&mask, number);
}
static void other(int number) { (void)number; }

static void with_info(int number, siginfo_t *info, void *context) {
  ucontext_t *machine = context;
  info_runs++;
  last_signal = number;
  memcpy((void *)&last_info, info, sizeof *info);
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  uintptr_t there = (uintptr_t)machine->uc_mcontext.gregs[REG_RSP];
  context_well = there > here && there - here < 65536;
}

static void nesting(int number) {
  nested++;
  if (nested > deepest) deepest = nested;
  if (nested < 3 && raised++ < 10) /* a blocked one comes again and again */
    raise(number);
  nested--;
}

static const char *name_of(const struct sigaction *action) {
  void *handler = (void *)action->sa_handler;
  return handler == (void *)SIG_DFL     ? "default"
         : handler == (void *)SIG_IGN   ? "ignore"
         : handler == (void *)plain     ? "plain"
         : handler == (void *)other     ? "other"
         : handler == (void *)with_info ? "with_info"
         : handler == (void *)nesting   ? "nesting"
                                        : "UNKNOWN";
}

static const char *name_of_old(sighandler_t handler) {
  struct sigaction action = {.sa_handler = handler};
  return handler == SIG_ERR ? "error" : handler == SIG_HOLD ? "hold" : name_of(&action);
}

static void show(const char *what, int number) {
  struct sigaction now;
  memset(&now, 0x55, sizeof now);
  int result = sigaction(number, NULL, &now);
  if (result != 0) printf("%-34s %2d: %s\n", what, number, strerrorname_np(errno));
  else
    printf("%-34s %2d: %s flags %#x usr1 %d itself %d\n", what, number, name_of(&now),
           (unsigned)now.sa_flags & ~(unsigned)RESTORER, sigismember(&now.sa_mask, SIGUSR1),
           sigismember(&now.sa_mask, number));
}

static void install(int number, void *handler, int flags) {
  struct sigaction action = {.sa_handler = (sighandler_t)handler, .sa_flags = flags}, old;
  sigaddset(&action.sa_mask, SIGUSR2);
  int result = sigaction(number, &action, &old);
  printf("install on %d: %s, before: %s flags %#x\n", number,
         result == 0 ? "done" : strerrorname_np(errno), result == 0 ? name_of(&old) : "-",
         result == 0 ? (unsigned)old.sa_flags & ~(unsigned)RESTORER : 0);
}

static void every_number(void) {
  for (int number = -1; number <= 66; number++) {
    struct sigaction action = {.sa_handler = other, .sa_flags = SA_RESTART};
    if (number == 0 || number == SIGALRM) continue;
    errno = 0;
    int set = sigaction(number, &action, NULL);
    int error = errno;
    show("every number", number);
    printf("  set %d %s\n", set, error == 0 ? "-" : strerrorname_np(error));
    action.sa_handler = SIG_DFL;
    sigaction(number, &action, NULL);
  }
}

static void queries(void) {
  struct sigaction action = {.sa_handler = plain}, old, *same = &action;
  show("fresh", SIGUSR1);
  install(SIGUSR1, plain, SA_RESTART);
  show("plain", SIGUSR1);
  install(SIGUSR1, with_info, SA_SIGINFO | SA_NODEFER);
  show("with_info", SIGUSR1);
  install(SIGUSR1, plain, SA_SIGINFO); /* odd, but the program's affair */
  show("plain with SA_SIGINFO", SIGUSR1);
  install(SIGUSR1, (void *)SIG_IGN, SA_RESTART);
  show("ignored", SIGUSR1);
  install(SIGUSR1, (void *)SIG_DFL, SA_SIGINFO);
  show("default with SA_SIGINFO", SIGUSR1);
  install(SIGUSR1, with_info, SA_SIGINFO);
  /* One structure for both, and what every library does: save, change, put back. */
  CHECK(sigaction(SIGUSR1, same, &action) == 0);
  CHECK(action.sa_sigaction == with_info && (action.sa_flags & SA_SIGINFO) != 0);
  CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == plain);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  show("put back", SIGUSR1);
  /* By a raw call the program sees what the kernel has. Handing it back changes nothing. */
  struct {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
  } raw;
  CHECK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &raw, 8) == 0);
  action = (struct sigaction){.sa_handler = (sighandler_t)raw.handler, .sa_flags = (int)raw.flags};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  show("through the kernel and back", SIGUSR1);
  info_runs = 0;
  raise(SIGUSR1);
  CHECK(info_runs == 1);
  /* A raw installation wins. */
  CHECK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &raw, 8) == 0);
  raw.handler = (void *)other;
  CHECK(syscall(SYS_rt_sigaction, SIGUSR1, &raw, NULL, 8) == 0);
  show("installed by a raw call", SIGUSR1);
  CHECK(__sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == other);
  struct sigaction defaults = {.sa_handler = SIG_DFL};
  CHECK(sigaction(SIGUSR1, &defaults, NULL) == 0);
}

static void delivery(void) {
  union sigval value = {.sival_ptr = (void *)0x123456789abc};
  install(SIGRTMIN + 3, with_info, SA_SIGINFO);
  CHECK(sigqueue(getpid(), SIGRTMIN + 3, value) == 0);
  CHECK(info_runs > 0 && last_signal == SIGRTMIN + 3 && context_well);
  CHECK(last_info.si_code == SI_QUEUE && last_info.si_pid == getpid());
  CHECK(last_info.si_value.sival_ptr == value.sival_ptr);
  printf("queued value arrives\n");
  install(SIGSEGV, with_info, SA_SIGINFO | SA_RESETHAND);
  kill(getpid(), SIGSEGV);
  CHECK(last_signal == SIGSEGV && last_info.si_code == SI_USER);
  show("one-shot with_info, run", SIGSEGV);
  install(SIGUSR1, plain, SA_RESETHAND);
  raise(SIGUSR1);
  CHECK(plain_runs == 1 && masked_usr2 && masked_itself);
  show("one-shot plain, run", SIGUSR1);
  install(SIGUSR1, plain, SA_NODEFER);
  raise(SIGUSR1);
  CHECK(plain_runs == 2 && masked_usr2 && !masked_itself);
  install(SIGUSR1, nesting, SA_NODEFER);
  raise(SIGUSR1);
  printf("nested %d deep with SA_NODEFER\n", (int)deepest);
  deepest = raised = 0;
  install(SIGUSR1, nesting, 0);
  raise(SIGUSR1);
  printf("nested %d deep without\n", (int)deepest);
  /* errno is what the handler leaves. */
  raised = 10;
  errno = EXDEV;
  raise(SIGUSR1);
  CHECK(errno == EXDEV);
}

static char alternate[65536];
static volatile bool on_alternate;
static void where(int number) {
  char *here = __builtin_frame_address(0);
  (void)number;
  on_alternate = here > alternate && here < alternate + sizeof alternate;
}

static sigjmp_buf escape;
static void jump(int number) { siglongjmp(escape, number); }

static void stacks_and_jumps(void) {
  stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  CHECK(sigaltstack(&stack, NULL) == 0);
  struct sigaction action = {.sa_handler = where, .sa_flags = SA_ONSTACK};
  CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
  raise(SIGUSR2);
  CHECK(on_alternate);
  action.sa_flags = 0;
  CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
  raise(SIGUSR2);
  CHECK(!on_alternate);
  action.sa_handler = jump;
  action.sa_flags = SA_ONSTACK;
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  for (volatile int i = 0; i < 1000; i++)
    if (sigsetjmp(escape, 1) == 0) *(volatile int *)(uintptr_t)(8 + i % 2 * 8) = 1;
  printf("1000 jumps out of handlers\n");
  stack.ss_flags = SS_DISABLE;
  CHECK(sigaltstack(&stack, NULL) == 0);
  action.sa_handler = SIG_DFL;
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGUSR2, &action, NULL) == 0);
}

static void older_functions(void) {
  printf("signal: %s\n", name_of_old(signal(SIGHUP, plain)));
  show("signal", SIGHUP);
  printf("siginterrupt: %d\n", siginterrupt(SIGHUP, 1));
  show("siginterrupt on", SIGHUP);
  printf("signal: %s\n", name_of_old(signal(SIGHUP, other)));
  show("signal, interrupting", SIGHUP);
  printf("siginterrupt: %d\n", siginterrupt(SIGHUP, 0));
  show("siginterrupt off", SIGHUP);
  printf("bsd_signal: %s\n", name_of_old(bsd_signal(SIGHUP, plain)));
  show("bsd_signal", SIGHUP);
  printf("ssignal: %s\n", name_of_old(ssignal(SIGHUP, other)));
  show("ssignal", SIGHUP);
  printf("sysv_signal: %s\n", name_of_old(sysv_signal(SIGHUP, plain)));
  show("sysv_signal", SIGHUP);
  printf("__sysv_signal: %s\n", name_of_old(__sysv_signal(SIGHUP, plain)));
  plain_runs = 0;
  raise(SIGHUP);
  CHECK(plain_runs == 1 && !masked_itself);
  show("__sysv_signal, run", SIGHUP);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  printf("sigset: %s\n", name_of_old(sigset(SIGHUP, plain)));
  show("sigset", SIGHUP);
  printf("sigset hold: %s\n", name_of_old(sigset(SIGHUP, SIG_HOLD)));
  printf("sigset hold: %s\n", name_of_old(sigset(SIGHUP, SIG_HOLD)));
  raise(SIGHUP);
  CHECK(plain_runs == 1);
  printf("sigset: %s\n", name_of_old(sigset(SIGHUP, plain)));
  CHECK(plain_runs == 2);
  printf("sigignore: %d\n", sigignore(SIGHUP));
  show("sigignore", SIGHUP);
  int wrong[] = {-1, 0, 32, 33, 65, SIGKILL, SIGSTOP};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    errno = 0;
    printf("signal(%d): %s", wrong[i], name_of_old(signal(wrong[i], plain)));
    printf(" %s;", strerrorname_np(errno));
    printf(" sysv: %s;", name_of_old(sysv_signal(wrong[i], plain)));
    printf(" sigset: %s;", name_of_old(sigset(wrong[i], plain)));
    printf(" hold: %s;", name_of_old(sigset(wrong[i], SIG_HOLD)));
    printf(" interrupt: %d\n", siginterrupt(wrong[i], 1));
  }
  printf("SIG_ERR: %s %s %s\n", name_of_old(signal(SIGHUP, SIG_ERR)),
         name_of_old(sysv_signal(SIGHUP, SIG_ERR)), name_of_old(sigset(SIGHUP, SIG_ERR)));
#pragma GCC diagnostic pop
}

/* What a child does to its handlers must leave the parent's alone, though they share memory. */
static volatile int child_saw;
static void in_child(int number) {
  (void)number;
  child_saw++;
}

NOINLINE static void child_by_vfork(bool by_fork) {
  struct sigaction action = {.sa_handler = in_child}, old;
  int status;
  install(SIGUSR1, plain, SA_RESTART);
  install(SIGUSR2, with_info, SA_SIGINFO);
  fflush(stdout);
  child_saw = 0;
  pid_t child = by_fork ? fork() : vfork();
  if (child == 0) {
    bool well = sigaction(SIGUSR1, &action, &old) == 0 && old.sa_handler == plain;
    well = well && (old.sa_flags & SA_SIGINFO) == 0;
    well = well && sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == in_child;
    raise(SIGUSR1);
    well = well && child_saw == 1;
    action.sa_handler = SIG_DFL;
    well = well && sigaction(SIGUSR2, &action, &old) == 0 && old.sa_sigaction == with_info;
    well = well && sigaction(SIGUSR2, NULL, &old) == 0 && old.sa_handler == SIG_DFL;
    action.sa_handler = SIG_IGN;
    well = well && sigaction(SIGHUP, &action, NULL) == 0;
    _exit(well ? 7 : 8);
  }
  CHECK(waitpid(child, &status, 0) == child);
  printf("%s child: %d\n", by_fork ? "fork" : "vfork", WEXITSTATUS(status));
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  show("after the child", SIGUSR1);
  show("after the child", SIGUSR2);
  plain_runs = info_runs = 0;
  raise(SIGUSR1);
  raise(SIGUSR2);
  CHECK(plain_runs == 1 && info_runs == 1 && child_saw == (by_fork ? 0 : 1));
}

/* Handlers that change handlers, in two threads, while signals arrive. */
enum {
  FLIPS = 100,     /* more than these; the threads may begin late, and at last the alarm ends it */
  ROUNDS = 200000, /* for as long as some tens of collections take */
};
static volatile sig_atomic_t flips, stop;
static void flip(int number);
static void flip_info(int number, siginfo_t *info, void *context) {
  struct sigaction action = {.sa_handler = flip};
  CHECK(info->si_signo == number && context != NULL);
  flips++;
  sigaction(number, &action, NULL);
}
static void flip(int number) {
  struct sigaction action = {.sa_sigaction = flip_info, .sa_flags = SA_SIGINFO};
  flips++;
  sigaction(number, &action, NULL);
}
static void *flood(void *unused) {
  while (!stop) raise(SIGUSR1);
  return unused;
}
static void storm(void) {
  pthread_t threads[2];
  flip(SIGUSR1);
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, flood, NULL) == 0);
  for (int i = 0; i < ROUNDS || flips <= FLIPS; i++) {
    struct sigaction now;
    CHECK(sigaction(SIGUSR1, NULL, &now) == 0);
    bool info = (now.sa_flags & SA_SIGINFO) != 0;
    CHECK(info ? now.sa_sigaction == flip_info : now.sa_handler == flip);
  }
  stop = 1;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  printf("storm over\n");
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  alarm(60);
  every_number();
  queries();
  delivery();
  stacks_and_jumps();
  older_functions();
  child_by_vfork(false);
  child_by_vfork(true);
  storm();
  return 0;
}
