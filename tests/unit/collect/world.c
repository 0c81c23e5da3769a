/* world.c: real threads stopped and let go: spinning, blocked, ending, with their signals blocked.
   While the world is stopped a test makes system calls only and asserts nothing. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "collect/world.h"
#include "mutator/thread.h"

enum { STOP_SIGNAL = 33, MOST = 64 };

static void start(void) {
  unit_start_heap();
  cr_assert(world_init());
}

TestSuite(world, .init = start, .timeout = 60);

static uint64_t signals;
static enum world_result stop(void) {
  signals = port_signals_block_all();
  enum world_result result = world_stop();
  if (result != WORLD_STOPPED) port_signals_restore(signals);
  return result;
}
static void resume(void) {
  world_resume();
  port_signals_restore(signals);
}

/* --- threads that count ----------------------------------------------------------------------- */

static volatile uint64_t counters[MOST];
static bool over;
static pthread_t threads[MOST];
static int ids[MOST];

static void *spin(void *argument) {
  uintptr_t me = (uintptr_t)argument;
  ids[me] = port_thread_id();
  while (!atomic_get(&over)) counters[me]++;
  return NULL;
}

static void *spin_with_signals_blocked(void *argument) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  return spin(argument);
}

static void begin(int count, void *(*function)(void *)) {
  for (uintptr_t i = 0; i < (uintptr_t)count; i++)
    cr_assert_eq(pthread_create(&threads[i], NULL, function, (void *)i), 0);
  for (int i = 0; i < count; i++)
    while (!counters[i]) unit_sleep(1);
}

