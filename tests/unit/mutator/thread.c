/* thread.c: the registry of threads and the mutators of handlers inside malloc. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct mutator *fast_mutator(void) {
  return (struct mutator *)((char *)&mutator_fast.dummy + self.displacement);
}

TestSuite(thread, .init = unit_start_heap, .timeout = 60);

Test(thread, a_thread_is_set_up_when_first_asked_for) {
  cr_expect_null(self.thread);
  cr_expect_eq(self.displacement, 0);
  struct thread *thread = thread_attach();
  cr_assert(thread);
  cr_expect_eq(thread->id, port_thread_id());
  cr_expect_eq(self.thread, thread);
  cr_expect_eq(thread->levels[0], self.real);
  cr_expect_eq(fast_mutator(), self.real);
  cr_expect_neq(self.real, &mutator_fast.dummy);
  cr_expect_eq(thread_attach(), thread, "once");
  cr_expect_eq(thread_find(port_thread_id()), thread);
  cr_expect_null(thread_find(port_thread_id() + 1));
  cr_expect_eq(thread->stack_begin, 0);
  thread_set_stack(1000, 2000);
  cr_expect_eq(thread->stack_begin, 1000);
  cr_expect_eq(thread->stack_end, 2000);
}

/* What thread_attach_new takes for granted, and what the other finds out. */
static void *look_for_signal_stack(void *argument) {
  static char memory[65536];
  stack_t old = {.ss_size = 1}, mine = {.ss_sp = memory, .ss_size = sizeof memory};
  (void)argument;
  cr_expect_eq(sigaltstack(NULL, &old), 0);
  cr_expect(old.ss_flags & SS_DISABLE, "a new thread has none");
  cr_expect_eq(sigaltstack(&mine, NULL), 0);
  cr_expect_eq(thread_attach()->alternate_stack, (uintptr_t)memory);
  return NULL;
}

Test(thread, a_new_thread_has_no_signal_stack) {
  static char memory[65536];
  stack_t mine = {.ss_sp = memory, .ss_size = sizeof memory};
  cr_assert_eq(sigaltstack(&mine, NULL), 0); /* its maker's is not passed on */
  pthread_t thread;
  cr_assert_eq(pthread_create(&thread, NULL, look_for_signal_stack, NULL), 0);
  pthread_join(thread, NULL);
  struct thread *record = thread_attach_new();
  cr_assert(record);
  cr_expect_eq(record->alternate_stack, 0);
}

/* The one before it counts, too. */
Test(thread, the_free_of_an_alternate_stack_is_slow_and_can_ask) {
  struct thread *thread = thread_attach();
  static char outside[100];
  char *first = allocate(3000, NULL), *large = allocate(100000, NULL), *other = allocate(64, NULL);
  cr_assert(thread && first && large && other);
  cr_expect(!thread_alternate_stack_in((uintptr_t)first, 3000));
  thread_set_alternate_stack(thread, (uintptr_t)first);
  cr_expect(thread_alternate_stack_in((uintptr_t)first, 3000));
  cr_expect(!thread_alternate_stack_in((uintptr_t)first + 1, 2999));
  struct cell cell;
  cr_assert(cell_of((uintptr_t)first, &cell));
  cr_expect_eq(cell.page->hints, HINT_STACK);
  cr_expect(!release_fast(first), "a slow one");
  cr_expect(release_fast(other), "of another page");
  thread_set_alternate_stack(thread, (uintptr_t)large + 16);
  cr_expect(thread_alternate_stack_in((uintptr_t)large, 100000));
  cr_expect(thread_alternate_stack_in((uintptr_t)first, 3000), "a handler's return may set it");
  thread_set_alternate_stack(thread, (uintptr_t)outside);
  cr_expect(thread_alternate_stack_in((uintptr_t)outside, sizeof outside));
  cr_expect(!thread_alternate_stack_in((uintptr_t)first, 3000));
  thread_detach();
  cr_expect(!thread_alternate_stack_in((uintptr_t)large, 100000));
  cr_expect(!thread_alternate_stack_in((uintptr_t)outside, sizeof outside));
}

