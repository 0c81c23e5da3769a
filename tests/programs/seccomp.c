/* seccomp.c: filters of system calls.

   seccomp own-prctl|own-syscall|own-tight
              installs a filter that kills for what a collection needs and malloc does not (by
              prctl, by syscall, or one that allows nothing but what malloc, write and exit need),
              then allocates and frees in all sizes and in a thread, and ends.
   seccomp own-bad
              the last of these, and frees what is no block: on the stack, in the data, inside a
   block, a second time; and what is one, of libc's own. seccomp inherit kill|refuse|docker|no-clone
              installs a filter that lets a program start, and starts itself under it: it leaks and
              asks for collections, and must end well.
   seccomp refused
              tries to install what is no filter: nothing has changed. */
#include "program.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { KILL = SECCOMP_RET_KILL_PROCESS, ALLOW = SECCOMP_RET_ALLOW };
#define REFUSE (SECCOMP_RET_ERRNO | EPERM)

static struct sock_filter filter[256];
static unsigned short length;

static void add(unsigned short code, unsigned char yes, unsigned char no, uint32_t value) {
  filter[length++] = (struct sock_filter){code, yes, no, value};
}
static void begin_filter(void) {
  add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
}
static void answer(long number, uint32_t action) {
  add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)number);
  add(BPF_RET | BPF_K, 0, 0, action);
}
/* openat with a flag in it. */
static void answer_openat_with(uint32_t flag, uint32_t action) {
  add(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, SYS_openat);
  add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, args[2]));
  add(BPF_JMP | BPF_JSET | BPF_K, 0, 1, flag);
  add(BPF_RET | BPF_K, 0, 0, action);
  add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
}
static struct sock_fprog end_filter(uint32_t action) {
  add(BPF_RET | BPF_K, 0, 0, action);
  return (struct sock_fprog){length, filter};
}

/* What a collection needs, malloc does not, and a program may well forbid. */
static void answer_collector(uint32_t action) {
  static const long numbers[] = {
      SYS_tgkill,           SYS_rt_tgsigqueueinfo, SYS_ioctl,  SYS_getdents64,
      SYS_process_vm_readv, SYS_clock_gettime,     SYS_getpid, SYS_gettid,
      SYS_prlimit64};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) answer(numbers[i], action);
}

static void install(struct sock_fprog program, bool by_number) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) not_possible("no PR_SET_NO_NEW_PRIVS");
  long result = by_number ? syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)
                          : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
  if (result != 0) not_possible("no filter can be installed");
}

/* Allocates and frees in all sizes; leaves much behind. */
static void churn(void) {
  enum { KEPT = 500 };
  static unsigned char *kept[KEPT];
  uint64_t state = 7;
  for (int i = 0; i < 20000; i++) {
    size_t at = next_random(&state) % KEPT, size = next_random(&state) % 3000 + 1;
    if (i % 1000 == 0) size = 300000;
    if (kept[at] != NULL && i % 16 != 0) free(kept[at]);
    kept[at] = i % 7 == 0 ? realloc(malloc(10), size) : malloc(size);
    if (kept[at] == NULL) fail("out of memory");
    memset(kept[at], 1, size);
  }
}

static void *churn_in_thread(void *unused) {
  churn();
  return unused;
}

/* Sleeping and reading, where a program with one thread does idle work. */
static void pass_time(void) {
  int ends[2];
  char byte = 0;
  if (pipe(ends) != 0 || write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
    fail("no pipe");
  struct timespec while_ = {0, 1000000};
  nanosleep(&while_, NULL);
}

#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"
#pragma GCC diagnostic ignored "-Wuse-after-free"

static void *libc_blocks[10];

static void free_badly(void) {
  static char data[64];
  char here[64], *volatile block = malloc(100), *volatile bad = here + 16;
  free(bad);
  bad = data + 16;
  free(bad);
  bad = block + 16;
  free(bad);
  free(block);
  free(block);
  for (int i = 0; i < 10; i++) free(libc_blocks[i]);
}

static void run_own(const char *how) {
  bool bad = strcmp(how, "own-bad") == 0, tight = bad || strcmp(how, "own-tight") == 0;
  void *(*make)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_malloc");
  for (int i = 0; bad && make != NULL && i < 10; i++) libc_blocks[i] = make(100 + i * 9000);
  churn();
  collect();
  begin_filter();
  if (tight) {
    static const long numbers[] = {SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise,   SYS_mremap,
                                   SYS_brk,  SYS_futex,  SYS_write,    SYS_exit_group};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) answer(numbers[i], ALLOW);
    install(end_filter((uint32_t)KILL), false);
  } else {
    answer_collector((uint32_t)KILL);
    answer(SYS_openat, (uint32_t)KILL);
    install(end_filter(ALLOW), strcmp(how, "own-syscall") == 0);
  }
  for (int i = 0; i < 3; i++) {
    churn();
    collect();
  }
  if (bad) free_badly();
  if (!tight) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, churn_in_thread, NULL) != 0) fail("no thread");
    if (pthread_join(thread, NULL) != 0) fail("no join");
    pass_time();
  }
  if (write(1, "lived\n", 6) != 6) _exit(1);
  if (tight) _exit(0);
}

static void run_inherited(void) {
  for (int i = 0; i < 3; i++) {
    churn();
    wipe_stack();
    collect();
  }
  puts("lived");
}

static void run_inherit(char **arguments) {
  const char *kind = arguments[2];
  begin_filter();
  if (strcmp(kind, "kill") == 0 || strcmp(kind, "refuse") == 0) {
    uint32_t action = strcmp(kind, "kill") == 0 ? (uint32_t)KILL : REFUSE;
    static const long numbers[] = {SYS_tgkill, SYS_rt_tgsigqueueinfo, SYS_ioctl, SYS_getdents64};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) answer(numbers[i], action);
    answer_openat_with(O_DIRECTORY, action);
  } else if (strcmp(kind, "trap") == 0) {
    answer(SYS_rt_tgsigqueueinfo, SECCOMP_RET_TRAP);
  } else if (strcmp(kind, "no-clone") == 0) {
    answer(SYS_clone, REFUSE);
  } else { /* as container engines do: some calls are refused that few programs make */
    static const long numbers[] = {SYS_mount,  SYS_reboot,      SYS_swapon,
                                   SYS_bpf,    SYS_ptrace,      SYS_init_module,
                                   SYS_keyctl, SYS_userfaultfd, SYS_process_vm_readv};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) answer(numbers[i], REFUSE);
    answer(SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
  }
  install(end_filter(ALLOW), false);
  execl("/proc/self/exe", arguments[0], "inherited", NULL);
  fail("no exec");
}

int main(int count, char **arguments) {
  CHECK(count >= 2);
  if (strncmp(arguments[1], "own", 3) == 0) run_own(arguments[1]);
  else if (strcmp(arguments[1], "inherited") == 0) run_inherited();
  else if (strcmp(arguments[1], "inherit") == 0 && count == 3) run_inherit(arguments);
  else if (strcmp(arguments[1], "refused") == 0) {
    CHECK(prctl(PR_SET_SECCOMP, 77, NULL, 0, 0) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0x10000, NULL) == -1);
    run_inherited();
  } else fail("usage: seccomp CASE");
  return 0;
}
