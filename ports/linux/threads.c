/* threads.c: which tasks there are and what they are doing, by /proc/self/task. */
#include <errno.h>
#include <fcntl.h> /* AT_FDCWD */
#include <linux/futex.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/text.h"
#include "ports/port.h"
#include "ports/x86_64/system_call.h"

/* Flags of a task in field 9 of its stat file (Linux, include/linux/sched.h). */
enum { PF_EXITING = 0x4, PF_IO_WORKER = 0x10, PF_USER_WORKER = 0x4000 };

enum port_thread_state port_thread_state(int thread) {
  if (SYSTEM_CALL(SYS_tgkill, port_process_id(), thread, 0) == -ESRCH) return PORT_THREAD_GONE;
  char path[64], stat[512];
  struct text text = text_in(path, sizeof path - 1);
  text_add(&text, "/proc/self/task/");
  text_add_number(&text, (uint64_t)thread);
  text_add(&text, "/stat");
  *text.end = 0;
  long length = port_read_file(path, stat, sizeof stat);
  if (length == -ENOENT || length == -ESRCH) return PORT_THREAD_GONE;
  if (length <= 0) return PORT_THREAD_ALIVE;
  const char *end = stat + length, *at = end;
  while (at > stat && at[-1] != ')') at--; /* the name in parentheses may hold anything */
  if (at + 1 >= end) return PORT_THREAD_ALIVE;
  char letter = at[1];
  if (letter == 'Z' || letter == 'X') return PORT_THREAD_GONE;
  for (int field = 3; field < 9 && at < end; field++) { /* from before the state to the flags */
    at++;
    while (at < end && *at != ' ') at++;
  }
  at++;
  uint64_t flags = at < end ? text_read_number(&at, end) : 0;
  if (flags & (PF_IO_WORKER | PF_USER_WORKER)) return PORT_THREAD_KERNEL;
  if (flags & PF_EXITING) return PORT_THREAD_GONE;
  return letter == 'D' || letter == 'T' || letter == 't' ? PORT_THREAD_STUCK : PORT_THREAD_ALIVE;
}

struct directory_entry {
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[];
};

int port_list_threads(int *ids, int capacity) {
  int directory = port_open_directory("/proc/self/task");
  if (directory < 0) return directory;
  char buffer[2048] __attribute__((aligned(8)));
  int count = 0;
  long got;
  while ((got = SYSTEM_CALL(SYS_getdents64, directory, buffer, sizeof buffer)) > 0)
    for (long at = 0; at < got;) {
      struct directory_entry *entry = (struct directory_entry *)(buffer + at);
      at += entry->length;
      const char *digit = entry->name;
      int id = (int)text_read_number(&digit, buffer + at);
      if (id > 0) {
        if (count == capacity) {
          port_close(directory);
          return -ENOSPC;
        }
        ids[count++] = id;
      }
    }
  port_close(directory);
  return got < 0 ? (int)got : count;
}

/* The kernel wakes who waits without FUTEX_PRIVATE_FLAG. */
void port_await_helper(uint32_t *alive) {
  struct timespec time = {0, 100 * 1000 * 1000};
  uint32_t id;
  while ((id = atomic_get_acquire(alive)))
    SYSTEM_CALL(SYS_futex, alive, FUTEX_WAIT, id, &time, 0, 0);
}

int port_count_threads(void) {
  struct stat status;
  long result = SYSTEM_CALL(SYS_newfstatat, AT_FDCWD, "/proc/self/task", &status, 0);
  return result < 0 ? (int)result : (int)status.st_nlink - 2;
}
