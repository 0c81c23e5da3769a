/* registers.c: what else of an x86-64 thread matters to a collector: the bases of fs and gs, the
   protection keys, and how much stack a signal frame takes.

   Bases are read by rdfsbase and rdgsbase where the kernel lets programs use them (Linux 5.9, told
   by bit 1 of AT_HWCAP2), else by arch_prctl. The frame is the ucontext and the extended state in
   its standard form (Intel SDM, volume 1, chapter 13): as far as the last component that the kernel
   lets this process use. What is only had on request (AMX) does not count before it was. */
#include <asm/prctl.h>
#include <cpuid.h>

#include "ports/port.h"
#include "ports/x86_64/system_call.h"

#ifndef ARCH_GET_XCOMP_PERM
#define ARCH_GET_XCOMP_PERM 0x1022
#endif

enum { HWCAP2_FSGSBASE = 1 << 1 };
enum { EXTENDED_STATE = 0xd, FXSAVE_AND_HEADER = 512 + 64 };
/* The kernel's ucontext and siginfo, the extended state's alignment, and what the handler takes. */
enum { FIXED = 456, ALIGNMENT = 64, HANDLER = 1024 };
enum { FEATURES = 7, HAS_XSAVE = 1 << 27, HAS_KEYS = 1 << 4 }; /* the latter two as enabled */

static struct {
  bool read_directly; /* the bases */
  bool has_keys;
  bool has_extended_state;
  uint64_t components; /* for which `extended` was found: cpuid is slow under a hypervisor */
  size_t extended;
} state;

unsigned long port_hardware;

void port_cpu_init(void) {
  unsigned a, b, c, d;
  state.has_keys = __get_cpuid_count(FEATURES, 0, &a, &b, &c, &d) && c & HAS_KEYS;
  state.has_extended_state = __get_cpuid(1, &a, &b, &c, &d) && c & HAS_XSAVE;
  state.read_directly = port_hardware & HWCAP2_FSGSBASE;
}

void port_segment_bases(uintptr_t bases[PORT_BASES]) {
  if (state.read_directly) {
    __asm__ volatile("rdfsbase %0" : "=r"(bases[0]));
    __asm__ volatile("rdgsbase %0" : "=r"(bases[1]));
    return;
  }
  bases[0] = bases[1] = 0;
  SYSTEM_CALL(SYS_arch_prctl, ARCH_GET_FS, &bases[0]);
  SYSTEM_CALL(SYS_arch_prctl, ARCH_GET_GS, &bases[1]);
}

static uint64_t enabled_components(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  uint64_t enabled = (uint64_t)high << 32 | low, permitted = 0;
  if (SYSTEM_CALL(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &permitted) == 0) enabled &= permitted;
  return enabled;
}

static size_t extended_state_size(uint64_t components) {
  size_t size = FXSAVE_AND_HEADER;
  unsigned a, b, c, d;
  for (unsigned i = 2; i < 63; i++)
    if (components >> i & 1 && __get_cpuid_count(EXTENDED_STATE, i, &a, &b, &c, &d))
      size = size_max(size, (size_t)a + b); /* length and place */
  return size;
}

size_t port_stop_stack(void) {
  uint64_t components = state.has_extended_state ? enabled_components() : 0;
  if (!state.extended || components != state.components) {
    state.components = components;
    state.extended = extended_state_size(components);
  }
  return state.extended + FIXED + ALIGNMENT + HANDLER;
}

uint32_t port_keys_open(void) {
  uint32_t keys, unused;
  if (!state.has_keys) return 0;
  __asm__ volatile("rdpkru" : "=a"(keys), "=d"(unused) : "c"(0));
  if (keys) port_keys_restore(0);
  return keys;
}

void port_keys_restore(uint32_t keys) {
  if (state.has_keys) __asm__ volatile("wrpkru" : : "a"(keys), "c"(0), "d"(0) : "memory");
}
