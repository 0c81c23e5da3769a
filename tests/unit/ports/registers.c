/* registers.c: the bases of fs and gs, protection keys, and the room that a signal frame takes. */
#include "tests/unit/unit.h"

#include <asm/prctl.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

TestSuite(registers, .timeout = 30);

static void expect_bases(const char *how) {
  static int place;
  uintptr_t bases[PORT_BASES], fs = 0;
  syscall(SYS_arch_prctl, ARCH_GET_FS, &fs);
  cr_assert_eq(syscall(SYS_arch_prctl, ARCH_SET_GS, &place), 0);
  port_segment_bases(bases);
  cr_expect_eq(bases[0], fs, "%s", how);
  cr_expect_eq(bases[1], (uintptr_t)&place, "%s", how);
}

Test(registers, bases) {
  expect_bases("by system calls");
  port_hardware = getauxval(AT_HWCAP2);
  port_cpu_init();
  expect_bases("as the CPU can");
}

/* A handler finds room on a stack of just this size, and touches nothing below it. */
static uintptr_t deepest;
static void handle(int number, siginfo_t *info, void *context) {
  (void)number, (void)info, (void)context;
  deepest = (uintptr_t)__builtin_frame_address(0);
}

Test(registers, a_signal_frame_fits) {
  port_cpu_init();
  size_t size = port_stop_stack();
  cr_expect_eq(port_stop_stack(), size, "again");
  cr_expect(size > 1500 && size < getauxval(51) + 2048, "%zu", size);
  char *area = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack_t stack = {.ss_sp = area, .ss_size = size};
  cr_assert_eq(sigaltstack(&stack, NULL), 0);
  struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  cr_assert_eq(sigaction(SIGUSR2, &action, NULL), 0);
  raise(SIGUSR2);
  cr_expect(deepest > (uintptr_t)area + 512, "half a KiB is left for the handler");
  cr_expect(deepest < (uintptr_t)area + size);
}

Test(registers, protection_keys) {
  port_cpu_init();
  int key = pkey_alloc(0, 0);
  if (key < 0) cr_skip_test("no protection keys");
  volatile int *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *page = 42;
  cr_assert_eq(pkey_mprotect((void *)page, 4096, PROT_READ | PROT_WRITE, key), 0);
  cr_assert_eq(pkey_set(key, PKEY_DISABLE_ACCESS), 0);
  uint32_t keys = port_keys_open();
  int seen = *page;
  port_keys_restore(keys);
  cr_expect_eq(seen, 42);
  cr_expect_eq(pkey_get(key), PKEY_DISABLE_ACCESS);
}
