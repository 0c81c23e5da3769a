/* server_day.c: 24 hours of a server's churn, compressed. server_day MIB [threads=N] [leak=PERCENT]
   [slots=N]

   MIB is what is allocated in all. A day has three shifts of eight hours that are alike, so that
   their memory can be compared: in each the load goes up and down twice, and four mixes of sizes
   take turns. Worker threads, new ones every hour, answer requests: a request makes a session, a
   list of buffers of some 16 KiB, and some blocks that it frees itself; the session takes the place
   of one that an earlier request left in a table that all threads share, whose buffers are checked
   and freed. How much of the table is in use follows the load: when it falls sessions end, in no
   particular order in memory. PERCENT of the sessions are forgotten instead of freed.

   Resident memory is read ten times an hour. Levelled off means: its mean in the last shift is at
   most MOST_GROWTH percent above that in the second; else, where there is a collector, the exit
   status is 1. Prints a line an hour on standard error, with fragmentation: resident memory to what
   is in sessions. */
#include "program.h"

#include <stdatomic.h>

#include "api/reclaim.h"

enum {
  HOURS = 24,
  SHIFT = 8,
  MOST_THREADS = 64,
  MOST_SLOTS = 1 << 20,
  SAMPLES = 10, /* an hour */
  SESSION = 16 << 10,
  MOST_GROWTH = 10, /* percent, from the second shift to the third */
};

/* By the hour, every fourth alike: requests, and how much of the table is in use, in percent. */
static const struct load {
  unsigned requests, slots;
} loads[] = {{40, 30}, {80, 60}, {200, 100}, {80, 60}};

/* Sizes from 2 to the power of `least` to 2 to that of `most`, each power with the same number. */
static const struct mix {
  const char *name;
  unsigned least, most;
} mixes[] = {{"messages", 4, 8}, {"pages", 5, 12}, {"images", 9, 16}, {"uploads", 6, 17}};

struct buffer {
  struct buffer *next;
  uint32_t size, seed;
  unsigned char bytes[];
};
struct session {
  struct buffer *first;
  size_t bytes;
  uint64_t seed;
};

static _Atomic(struct session *) slots[MOST_SLOTS];
static size_t slot_count = 4096, slots_in_use;
static size_t thread_count = 4, leak_percent = 5;
static atomic_size_t made, held, forgotten; /* bytes */

struct worker {
  unsigned hour, number;
  size_t bytes; /* to allocate */
  pthread_t thread;
};

static size_t pick_size(const struct mix *mix, uint64_t *random) {
  size_t power = (size_t)1 << (mix->least + next_random(random) % (mix->most - mix->least));
  return power + next_random(random) % power;
}

static struct session *make_session(const struct mix *mix, uint64_t *random) {
  struct session *session = malloc(sizeof *session);
  CHECK(session != NULL);
  *session = (struct session){NULL, 0, next_random(random)};
  size_t wanted = SESSION / 2 + next_random(random) % SESSION;
  while (session->bytes < wanted) {
    size_t size = sizeof(struct buffer) + pick_size(mix, random);
    struct buffer *buffer = malloc(size);
    CHECK(buffer != NULL);
    *buffer = (struct buffer){session->first, (uint32_t)size, (uint32_t)session->seed};
    memset(buffer->bytes, (int)session->seed | 0x80, size - sizeof *buffer);
    session->first = buffer;
    session->bytes += size;
  }
  made += session->bytes;
  held += session->bytes;
  return session;
}

static void end_session(struct session *session, uint64_t *random) {
  if (session == NULL) return;
  bool forget = next_random(random) % 100 < leak_percent;
  held -= session->bytes;
  if (forget) forgotten += session->bytes;
  for (struct buffer *buffer = session->first, *next; buffer != NULL; buffer = next) {
    size_t length = buffer->size - sizeof *buffer;
    unsigned char byte = (unsigned char)(session->seed | 0x80);
    next = buffer->next;
    CHECK(buffer->seed == (uint32_t)session->seed);
    CHECK(buffer->bytes[0] == byte && buffer->bytes[length - 1] == byte);
    CHECK(buffer->bytes[length / 2] == byte);
    if (!forget) free(buffer);
  }
  if (!forget) free(session);
}

static size_t make_blocks(const struct mix *mix, uint64_t *random) {
  enum { BLOCKS = 4 };
  void *blocks[BLOCKS];
  size_t bytes = 0;
  for (int i = 0; i < BLOCKS; i++) {
    size_t size = pick_size(mix, random);
    CHECK((blocks[i] = malloc(size)) != NULL);
    memset(blocks[i], 0x55, size < 4096 ? size : 4096);
    bytes += size;
  }
  for (int i = BLOCKS; i-- > 0;) free(blocks[i]);
  made += bytes;
  return bytes;
}