/* And not one that a handler's return has shown. */
Test(thread, a_signal_stack_that_was_given_is_seen_by_others) {
  static char stack[100], shown[100];
  struct thread *thread = thread_attach();
  cr_assert(thread);
  thread_give_signal_stack(thread, (uintptr_t)stack);
  thread_set_alternate_stack(thread, (uintptr_t)shown);
  cr_expect(thread_others_stack_in(NULL, (uintptr_t)stack, 1));
  cr_expect(!thread_others_stack_in(NULL, (uintptr_t)stack + 1, 99));
  cr_expect(!thread_others_stack_in(thread, (uintptr_t)stack, 1), "its own");
  cr_expect(!thread_others_stack_in(NULL, (uintptr_t)shown, 1));
  thread_give_signal_stack(thread, 0);
  cr_expect(!thread_others_stack_in(NULL, (uintptr_t)stack, 1));
  cr_expect(!thread_others_stack_in(NULL, 0, sizeof stack), "none is at no address");
  thread_give_signal_stack(thread, (uintptr_t)stack);
  thread_detach();
  cr_expect(!thread_others_stack_in(NULL, (uintptr_t)stack, 1));
}

Test(thread, a_detached_thread_stays_detached) {
  thread_attach();
  int id = port_thread_id();
  thread_detach();
  cr_expect_null(thread_find(id));
  cr_expect(self.ended);
  cr_expect_null(self.thread);
  cr_expect_eq(self.displacement, 0);
  cr_expect_null(thread_attach());
  thread_detach(); /* again */
  thread_set_stack(1, 2);
}

/* Leaves an object in its buffer and page, and a small signal stack. */
static void *leave_unseen(void *mutator) {
  struct thread *thread = thread_attach();
  release(allocate(100, NULL));
  thread_set_signal_stack(2000);
  atomic_set((struct mutator **)mutator, thread->levels[0]);
  syscall(SYS_exit, 0);
  return NULL;
}

static int start_and_lose(struct mutator **mutator) {
  pthread_t other;
  *mutator = NULL;
  cr_assert_eq(pthread_create(&other, NULL, leave_unseen, mutator), 0);
  while (!atomic_get(mutator)) unit_sleep(1);
  int id = 0;
  for (struct thread *record = thread_first(); record; record = record->next)
    if (record->levels[0] == *mutator) id = record->id;
  while (port_thread_state(id) != PORT_THREAD_GONE) unit_sleep(1);
  return id;
}

Test(thread, what_a_thread_held_that_left_unseen_is_given_up_for_it) {
  struct mutator *mutator;
  thread_attach();
  int id = start_and_lose(&mutator);
  struct thread *record = thread_find(id);
  cr_assert(record);
  thread_bury();
  cr_expect_eq(record->id, id, "not before it is noted");
  thread_note_gone(record, id + 1);
  cr_expect_eq(record->id, id, "another was meant");
  thread_note_gone(record, id);
  cr_expect_null(thread_find(id));
  int ids[4];
  cr_expect_eq(thread_list(ids, 4), 1);
  thread_bury();
  cr_expect_eq(record->id, 0);
  cr_expect_eq(thread_smallest_signal_stack(), SIZE_MAX);
  cr_expect_eq(mutator_adopt(), mutator);
}

/* The kernel gives out ids again: the record that has ours already is another thread's. */
Test(thread, an_id_used_again_is_that_of_the_new_thread) {
  struct mutator *mutator;
  int id = start_and_lose(&mutator);
  struct thread *former = thread_find(id);
  cr_assert(former);
  former->id = port_thread_id();
  struct thread *thread = thread_attach();
  cr_expect_neq(thread, former);
  cr_expect_eq(thread_find(port_thread_id()), thread);
  thread_bury();
  cr_expect_eq(former->id, 0);
  cr_expect_eq(thread->id, port_thread_id());
}