static void finish(int count) {
  atomic_set(&over, true);
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

static uint64_t sum(int count) {
  uint64_t total = 0;
  for (int i = 0; i < count; i++) total += counters[i];
  return total;
}

static void raw_sleep(unsigned milliseconds) {
  static uint32_t word;
  port_futex_wait(&word, 0, milliseconds * 1000000ull);
}

/* What the last stop says of a thread. The test's process has threads of Criterion's as well. */
static struct stopped_thread find(int id) {
  size_t count;
  const struct stopped_thread *list = world_threads(&count);
  for (size_t i = 0; i < count; i++)
    if (list[i].id == id) return list[i];
  return (struct stopped_thread){0};
}

static void *leave_unseen(void *record) {
  struct thread *thread = thread_attach();
  ids[0] = thread->id;
  atomic_set((struct thread **)record, thread);
  syscall(SYS_exit, 0);
  return NULL;
}

Test(world, a_thread_that_left_unseen_is_forgotten) {
  struct thread *record = NULL;
  thread_attach();
  cr_assert_eq(pthread_create(&threads[0], NULL, leave_unseen, &record), 0);
  while (!atomic_get(&record)) unit_sleep(1);
  while (port_thread_state(ids[0]) != PORT_THREAD_GONE) unit_sleep(1);
  cr_assert_eq(thread_find(ids[0]), record);
  enum world_result result = stop();
  if (result == WORLD_STOPPED) resume();
  cr_expect_eq(result, WORLD_STOPPED);
  cr_expect_null(thread_find(ids[0]));
  world_bury();
  cr_expect_eq(record->id, 0);
}

static void *run_with_another_record(void *argument) {
  thread_attach()->id = 0x7ffffff0; /* that of no thread, as a vfork child leaves it */
  return spin(argument);
}

Test(world, nothing_is_given_up_while_a_thread_runs_with_another_record) {
  thread_attach();
  begin(1, run_with_another_record);
  struct thread *record = thread_find(0x7ffffff0);
  cr_assert(record);
  for (int i = 0; i < 3; i++) {
    enum world_result result = stop();
    if (result == WORLD_STOPPED) resume();
    cr_expect_eq(result, WORLD_STOPPED);
    world_bury();
    cr_expect_neq(record->id, 0);
  }
  finish(1);
}

Test(world, a_single_thread_is_stopped_already) {
  pid_t child = fork();
  if (child == 0) {
    if (stop() != WORLD_STOPPED) _exit(1);
    size_t count;
    world_threads(&count);
    resume();
    _exit(count == 0 ? 0 : 2);
  }
  int status;
  waitpid(child, &status, 0);
  cr_expect_eq(status, 0);
}

static int admitted;
static void *ask_for_admission(void *unused) {
  world_admit();
  atomic_set_release(&admitted, 1);
  return unused;
}

Test(world, a_thread_that_begins_during_a_stop_waits) {
  pid_t child = fork(); /* one thread, so that another can be made while the world is stopped */
  if (child == 0) {
    world_admit(); /* not stopped: at once */
    if (stop() != WORLD_STOPPED) _exit(1);
    pthread_t thread;
    pthread_create(&thread, NULL, ask_for_admission, NULL);
    raw_sleep(50);
    bool early = atomic_get_acquire(&admitted);
    resume();
    pthread_join(thread, NULL);
    _exit(early ? 2 : admitted ? 0 : 3);
  }
  int status;
  waitpid(child, &status, 0);
  cr_expect_eq(status, 0);
}

/* A thread that parks, sleeps in a raw call, and leaves its parking place again and again. */
static uint32_t sleeps, nap_word;
static uint32_t signals_seen;
static void *park_and_sleep(void *argument) {
  uintptr_t me = (uintptr_t)argument;
  struct thread *thread = thread_attach();
  while (!atomic_get(&over)) {
    ids[me] = port_thread_id();
    parking_enter(thread, port_stack_pointer());
    counters[me]++;
    port_futex_wait(&nap_word, 0, 20000000);
    if (!parking_leave(thread)) world_unpark(thread);
    atomic_add(&sleeps, 1);
  }
  atomic_add(&signals_seen, self.stops);
  thread_detach();
  return NULL;
}

/* In a child whose only other thread parks; its exit status says what went wrong. */
static int hold_parked(void) {
  world_allow_parking();
  begin(1, park_and_sleep);
  uint32_t held = 0, stops = 0;
  for (; held < 10 && stops < 1000; stops++) {
    unit_sleep(1);
    if (stop() != WORLD_STOPPED) return 1;
    struct stopped_thread slot = find(ids[0]);
    bool parked = slot.record && parking_is_parked(slot.record);
    bool published = slot.frame.stack_pointer == slot.handler_stack;
    uint32_t before = atomic_get(&sleeps);
    raw_sleep(30); /* longer than it sleeps: it comes back while it is held */
    bool moved = atomic_get(&sleeps) != before;
    resume();
    if (moved) return 2;
    if (parked != published) return 3;
    held += parked;
  }
  finish(1);
  return held < 10 ? 4 : signals_seen != stops - held ? 5 : 0;
}

Test(world, a_parked_thread_is_held_without_a_signal) {
  pid_t child = fork();
  if (child == 0) _exit(hold_parked());
  int status;
  waitpid(child, &status, 0);
  cr_expect_eq(status, 0, "%#x", (unsigned)status);
}

static void handle(int number) { (void)number; }

/* With a handler that is not the gate: the same thread is signalled. */
static int signal_parked(void) {
  world_allow_parking();
  signal(SIGUSR1, handle);
  begin(1, park_and_sleep);
  for (int round = 0; round < 5; round++) {
    if (stop() != WORLD_STOPPED) return 1;
    resume();
    unit_sleep(5);
  }
  finish(1);
  return signals_seen == 5 ? 0 : 2;
}

Test(world, nobody_is_held_when_a_handler_passes_no_gate) {
  pid_t child = fork();
  if (child == 0) _exit(signal_parked());
  int status;
  waitpid(child, &status, 0);
  cr_expect_eq(status, 0, "%#x", (unsigned)status);
}

static void stop_and_look(int count, void *(*function)(void *)) {
  begin(count, function);
  for (int round = 0; round < 20; round++) {
    enum world_result result = stop();
    int stopped = 0;
    uint64_t before = 0, after = 0;
    if (result == WORLD_STOPPED) {
      for (int i = 0; i < count; i++) stopped += find(ids[i]).state != 0;
      before = sum(count);
      raw_sleep(3);
      after = sum(count);
      resume();
    }
    cr_assert_eq(result, WORLD_STOPPED);
    cr_assert_eq(stopped, count);
    cr_assert_eq(before, after, "somebody ran on");
    for (int i = 0; i < count; i++) {
      uint64_t seen = counters[i];
      for (int wait = 0; counters[i] == seen && wait < 2000; wait++) unit_sleep(1);
      cr_assert_neq(counters[i], seen, "thread %d stays stopped", i);
    }
  }
  finish(count);
}

Test(world, eight_threads_stop_and_run_on) { stop_and_look(8, spin); }
Test(world, blocked_signals_do_not_matter) { stop_and_look(3, spin_with_signals_blocked); }

Test(world, two_hundred_stops_in_a_row) {
  begin(6, spin);
  int stopped = 0;
  for (int i = 0; i < 200; i++)
    if (stop() == WORLD_STOPPED) {
      stopped++;
      resume();
    }
  finish(6);
  cr_expect_eq(stopped, 200);
}

Test(world, each_thread_shows_where_it_was) {
  begin(4, spin);
  cr_assert_eq(stop(), WORLD_STOPPED);
  struct stopped_thread copy[4];
  for (int i = 0; i < 4; i++) copy[i] = find(ids[i]);
  resume();
  for (int i = 0; i < 4; i++) {
    cr_assert_eq(copy[i].id, ids[i]);
    pthread_attr_t attributes;
    void *base;
    size_t size;
    pthread_getattr_np(threads[i], &attributes);
    pthread_attr_getstack(&attributes, &base, &size);
    uintptr_t low = (uintptr_t)base, high = low + size;
    const struct port_frame *frame = &copy[i].frame;
    cr_expect(frame->stack_pointer > low && frame->stack_pointer < high);
    cr_expect(frame->program_counter - (uintptr_t)spin + 4096 < 8192, "it was counting");
    cr_expect(frame->frame_begin > low && frame->frame_end < high);
    cr_expect(frame->frame_end - frame->frame_begin >= 512, "vector registers as well");
    cr_expect(frame->frame_end <= frame->stack_pointer, "the frame lies below");
    cr_expect(copy[i].handler_stack > low && copy[i].handler_stack < frame->frame_begin);
  }
  finish(4);
}

static char alternate[64 * 1024];
static void *spin_with_alternate_stack(void *argument) {
  stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  sigaltstack(&stack, NULL);
  return spin(argument);
}

Test(world, the_frame_may_lie_on_an_alternate_stack) {
  begin(1, spin_with_alternate_stack);
  cr_assert_eq(stop(), WORLD_STOPPED);
  struct stopped_thread thread = find(ids[0]);
  resume();
  uintptr_t low = (uintptr_t)alternate, high = low + sizeof alternate;
  cr_expect_eq(thread.frame.alternate_stack, low);
  cr_expect(thread.frame.frame_begin > low && thread.frame.frame_end <= high);
  cr_expect(thread.handler_stack > low && thread.handler_stack < high);
  cr_expect(thread.frame.stack_pointer < low || thread.frame.stack_pointer > high);
  finish(1);
}

/* --- threads that wait, come and go ----------------------------------------------------------- */

static int channel[2];
static void *wait_for_a_byte(void *argument) {
  char byte;
  ids[(uintptr_t)argument] = port_thread_id();
  counters[(uintptr_t)argument] = 1;
  ssize_t got;
  do got = read(channel[0], &byte, 1);
  while (got < 0);
  return NULL;
}

Test(world, threads_that_wait_in_the_kernel_stop) {
  cr_assert_eq(pipe(channel), 0);
  begin(8, wait_for_a_byte);
  for (int i = 0; i < 10; i++) {
    enum world_result result = stop();
    int stopped = 0;
    if (result == WORLD_STOPPED) {
      for (int t = 0; t < 8; t++) stopped += find(ids[t]).frame.stack_pointer != 0;
      resume();
    }
    cr_assert_eq(result, WORLD_STOPPED);
    cr_assert_eq(stopped, 8);
  }
  cr_assert_eq(write(channel[1], "12345678", 8), 8);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
}

static void *end_at_once(void *unused) { return unused; }
static void *make_threads(void *argument) {
  uintptr_t me = (uintptr_t)argument;
  while (!atomic_get(&over)) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_at_once, NULL) == 0) pthread_join(thread, NULL);
    counters[me]++;
  }
  return NULL;
}

