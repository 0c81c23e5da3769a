/* filters.h: system call filters for tests: the process, or a child of the test, cannot lose them.
 */
#ifndef TESTS_UNIT_FILTERS_H
#define TESTS_UNIT_FILTERS_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* False: none can be installed here. */
static inline bool filter_install(struct sock_filter *code, size_t count) {
  struct sock_fprog program = {(unsigned short)count, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

/* One that answers a system call with an action, and allows all others. */
static inline bool filter_call(long number, uint32_t action) {
  struct sock_filter code[] = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr)},
                               {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)number},
                               {BPF_RET | BPF_K, 0, 0, action},
                               {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  return filter_install(code, sizeof code / sizeof *code);
}

#endif