static void *work(void *argument) {
  const struct worker *worker = argument;
  uint64_t random = 0x9e3779b97f4a7c15u * (worker->hour * MOST_THREADS + worker->number + 1);
  const struct mix *mix = &mixes[worker->hour / 2 % 4];
  for (size_t i = slots_in_use + worker->number; i < slot_count; i += thread_count)
    end_session(atomic_exchange(&slots[i], NULL), &random);
  for (size_t bytes = 0; bytes < worker->bytes;) {
    struct session *session = make_session(mix, &random);
    bytes += session->bytes + make_blocks(mix, &random);
    end_session(atomic_exchange(&slots[next_random(&random) % slots_in_use], session), &random);
  }
  return NULL;
}

/* --- judging ----------------------------------------------------------------------------------
 */

static struct {
  double sum, most;
  unsigned samples;
} shifts[HOURS / SHIFT];

static void sample(unsigned hour) {
  double mib = (double)resident_kib() / 1024;
  CHECK(mib > 0);
  shifts[hour / SHIFT].sum += mib;
  shifts[hour / SHIFT].samples++;
  if (mib > shifts[hour / SHIFT].most) shifts[hour / SHIFT].most = mib;
}

static double mean(unsigned shift) { return shifts[shift].sum / shifts[shift].samples; }

static struct reclaim_stats stats_now(void) {
  int (*read)(struct reclaim_stats *, size_t) =
      (int (*)(struct reclaim_stats *, size_t))dlsym(RTLD_DEFAULT, "reclaim_stats");
  struct reclaim_stats stats = {0};
  CHECK(read == NULL || read(&stats, sizeof stats) == 0);
  return stats;
}

#define IN_MIB(bytes) ((double)(bytes) / (1 << 20))

static void tell(unsigned hour, double begin) {
  struct reclaim_stats stats = stats_now();
  double resident = (double)resident_kib() / 1024;
  dprintf(
      2,
      "hour %2u %-8s %3u %% load: %7.1f s, made %9.0f MiB, forgotten %7.0f, held %6.1f, resident "
      "%6.1f (%.2f of held); cycles %ju, found live %.1f, in pages %.1f, free and dirty %.1f\n",
      hour, mixes[hour / 2 % 4].name, loads[hour % 4].requests, seconds_now() - begin, IN_MIB(made),
      IN_MIB(forgotten), IN_MIB(held), resident, resident / IN_MIB(held), (uintmax_t)stats.cycles,
      IN_MIB(stats.live_bytes), IN_MIB(stats.heap_bytes), IN_MIB(stats.free_dirty_bytes));
}

static void serve(unsigned hour, size_t bytes) {
  static struct worker workers[MOST_THREADS];
  slots_in_use = slot_count * loads[hour % 4].slots / 100;
  size_t begin = made;
  for (size_t i = 0; i < thread_count; i++) {
    workers[i] =
        (struct worker){.hour = hour, .number = (unsigned)i, .bytes = bytes / thread_count};
    CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
  }
  for (size_t i = 1; i < SAMPLES; i++) {
    while (made - begin < bytes / SAMPLES * i) usleep(500);
    sample(hour);
  }
  for (size_t i = 0; i < thread_count; i++) CHECK(pthread_join(workers[i].thread, NULL) == 0);
  sample(hour);
}

static bool number_of(const char *argument, const char *name, size_t least, size_t most,
                      size_t *number) {
  size_t length = strlen(name);
  if (strncmp(argument, name, length) != 0) return false;
  *number = strtoul(argument + length, NULL, 10);
  CHECK(*number >= least && *number <= most);
  return true;
}

int main(int count, char **arguments) {
  CHECK(count >= 2);
  size_t bytes = strtoul(arguments[1], NULL, 10) << 20;
  CHECK(bytes >= (size_t)HOURS << 20);
  for (int i = 2; i < count; i++)
    if (!number_of(arguments[i], "threads=", 1, MOST_THREADS, &thread_count) &&
        !number_of(arguments[i], "leak=", 0, 100, &leak_percent) &&
        !number_of(arguments[i], "slots=", 100, MOST_SLOTS, &slot_count))
      fail("what is \"%s\"?", arguments[i]);
  double begin = seconds_now();
  for (unsigned hour = 0; hour < HOURS; hour++) {
    serve(hour, bytes / HOURS / 100 * loads[hour % 4].requests);
    tell(hour, begin);
  }
  struct reclaim_stats stats = stats_now();
  dprintf(2, "resident MiB, mean and most: %.1f %.1f, then %.1f %.1f, then %.1f %.1f\n", mean(0),
          shifts[0].most, mean(1), shifts[1].most, mean(2), shifts[2].most);
  dprintf(2, "%ju collections, %ju given up, longest pause %.1f ms, all pauses %.2f s of %.1f\n",
          (uintmax_t)stats.cycles, (uintmax_t)stats.skipped, (double)stats.longest_pause_ns / 1e6,
          (double)stats.total_pause_ns / 1e9, seconds_now() - begin);
  if (collector != NULL && mean(2) > mean(1) * (100 + MOST_GROWTH) / 100)
    fail("resident memory grew from %.1f to %.1f MiB", mean(1), mean(2));
  puts("24 hours served");
  return 0;
}