Test(world, threads_come_and_go_meanwhile) {
  begin(2, make_threads);
  int stopped = 0, timeouts = 0;
  for (int i = 0; i < 150; i++) {
    enum world_result result = stop();
    if (result == WORLD_STOPPED) {
      uint64_t before = sum(2);
      raw_sleep(1);
      bool still = sum(2) == before;
      resume();
      stopped += still;
    }
    timeouts += result == WORLD_TIMEOUT;
    unit_sleep(1);
  }
  finish(2);
  cr_expect(stopped >= 145, "%d of 150, %d timeouts", stopped, timeouts);
}

static void *outlive_main(void *unused) {
  (void)unused;
  raw_sleep(50);
  for (int i = 0; i < 5; i++) {
    if (stop() != WORLD_STOPPED) _exit(1);
    size_t count;
    const struct stopped_thread *list = world_threads(&count);
    size_t running = 0;
    for (size_t t = 0; t < count; t++) running += list[t].state != 0;
    resume();
    if (running) _exit(2); /* the main thread is a zombie */
  }
  _exit(0);
}

Test(world, after_the_main_thread_has_ended) {
  pid_t child = fork();
  if (child == 0) {
    pthread_t thread;
    pthread_create(&thread, NULL, outlive_main, NULL);
    syscall(SYS_exit, 0); /* this thread alone */
  }
  int status;
  waitpid(child, &status, 0);
  cr_expect(WIFEXITED(status), "status %x", status);
  cr_expect_eq(WEXITSTATUS(status), 0);
}

