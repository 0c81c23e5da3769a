/* base.h: integer types, hints and atomics that every other module uses. No state. */
#ifndef RECLAIM_BASE_H
#define RECLAIM_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NOINLINE __attribute__((noinline))
#define COLD __attribute__((noinline, cold))
#define HIDDEN __attribute__((visibility("hidden")))
#define EXPORT __attribute__((visibility("default")))
/* Initial-exec: reached with one load, never allocated lazily, safe in signal handlers. */
#define THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

#define KERNEL_PAGE ((size_t)4096)

static inline size_t round_up(size_t value, size_t unit) {
  return (value + unit - 1) / unit * unit;
}
static inline size_t round_down(size_t value, size_t unit) { return value / unit * unit; }
static inline size_t size_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

/* The number of ones, without the call that the compiler makes of its builtin where it may not use
   the instruction (Warren, "Hacker's Delight", 5-1). */
static inline unsigned count_ones(uint64_t word) {
  word -= word >> 1 & 0x5555555555555555u;
  word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (unsigned)(word * 0x0101010101010101u >> 56);
}

#define atomic_get(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_get_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atomic_set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_set_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define atomic_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define atomic_sub(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED)

/* Keeps the compiler from moving memory accesses across this point; no instruction. */
#define COMPILER_BARRIER() __asm__ volatile("" ::: "memory")

/* Makes the compiler take a pointer as it is instead of deriving addresses from its parts again. */
#define OPAQUE(pointer) __asm__("" : "+r"(pointer))

/* Assertions that guard memory safety stay in release builds (CHECK); the others
   (ASSERT) are compiled in by --enable-checks. Both report by raw write and abort. */
HIDDEN _Noreturn void check_failed(const char *what, const char *file, int line);
#define CHECK(x) (LIKELY(x) ? (void)0 : check_failed(#x, __FILE__, __LINE__))
#ifdef RECLAIM_CHECKS
#define ASSERT(x) CHECK(x)
#else
#define ASSERT(x) ((void)0)
#endif

#endif
