/* micro.c: runs one allocation workload: micro NAME THREADS PERCENT.

   Prints the workload's checksum; benchmarks/suite measures the process from outside. `micro list`
   names the workloads. */
#include "micro.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

enum { MOST_THREADS = 64 };

static const struct {
  const char *name;
  run_workload *run;
} workloads[] = {
    {"active-sharing", run_active_sharing},
    {"aligned", run_aligned},
    {"batches", run_batches},
    {"big", run_big},
    {"graphs", run_graphs},
    {"growth", run_growth},
    {"mixed", run_mixed},
    {"nbody", run_nbody},
    {"passive-sharing", run_passive_sharing},
    {"phase", run_phase},
    {"remote", run_remote},
    {"server", run_server},
    {"settle", run_settle},
    {"sizes", run_sizes},
    {"threads", run_threads},
    {"tiny", run_tiny},
    {"zeroed", run_zeroed},
};
enum { WORKLOADS = sizeof workloads / sizeof *workloads };

void give_up(const char *what) {
  fprintf(stderr, "micro: failed: %s\n", what);
  exit(1);
}

void show_step(const char *name, uint64_t live_bytes) {
  long total, pages = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  if (file == NULL || fscanf(file, "%ld %ld", &total, &pages) != 2) give_up("/proc/self/statm");
  fclose(file);
  printf("step %s %ld %llu\n", name, pages * (sysconf(_SC_PAGESIZE) / 1024),
         (unsigned long long)live_bytes / 1024);
  fflush(stdout);
}

struct share {
  pthread_t thread;
  unsigned index;
  uint64_t (*work)(unsigned, void *);
  void *argument;
  uint64_t result;
};

static void *run_share(void *argument) {
  struct share *share = argument;
  share->result = share->work(share->index, share->argument);
  return NULL;
}

uint64_t run_in_threads(unsigned threads, uint64_t (*work)(unsigned, void *), void *argument) {
  static struct share shares[MOST_THREADS];
  if (threads == 1) return work(0, argument);
  for (unsigned i = 0; i < threads; i++) {
    shares[i] = (struct share){.index = i, .work = work, .argument = argument};
    if (pthread_create(&shares[i].thread, NULL, run_share, &shares[i]) != 0)
      give_up("pthread_create");
  }
  uint64_t sum = 0;
  for (unsigned i = 0; i < threads; i++) {
    if (pthread_join(shares[i].thread, NULL) != 0) give_up("pthread_join");
    sum += shares[i].result;
  }
  return sum;
}

static bool read_number(const char *text, unsigned most, unsigned *value) {
  char *end;
  unsigned long number = strtoul(text, &end, 10);
  if (end == text || *end != '\0' || number < 1 || number > most) return false;
  *value = (unsigned)number;
  return true;
}

int main(int count, char **arguments) {
  unsigned threads, percent;
  if (count == 2 && strcmp(arguments[1], "list") == 0) {
    for (int i = 0; i < WORKLOADS; i++) puts(workloads[i].name);
    return 0;
  }
  if (count == 4 && read_number(arguments[2], MOST_THREADS, &threads) &&
      read_number(arguments[3], 10000, &percent))
    for (int i = 0; i < WORKLOADS; i++)
      if (strcmp(arguments[1], workloads[i].name) == 0) {
        printf("%016llx\n", (unsigned long long)workloads[i].run(threads, percent));
        return 0;
      }
  fprintf(stderr, "usage: micro NAME THREADS PERCENT, or micro list for the names\n");
  return 2;
}