/* --- a thread that does not answer ------------------------------------------------------------ */

static bool deaf, heard;
static volatile uint32_t stops_heard;
static void *be_deaf(void *argument) {
  uint64_t mask = 1ull << (STOP_SIGNAL - 1), none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8); /* libc would not do it */
  atomic_set(&deaf, true);
  while (atomic_get(&deaf)) counters[(uintptr_t)argument]++;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
  stops_heard = self.stops;
  atomic_set(&heard, true);
  return spin(argument);
}

Test(world, is_given_up_when_a_thread_does_not_answer) {
  begin(2, be_deaf);
  uint64_t from = port_now();
  cr_expect_eq(stop(), WORLD_TIMEOUT);
  uint64_t waited = port_now() - from;
  cr_expect(waited > 100000000 && waited < 3000000000u, "%lu ms", waited / 1000000);
  for (int i = 0; i < 2; i++) { /* nobody was left behind stopped */
    uint64_t seen = counters[i];
    for (int wait = 0; counters[i] == seen && wait < 1000; wait++) unit_sleep(1);
    cr_expect_neq(counters[i], seen);
  }
  atomic_set(&deaf, false); /* now the late signals come, and find nothing to do */
  while (!atomic_get(&heard)) unit_sleep(1);
  for (int i = 0; i < 2; i++) {
    uint64_t seen = counters[i];
    for (int wait = 0; counters[i] == seen && wait < 1000; wait++) unit_sleep(1);
    cr_expect_neq(counters[i], seen, "a late signal stopped thread %d", i);
  }
  for (int i = 0; i < 20; i++) {
    cr_assert_eq(stop(), WORLD_STOPPED, "stop %d", i);
    resume();
  }
  finish(2);
}

