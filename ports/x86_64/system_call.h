/* system_call.h: raw Linux system calls on x86-64: no errno, no cancellation, no libc. */
#ifndef RECLAIM_SYSTEM_CALL_H
#define RECLAIM_SYSTEM_CALL_H

#include <sys/syscall.h>

static inline long system_call_6(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

#define SYSTEM_CALL_PICK(_0, _1, _2, _3, _4, _5, _6, name, ...) name
#define SYSTEM_CALL_0(n) system_call_6(n, 0, 0, 0, 0, 0, 0)
#define SYSTEM_CALL_1(n, a) system_call_6(n, (long)(a), 0, 0, 0, 0, 0)
#define SYSTEM_CALL_2(n, a, b) system_call_6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYSTEM_CALL_3(n, a, b, c) system_call_6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYSTEM_CALL_4(n, a, b, c, d)                                                               \
  system_call_6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYSTEM_CALL_5(n, a, b, c, d, e)                                                            \
  system_call_6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYSTEM_CALL_6(n, a, b, c, d, e, f)                                                         \
  system_call_6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SYSTEM_CALL(...)                                                                           \
  SYSTEM_CALL_PICK(__VA_ARGS__, SYSTEM_CALL_6, SYSTEM_CALL_5, SYSTEM_CALL_4, SYSTEM_CALL_3,        \
                   SYSTEM_CALL_2, SYSTEM_CALL_1, SYSTEM_CALL_0)                                    \
  (__VA_ARGS__)

#endif
