/* sent.c: addresses that threads pass to each other through pipes, sockets and message queues
   (kernel_words.h). On their way they stand in the kernel's buffers alone. The object that such a
   word points to or into is pinned until it is freed: when it is received cannot be told.

   A message of 8 to 64 bytes is looked through at steps of four bytes. That it goes to a pipe or a
   socket is asked (one system call) only once such a word was found. */
#include "api/kernel_words.h"

#include "base/remedy.h"
#include "mutator/pin.h"
#include "ports/port.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { STEP = 4 };

static bool carries(int descriptor) {
  if (descriptor == SENT_TO_QUEUE) return true;
  struct stat status;
  int error = errno;
  bool known = fstat(descriptor, &status) == 0;
  errno = error;
  return known && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

void sent_look(int descriptor, const void *buffer, size_t size) {
  bool asked = false;

  if (WITHOUT(sent_words) || atomic_get(&port_sealed)) return;
  for (size_t at = 0; at + sizeof(uintptr_t) <= size; at += STEP) {
    uintptr_t word;
    memcpy(&word, (const char *)buffer + at, sizeof word);
    if (LIKELY(!pin_concerns(word))) continue;
    if (!asked && !carries(descriptor)) return;
    asked = true;
    pin_object(word);
  }
}

void sent_look_pieces(int descriptor, const struct iovec *pieces, size_t count) {
  char message[SENT_MOST];
  size_t size = 0;

  for (size_t i = 0; i < count; i++) {
    if (pieces[i].iov_len > sizeof message - size) return; /* not all of it was sent: a long one */
    memcpy(message + size, pieces[i].iov_base, pieces[i].iov_len);
    size += pieces[i].iov_len;
  }
  if (size % 4 == 0) sent_look(descriptor, message, size);
}