Test(world, a_deaf_thread_is_asked_once_and_not_again) {
  begin(1, be_deaf);
  for (int i = 0; i < 4; i++) cr_assert_eq(stop(), WORLD_TIMEOUT);
  atomic_set(&deaf, false);
  while (!atomic_get(&heard)) unit_sleep(1);
  cr_expect_eq(stops_heard, 1, "%u signals had been queued", stops_heard);
  cr_expect_eq(stop(), WORLD_STOPPED);
  resume();
  finish(1);
}

static void *be_deaf_for_half_a_second(void *argument) {
  uint64_t mask = 1ull << (STOP_SIGNAL - 1), none = 0, until = port_now() + 500000000;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
  while (port_now() < until) counters[(uintptr_t)argument]++;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
  return spin(argument);
}

Test(world, a_signal_that_comes_late_answers_the_next_request) {
  begin(1, be_deaf_for_half_a_second);
  cr_assert_eq(stop(), WORLD_TIMEOUT); /* after 400 ms */
  enum world_result result = stop();
  if (result == WORLD_STOPPED) resume();
  cr_expect_eq(result, WORLD_STOPPED);
  finish(1);
}

/* --- the number belongs to libc --------------------------------------------------------------- */

Test(world, libc_may_use_the_signal_for_its_own_ends) {
  begin(3, spin);
  for (int i = 0; i < 5; i++) {
    cr_assert_eq(stop(), WORLD_STOPPED);
    resume();
    cr_assert_eq(setgid(getgid()), 0); /* glibc tells every thread by this signal */
    cr_assert_eq(setuid(getuid()), 0);
  }
  cr_assert(world_install());
  cr_assert_eq(stop(), WORLD_STOPPED);
  resume();
  finish(3);
}

Test(world, a_foreign_signal_of_the_number_stops_nobody) {
  begin(1, spin);
  cr_assert(world_install());
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_code = SI_QUEUE;
  info.si_value.sival_ptr = (void *)0x1234;
  for (int i = 0; i < 10; i++) syscall(SYS_rt_tgsigqueueinfo, getpid(), ids[0], STOP_SIGNAL, &info);
  unit_sleep(20);
  uint64_t seen = counters[0];
  for (int wait = 0; counters[0] == seen && wait < 1000; wait++) unit_sleep(1);
  cr_expect_neq(counters[0], seen);
  finish(1);
}

/* --- frames hold the registers ---------------------------------------------------------------- */

static const uint64_t secret = 0x5ec7e75ec7e75ec7;
static void *hold_in_a_register(void *argument) {
  uintptr_t me = (uintptr_t)argument;
  ids[me] = port_thread_id();
  uint64_t hidden = ~secret;
  __asm__ volatile("not %0\n\tmovq %0, %%xmm7\n\tnot %0" : "+r"(hidden) : : "xmm7");
  register uint64_t value __asm__("r12") = ~hidden;
  __asm__ volatile("" : "+r"(value));
  while (!atomic_get(&over)) {
    counters[me]++;
    __asm__ volatile("" : "+r"(value));
  }
  return NULL;
}

Test(world, general_and_vector_registers_lie_in_the_frame) {
  begin(1, hold_in_a_register);
  cr_assert_eq(stop(), WORLD_STOPPED);
  struct stopped_thread thread = find(ids[0]);
  int found = 0;
  for (uintptr_t at = thread.frame.frame_begin; at + 8 <= thread.frame.frame_end; at += 8)
    found += *(uint64_t *)at == secret;
  resume();
  cr_expect(found >= 2, "r12 and xmm7: found %d", found);
  finish(1);
}
