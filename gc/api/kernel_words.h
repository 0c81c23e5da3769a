/* kernel_words.h: words that the program gives away and gets back from the kernel: what is waited
   for with epoll, values of timers and signals, requests in flight, and addresses sent through
   pipes and sockets. A collector that reads memory does not see them there; here they are noted
   as they pass. Everything here is async-signal-safe and keeps errno. */
#ifndef RECLAIM_KERNEL_WORDS_H
#define RECLAIM_KERNEL_WORDS_H

#include "base/base.h"

struct iovec;

/* The shortest and longest message that is looked into: pointers are sent in small structures. */
enum { SENT_LEAST = 8, SENT_MOST = 64 };

/* A word that only the kernel holds from now on: its object stays until it is freed. */
HIDDEN void kernel_holds(uintptr_t word);

/* To be called after `result` bytes of a buffer were sent through a descriptor: until then the
   buffer may not be readable (EFAULT), and since it has just been read it is. What stands in it is
   reachable until we return. */
HIDDEN COLD void sent_look(int descriptor, const void *buffer, size_t size);
HIDDEN COLD void sent_look_pieces(int descriptor, const struct iovec *pieces, size_t count);

static inline void sent(int descriptor, const void *buffer, size_t size, long result) {
  if (result >= SENT_LEAST && size <= SENT_MOST && size % 4 == 0)
    sent_look(descriptor, buffer, size);
}
static inline void sent_pieces(int descriptor, const struct iovec *pieces, size_t count,
                               long result) {
  if (result >= SENT_LEAST && result <= SENT_MOST) sent_look_pieces(descriptor, pieces, count);
}
/* The same for a message queue. */
enum { SENT_TO_QUEUE = -1 };

#endif
