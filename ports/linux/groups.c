/* groups.c: see groups.h; and what memory they leave. */
#include "ports/linux/groups.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"

const struct port_groups port_groups_of_system = {"/proc/self/cgroup", "/sys/fs/cgroup"};

void groups_visit(const struct port_groups *where,
                  void (*visit)(struct group *group, void *context), void *context) {
  struct group group;
  char list[GROUP_PATH];
  long length = port_read_file(where->list, list, sizeof list - 1);
  if (length <= 0) return;
  list[length] = 0;
  const char *own = strncmp(list, "0::", 3) == 0 ? list : strstr(list, "\n0::");
  if (own) own = strchr(own, '/');
  if (!own) return;
  struct text text = text_in(group.path, GROUP_PATH);
  text_add(&text, where->mount);
  char *least = text.end;
  text_add_bytes(&text, own, strcspn(own, "\n"));
  if (text.end == text.limit) return;               /* cut off: it would name another */
  for (char *end = text.end; end >= least; end--) { /* this directory, and each one above */
    if (end < text.end && *end != '/') continue;
    if (end > least && end[-1] == '/') continue; /* the root's own name is a slash */
    group.end = end;
    visit(&group, context);
  }
}

long group_read(struct group *group, const char *file, char *buffer, size_t size) {
  memcpy(group->end, file, strlen(file) + 1);
  long length = port_read_file(group->path, buffer, size);
  return length == -EFBIG ? (long)size : length;
}

size_t group_number(struct group *group, const char *file) {
  char content[32];
  long length = group_read(group, file, content, sizeof content);
  const char *at = content;
  if (length <= 0 || *at < '0' || *at > '9') return SIZE_MAX;
  return text_read_number(&at, content + length);
}

/* A line of memory.stat; 0 where it is not there. */
static size_t line_of(const char *stat, long length, const char *name) {
  const char *end = stat + length;
  size_t named = strlen(name);
  for (const char *at = stat; at < end;) {
    if ((size_t)(end - at) > named && memcmp(at, name, named) == 0) {
      at += named;
      return text_read_number(&at, end);
    }
    at = memchr(at, '\n', (size_t)(end - at));
    if (!at) break;
    at++;
  }
  return 0;
}

/* What the kernel has cached of files it gives up before it refuses memory; what is kept in memory
   alone (tmpfs) counts among it and stays. */
static size_t reclaimable(struct group *group) {
  char stat[1024]; /* both stand at its beginning */
  long length = group_read(group, "/memory.stat", stat, sizeof stat);
  if (length <= 0) return 0;
  size_t files = line_of(stat, length, "file "), shared = line_of(stat, length, "shmem ");
  return files > shared ? files - shared : 0;
}

static void look(struct group *group, void *context) {
  struct port_memory *memory = context;
  size_t most = group_number(group, "/memory.max"), high = group_number(group, "/memory.high");
  size_t limit = size_min(most, high);
  if (limit == SIZE_MAX) return;
  size_t current = group_number(group, "/memory.current");
  if (current == SIZE_MAX) return;
  size_t taken = current - size_min(reclaimable(group), current);
  size_t left = limit > taken ? limit - taken : 0;
  if (left < memory->left) *memory = (struct port_memory){limit, left};
}

bool port_memory_left(const struct port_groups *where, struct port_memory *memory) {
  *memory = (struct port_memory){SIZE_MAX, SIZE_MAX};
  groups_visit(where, look, memory);
  return memory->limit != SIZE_MAX;
}