static void *with_small_stack(void *sizes) {
  cr_expect_eq(thread_smallest_signal_stack(), 3000, "those of other threads count");
  thread_set_signal_stack(2048);
  cr_expect_eq(thread_smallest_signal_stack(), 2048);
  thread_detach();
  return sizes;
}

Test(thread, the_smallest_signal_stack_of_all_threads) {
  cr_expect_eq(thread_smallest_signal_stack(), SIZE_MAX);
  thread_set_signal_stack(0); /* of no registered thread */
  cr_expect_null(self.thread);
  thread_set_signal_stack(5000);
  thread_set_signal_stack(3000);
  pthread_t other;
  cr_assert_eq(pthread_create(&other, NULL, with_small_stack, NULL), 0);
  cr_assert_eq(pthread_join(other, NULL), 0);
  cr_expect_eq(thread_smallest_signal_stack(), 3000, "an ended thread has none");
  thread_set_signal_stack(0);
  cr_expect_eq(thread_smallest_signal_stack(), SIZE_MAX);
}

/* A handler that jumped away from where it interrupted the allocator is gone once the thread is
   there again. */
Test(thread, a_level_is_free_again_at_the_place_where_it_was_interrupted) {
  char here;
  uintptr_t at = (uintptr_t)&here;
  thread_attach();
  thread_set_stack(at - 65536, at + 65536);
  for (int i = 0; i < 3 * HANDLER_LEVELS; i++) {
    thread_enter_level(at);
    cr_assert_not_null(self.real);
    cr_assert_lt(self.level, HANDLER_LEVELS);
  }
}

static int attached;
static void count_attached(void) { attached++; }

Test(thread, the_hook_is_called_once_for_each_thread) {
  thread_attached = count_attached;
  thread_attach();
  thread_attach();
  cr_expect_eq(attached, 1);
}

Test(thread, instrumented_threads_use_no_fast_path) {
  thread_instrumented = true;
  thread_attach();
  cr_expect_eq(self.displacement, 0);
  cr_expect_neq(self.real, &mutator_fast.dummy);
  void *object = allocate(10, NULL);
  cr_expect(object);
  cr_expect_null(allocate_fast(10));
  cr_expect(!release_fast(object));
  cr_expect_eq(release(object), RELEASED);
  cr_expect_eq(thread_attach(), self.thread);
  cr_expect_eq(self.displacement, 0, "nor later");
}

static void *live_briefly(void *unused) {
  (void)unused;
  struct thread *thread = thread_attach();
  void *object = allocate(100, NULL);
  bool good =
      thread && object && thread_find(port_thread_id()) == thread && release(object) == RELEASED;
  thread_detach();
  return good ? thread : NULL;
}

Test(thread, records_and_mutators_are_reused) {
  thread_attach();
  void *first = NULL;
  for (int i = 0; i < 200; i++) {
    pthread_t thread;
    void *record;
    pthread_create(&thread, NULL, live_briefly, NULL);
    pthread_join(thread, &record);
    cr_assert(record);
    if (!first) first = record;
    cr_assert_eq(record, first);
  }
  cr_expect_eq(page_heap_counts.used, 1, "the page that the next one is to fill");
  mutator_bequeath();
  cr_expect_eq(page_heap_counts.used, 0);
}

static pthread_barrier_t barrier;
static void *live_together(void *unused) {
  (void)unused;
  struct thread *thread = thread_attach();
  void *object = allocate(100, NULL);
  pthread_barrier_wait(&barrier);
  bool good =
      thread && object && thread_find(port_thread_id()) == thread && thread->levels[0] == self.real;
  pthread_barrier_wait(&barrier);
  release(object);
  thread_detach();
  return good ? thread : NULL;
}

Test(thread, threads_that_live_together_share_nothing) {
  enum { COUNT = 40 };
  pthread_t threads[COUNT];
  void *records[COUNT];
  for (int round = 0; round < 10; round++) {
    pthread_barrier_init(&barrier, NULL, COUNT);
    for (int i = 0; i < COUNT; i++) pthread_create(&threads[i], NULL, live_together, NULL);
    for (int i = 0; i < COUNT; i++) {
      pthread_join(threads[i], &records[i]);
      cr_assert(records[i]);
      for (int j = 0; j < i; j++) cr_assert_neq(records[i], records[j]);
    }
  }
}

static void *attach_and_list(void *unused) {
  thread_attach();
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  thread_detach();
  return unused;
}

Test(thread, registered_threads_are_listed) {
  enum { COUNT = 10 };
  int ids[COUNT + 5];
  cr_expect_eq(thread_list(ids, COUNT + 5), 0);
  thread_attach();
  cr_expect_eq(thread_list(ids, COUNT + 5), 1);
  cr_expect_eq(ids[0], port_thread_id());
  pthread_t threads[COUNT];
  pthread_barrier_init(&barrier, NULL, COUNT + 1);
  for (int i = 0; i < COUNT; i++) pthread_create(&threads[i], NULL, attach_and_list, NULL);
  pthread_barrier_wait(&barrier);
  int count = thread_list(ids, COUNT + 5);
  int cut = thread_list(ids + COUNT + 1, 3);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < COUNT; i++) pthread_join(threads[i], NULL);
  cr_expect_eq(count, COUNT + 1);
  cr_expect_leq(cut, 3);
  for (int i = 0; i < count; i++)
    for (int j = 0; j < i; j++) cr_expect_neq(ids[i], ids[j]);
  cr_expect_eq(thread_list(ids, COUNT + 5), 1, "those that ended are not listed");
}

/* --- handlers that interrupt the allocator ---------------------------------------------------- */

/* A stack like any other: deeper calls stand lower. */
enum { STACK_BEGIN = 0x10000, STACK_END = 0x20000 };
static uintptr_t depth(unsigned calls) { return STACK_END - 0x100 * calls; }

Test(thread, a_handler_inside_malloc_has_a_mutator_of_its_own) {
  void *object = allocate(100, NULL);
  struct mutator *mine = self.real;
  uint32_t level = self.level;
  thread_enter_level(depth(1));
  cr_expect_neq(self.real, mine);
  cr_expect_eq(fast_mutator(), self.real);
  void *inner = allocate(100, NULL);
  cr_expect(inner && inner != object);
  cr_expect_eq(release(object), RELEASED, "any mutator frees it");
  thread_leave_level(mine, level);
  cr_expect_eq(self.real, mine);
  cr_expect_eq(fast_mutator(), mine);
  cr_expect_eq(release(inner), RELEASED);
}

Test(thread, nested_handlers_each_have_one) {
  thread_attach();
  struct mutator *mutators[HANDLER_LEVELS];
  for (int i = 0; i < HANDLER_LEVELS; i++) {
    mutators[i] = self.real;
    cr_assert(mutators[i]);
    for (int j = 0; j < i; j++) cr_expect_neq(mutators[i], mutators[j]);
    if (i < HANDLER_LEVELS - 1) thread_enter_level(depth((unsigned)i + 1));
  }
  for (int i = HANDLER_LEVELS - 1; i-- > 0;) thread_leave_level(mutators[i], (uint32_t)i);
  cr_expect_eq(self.real, mutators[0]);
  cr_expect_eq(self.level, 0);
}

Test(thread, handlers_that_never_come_back_do_not_use_up_the_levels) {
  thread_set_stack(STACK_BEGIN, STACK_END);
  for (int i = 0; i < 50;
       i++) { /* each time main runs on a little higher than it was interrupted */
    thread_enter_level(depth(100 - (unsigned)i));
    cr_assert(self.real);
    cr_assert(allocate(100, NULL));
  }
}

Test(thread, a_mutator_that_is_interrupted_is_never_used_by_a_deeper_handler) {
  thread_set_stack(STACK_BEGIN, STACK_END);
  struct mutator *interrupted[HANDLER_LEVELS + 3];
  uint32_t levels[HANDLER_LEVELS + 3];
  for (unsigned i = 0; i < HANDLER_LEVELS + 3; i++) {
    interrupted[i] = self.real;
    levels[i] = self.level;
    thread_enter_level(depth(i + 1));
    for (unsigned j = 0; j <= i; j++) cr_assert(!self.real || self.real != interrupted[j]);
    cr_assert(allocate(100, NULL), "with all levels taken, by a borrowed mutator");
  }
  for (unsigned i = HANDLER_LEVELS + 3; i-- > 0;) thread_leave_level(interrupted[i], levels[i]);
  cr_expect_eq(self.real, interrupted[0]);
  cr_expect_eq(fast_mutator(), interrupted[0]);
}

Test(thread, its_end_gives_up_the_mutators_of_all_levels) {
  struct mutator *mine = (thread_attach(), self.real);
  void *object = allocate(100, NULL);
  thread_enter_level(depth(1));
  allocate(200, NULL);
  release(object);
  thread_leave_level(mine, 0);
  thread_detach();
  cr_expect_eq(mutator_buffered_bytes(), 0);
}

/* --- fork ------------------------------------------------------------------------------------- */

static void *stay(void *unused) {
  thread_attach();
  pthread_barrier_wait(&barrier);
  for (;;) pause();
  return unused;
}

Test(thread, a_fork_child_knows_only_itself) {
  thread_attach();
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_create(&thread, NULL, stay, NULL);
  pthread_barrier_wait(&barrier);
  int parent = port_thread_id();
  pid_t child = fork();
  if (child == 0) {
    thread_fork_child();
    if (thread_find(port_thread_id()) != self.thread) _exit(1);
    if (thread_find(parent)) _exit(2);
    if (thread_attach() != self.thread) _exit(3);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  cr_expect_eq(status, 0);
}

static void fork_child(void) { /* in the order of gc/api/process.c */
  mutator_fork_child(self.thread->levels, HANDLER_LEVELS);
  thread_fork_child();
}

/* Once a handler interrupted malloc, the thread has a second mutator. */
Test(thread, a_fork_child_keeps_the_mutators_of_its_levels) {
  struct mutator *mine = (thread_attach(), self.real);
  thread_enter_level(depth(1));
  thread_leave_level(mine, 0);
  pid_t child = fork();
  if (child == 0) {
    fork_child();
    struct mutator *others = mutator_adopt(); /* as a new thread of the child would */
    for (int i = 0; i < HANDLER_LEVELS; i++)
      if (self.thread->levels[i] == others) _exit(1);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  cr_expect_eq(status, 0, "a mutator has two owners");
}

Test(thread, fork_in_a_handler_inside_malloc_keeps_the_interrupted_mutator) {
  struct mutator *mine = (thread_attach(), self.real);
  thread_enter_level(depth(1));
  pid_t child = fork();
  if (child == 0) {
    fork_child();
    thread_leave_level(mine, 0);
    for (int i = 0; i < 3; i++)
      if (mutator_adopt() == self.real) _exit(1);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  cr_expect_eq(status, 0, "a mutator has two owners");
}

Test(thread, an_enrolled_thread_is_listed_and_borrows_buffers) {
  struct thread *thread = thread_enroll();
  cr_assert(thread);
  cr_expect_eq(thread->id, port_thread_id());
  cr_expect_null(thread->levels[0]);
  cr_expect_eq(thread_attach(), thread, "once is enough");
  void *object = allocate(100, NULL);
  cr_expect(object);
  cr_expect_eq(release(object), RELEASED);
  cr_expect_null(self.real);
  thread_detach();
  cr_expect_null(thread_find(port_thread_id()));
}
