/* held.c: blocks to which only the kernel has a pointer: what epoll, timers, queued signals,
   requests in flight, pipes, sockets and message queues hand back later.

   held CASE: gives several blocks away, forgets them, lets collections pass, takes memory of the
   same size, gets the pointers back from the kernel and verifies the blocks. */
#include "program.h"

#include <aio.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { BLOCKS = 9, SIZE = 300, LARGE = 300000 };

static size_t block_size = SIZE;
static int pipes[2 * BLOCKS][2];
static int epoll;

static char *make_block(int number) {
  char *block = malloc(block_size);
  CHECK(block != NULL);
  fill_pattern(block, block_size, (unsigned)number);
  return block;
}

/* Which block it is, is told by its contents alone. */
static bool seen[2 * BLOCKS];
static void take_back(const void *pointer) {
  int number = 0;
  while (number < 2 * BLOCKS && !pattern_holds(pointer, block_size, (unsigned)number)) number++;
  if (number == 2 * BLOCKS) fail("a block has lost its contents");
  CHECK(!seen[number]);
  seen[number] = true;
}

static void collect_and_reuse(void) {
  for (int i = 0; i < 3; i++) {
    wipe_stack();
    collect();
  }
  for (int i = 0; i < 200; i++) {
    char *other = malloc(block_size);
    CHECK(other != NULL);
    memset(other, 0x11, block_size);
    if (block_size == LARGE) break;
  }
}

static void open_pipes(int count) {
  for (int i = 0; i < count; i++) CHECK(pipe(pipes[i]) == 0);
}
static void ring(int number) { CHECK(write(pipes[number][1], "x", 1) == 1); }

/* --- epoll --- */

static int control(int operation, int fd, void *pointer) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = pointer};
  return epoll_ctl(epoll, operation, fd, &event);
}
static int raw_control(int operation, int fd, void *pointer) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = pointer};
  return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, &event);
}

NOINLINE static void watch(int number, int (*how)(int, int, void *)) {
  CHECK(how(EPOLL_CTL_ADD, pipes[number][0], make_block(number)) == 0);
}

static void expect_events(int count) {
  struct epoll_event events[2 * BLOCKS];
  CHECK(epoll_wait(epoll, events, 2 * BLOCKS, 1000) == count);
  for (int i = 0; i < count; i++) take_back(events[i].data.ptr);
}

static void run_epoll(int (*how)(int, int, void *)) {
  CHECK((epoll = epoll_create1(0)) >= 0);
  open_pipes(BLOCKS);
  for (int i = 0; i < BLOCKS; i++) watch(i, how);
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) ring(i);
  expect_events(BLOCKS);
}

static void case_epoll(void) { run_epoll(control); }
static void case_epoll_raw(void) { run_epoll(raw_control); }

/* The word is changed, marked in its low bits, and points to the middle of the block. */
NOINLINE static void change(int number) {
  char *block = make_block(number);
  CHECK(control(EPOLL_CTL_MOD, pipes[number][0], block + 100 + 1) == 0);
}

static void case_epoll_changed(void) {
  CHECK((epoll = epoll_create1(0)) >= 0);
  open_pipes(BLOCKS);
  for (int i = 0; i < BLOCKS; i++) {
    CHECK(control(EPOLL_CTL_ADD, pipes[i][0], NULL) == 0);
    change(i);
    CHECK(control(EPOLL_CTL_ADD, pipes[i][0], NULL) == -1 && errno == EEXIST);
    CHECK(control(EPOLL_CTL_DEL, pipes[i][1], NULL) == -1 && errno == ENOENT);
  }
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) ring(i);
  struct epoll_event events[BLOCKS];
  CHECK(epoll_wait(epoll, events, BLOCKS, 1000) == BLOCKS);
  for (int i = 0; i < BLOCKS; i++) take_back((char *)events[i].data.ptr - 100 - 1);
}

/* A watch outlives the descriptor it was made for while a copy of it is open; another file under
   the same number is another watch. */
static void case_epoll_copied(void) {
  CHECK((epoll = epoll_create1(0)) >= 0);
  open_pipes(BLOCKS);
  for (int i = 0; i < BLOCKS; i++) {
    watch(i, control);
    int number = pipes[i][0], copy = dup(number);
    CHECK(copy >= 0 && close(number) == 0);
    CHECK(pipe(pipes[BLOCKS + i]) == 0);
    if (pipes[BLOCKS + i][0] != number) {
      CHECK(dup2(pipes[BLOCKS + i][0], number) == number && close(pipes[BLOCKS + i][0]) == 0);
      pipes[BLOCKS + i][0] = number;
    }
    watch(BLOCKS + i, control);
  }
  collect_and_reuse();
  for (int i = 0; i < 2 * BLOCKS; i++) ring(i);
  expect_events(2 * BLOCKS);
}

/* A fork child has its own copy of what is held. */
static void case_epoll_forked(void) {
  CHECK((epoll = epoll_create1(0)) >= 0);
  open_pipes(BLOCKS);
  for (int i = 0; i < BLOCKS; i++) watch(i, control);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child > 0) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    exit(status == 0 ? 0 : 1);
  }
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) ring(i);
  expect_events(BLOCKS);
}

/* --- signals --- */

static sigset_t signals;

static void block_signal(void) {
  sigemptyset(&signals);
  sigaddset(&signals, SIGRTMIN);
  CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
}

static void take_signals(int count) {
  for (int i = 0; i < count; i++) {
    siginfo_t info;
    struct timespec limit = {5, 0};
    CHECK(sigtimedwait(&signals, &info, &limit) == SIGRTMIN);
    take_back(info.si_value.sival_ptr);
  }
}

NOINLINE static void queue(int number) {
  union sigval value = {.sival_ptr = make_block(number)};
  CHECK(sigqueue(getpid(), SIGRTMIN, value) == 0);
}
NOINLINE static void queue_to_thread(int number) {
  union sigval value = {.sival_ptr = make_block(number)};
  CHECK(pthread_sigqueue(pthread_self(), SIGRTMIN, value) == 0);
}
NOINLINE static void queue_raw(int number) {
  siginfo_t info = {.si_code = SI_QUEUE};
  info.si_pid = getpid();
  info.si_value.sival_ptr = make_block(number);
  if (number % 2 == 0) CHECK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &info) == 0);
  else CHECK(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGRTMIN, &info) == 0);
  memset(&info, 0, sizeof info);
}

static void run_signals(void (*how)(int)) {
  block_signal();
  for (int i = 0; i < BLOCKS; i++) how(i);
  collect_and_reuse();
  take_signals(BLOCKS);
}
static void case_sigqueue(void) { run_signals(queue); }
static void case_pthread_sigqueue(void) { run_signals(queue_to_thread); }
static void case_sigqueue_raw(void) { run_signals(queue_raw); }

/* --- timers --- */

static timer_t timers[BLOCKS];
static int rung[2];

static void on_timer(union sigval value) {
  CHECK(write(rung[1], &value.sival_ptr, sizeof value.sival_ptr) == sizeof value.sival_ptr);
}

NOINLINE static void make_timer(int number, int notify) {
  struct sigevent event = {.sigev_notify = notify};
  event.sigev_value.sival_ptr = make_block(number);
  if (notify == SIGEV_THREAD) event.sigev_notify_function = on_timer;
  else event.sigev_signo = SIGRTMIN;
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timers[number]) == 0);
  memset(&event, 0, sizeof event);
}

static void start_timers(void) {
  for (int i = 0; i < BLOCKS; i++) {
    struct itimerspec soon = {.it_value.tv_nsec = 1000000};
    CHECK(timer_settime(timers[i], 0, &soon, NULL) == 0);
  }
}

static void case_timer_signal(void) {
  block_signal();
  for (int i = 0; i < BLOCKS; i++) make_timer(i, SIGEV_SIGNAL);
  CHECK(timer_delete((timer_t)(intptr_t)0x12345) == -1);
  collect_and_reuse();
  start_timers();
  take_signals(BLOCKS);
  for (int i = 0; i < BLOCKS; i++) CHECK(timer_delete(timers[i]) == 0);
}

/* glibc keeps these in a list of its own. */
static void case_timer_thread(void) {
  CHECK(pipe(rung) == 0);
  for (int i = 0; i < BLOCKS; i++) make_timer(i, SIGEV_THREAD);
  collect_and_reuse();
  start_timers();
  for (int i = 0; i < BLOCKS; i++) {
    void *pointer;
    CHECK(read(rung[0], &pointer, sizeof pointer) == sizeof pointer);
    take_back(pointer);
  }
}

static mqd_t open_queue(int number) {
  char name[64];
  snprintf(name, sizeof name, "/reclaim-test-%d-%d", getpid(), number);
  struct mq_attr attributes = {.mq_maxmsg = BLOCKS < 10 ? BLOCKS : 10, .mq_msgsize = 64};
  mqd_t messages = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
  if (messages == (mqd_t)-1) not_possible("no message queues");
  CHECK(mq_unlink(name) == 0);
  return messages;
}

NOINLINE static void ask_notice(mqd_t messages, int number) {
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
  event.sigev_value.sival_ptr = make_block(number);
  CHECK(mq_notify(messages, &event) == 0);
  CHECK(mq_notify(messages, &event) == -1 && errno == EBUSY);
  memset(&event, 0, sizeof event);
}

static void case_mq_notify(void) {
  block_signal();
  mqd_t messages[BLOCKS];
  for (int i = 0; i < BLOCKS; i++) ask_notice(messages[i] = open_queue(i), i);
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) CHECK(mq_send(messages[i], "x", 1, 0) == 0);
  take_signals(BLOCKS);
  for (int i = 0; i < BLOCKS; i++) CHECK(mq_notify(messages[i], NULL) == 0);
}

/* With attributes for its thread: the kernel also keeps the address of libc's copy of these. */
enum { NOTICE_STACK = 3 << 20 };

static void on_notice(union sigval value) {
  pthread_attr_t attributes;
  size_t size = 0;
  CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
  CHECK(pthread_attr_getstacksize(&attributes, &size) == 0);
  if (size / NOTICE_STACK != 1) fail("the thread has %zu bytes of stack", size);
  CHECK(pthread_attr_destroy(&attributes) == 0);
  CHECK(write(rung[1], &value.sival_ptr, sizeof value.sival_ptr) == sizeof value.sival_ptr);
}

NOINLINE static void ask_thread(mqd_t messages, int number) {
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstacksize(&attributes, NOTICE_STACK) == 0);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD};
  event.sigev_notify_function = on_notice;
  event.sigev_notify_attributes = &attributes;
  event.sigev_value.sival_ptr = make_block(number);
  CHECK(mq_notify(messages, &event) == 0);
  CHECK(pthread_attr_destroy(&attributes) == 0);
  memset(&event, 0, sizeof event);
}

static void case_mq_notify_attributes(void) {
  mqd_t messages[BLOCKS];
  CHECK(pipe(rung) == 0);
  for (int i = 0; i < BLOCKS; i++) ask_thread(messages[i] = open_queue(i), i);
  collect_and_reuse();
  for (int i = 0; i < 200; i++) {
    char *other = malloc(sizeof(pthread_attr_t));
    CHECK(other != NULL);
    memset(other, 0x11, sizeof(pthread_attr_t));
  }
  for (int i = 0; i < BLOCKS; i++) {
    void *pointer;
    CHECK(mq_send(messages[i], "x", 1, 0) == 0);
    CHECK(read(rung[0], &pointer, sizeof pointer) == sizeof pointer);
    take_back(pointer);
  }
}

/* --- requests in flight --- */

NOINLINE static void begin_reading(int number) {
  struct request {
    struct aiocb control;
    char *block;
  } *request = calloc(1, sizeof *request);
  CHECK(request != NULL);
  request->block = make_block(number);
  request->control.aio_fildes = pipes[number][0];
  request->control.aio_buf = calloc(1, 100);
  request->control.aio_nbytes = 1;
  request->control.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
  request->control.aio_sigevent.sigev_signo = SIGRTMIN;
  request->control.aio_sigevent.sigev_value.sival_ptr = request;
  CHECK(aio_read(&request->control) == 0);
}

static void take_requests(void) {
  for (int i = 0; i < BLOCKS; i++) {
    siginfo_t info;
    struct timespec limit = {5, 0};
    CHECK(sigtimedwait(&signals, &info, &limit) == SIGRTMIN);
    struct {
      struct aiocb control;
      char *block;
    } *request = info.si_value.sival_ptr;
    CHECK(*(volatile char *)request->control.aio_buf == 'x');
    take_back(request->block);
  }
}

/* In flight the request stands in glibc's list. */
static void case_aio_flight(void) {
  block_signal();
  open_pipes(BLOCKS);
  for (int i = 0; i < BLOCKS; i++) begin_reading(i);
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) ring(i);
  take_requests();
}

/* Waits until a request is done and takes its place in glibc's list for another. */
static struct aiocb others[BLOCKS];
static char other_bytes[BLOCKS];
static void follow(int number) {
  ring(number);
  for (int left = 1; left != 0; usleep(1000)) CHECK(ioctl(pipes[number][0], FIONREAD, &left) == 0);
  usleep(1000); /* to its signal */
  others[number].aio_fildes = pipes[BLOCKS + number][0];
  others[number].aio_buf = &other_bytes[number];
  others[number].aio_nbytes = 1;
  CHECK(aio_read(&others[number]) == 0);
}

/* Done, it stands in a pending signal alone. */
static void case_aio_done(void) {
  block_signal();
  open_pipes(2 * BLOCKS);
  for (int i = 0; i < BLOCKS; i++) begin_reading(i);
  for (int i = 0; i < BLOCKS; i++) follow(i);
  collect_and_reuse();
  take_requests();
}

typedef int submit_function(aio_context_t, long, struct iocb **);
static int submit_raw(aio_context_t context, long count, struct iocb **requests) {
  return (int)syscall(SYS_io_submit, context, count, requests);
}

NOINLINE static void submit(aio_context_t context, int number, submit_function *how) {
  struct iocb request = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)pipes[number][0]};
  struct iocb *list[1] = {&request};
  request.aio_buf = 1; /* POLLIN */
  request.aio_data = (uintptr_t)make_block(number);
  CHECK(how(context, 1, list) == 1);
  memset(&request, 0, sizeof request);
}

static void run_submit(submit_function *how) {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, BLOCKS, &context) != 0) not_possible("no io_setup");
  open_pipes(BLOCKS);
  for (int i = 0; i < BLOCKS; i++) submit(context, i, how);
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) ring(i);
  for (int i = 0; i < BLOCKS; i++) {
    struct io_event event;
    CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1);
    take_back((void *)(uintptr_t)event.data);
  }
}

static void case_io_submit_raw(void) { run_submit(submit_raw); }
static void case_io_submit(void) {
  if (!dlopen("libaio.so.1", RTLD_NOW | RTLD_GLOBAL)) not_possible("no libaio");
  submit_function *function = (submit_function *)dlsym(RTLD_DEFAULT, "io_submit");
  CHECK(function != NULL);
  run_submit(function);
}

/* --- io_uring --- */

static long unseen_call(long number, long a, long b, long c, long d) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = 0;
  register long r9 __asm__("r9") = 0;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static struct {
  int fd;
  struct io_uring_params parameters;
  char *submissions, *completions;
  struct io_uring_sqe *entries;
} uring;

NOINLINE static void ask_uring(int number) {
  struct io_uring_sqe *entry = &uring.entries[number];
  memset(entry, 0, sizeof *entry);
  entry->opcode = IORING_OP_POLL_ADD;
  entry->fd = pipes[number][0];
  entry->poll_events = 1;
  entry->user_data = (uintptr_t)make_block(number);
  unsigned *array = (unsigned *)(uring.submissions + uring.parameters.sq_off.array);
  unsigned *tail = (unsigned *)(uring.submissions + uring.parameters.sq_off.tail);
  array[number] = (unsigned)number;
  __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
  CHECK(unseen_call(SYS_io_uring_enter, uring.fd, 1, 0, 0) == 1);
  memset(entry, 0, sizeof *entry);
}

static void *map_ring(size_t size, long offset) {
  void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, uring.fd, offset);
  CHECK(address != MAP_FAILED);
  return address;
}

static void run_uring(bool seen_call) {
  struct io_uring_params *p = &uring.parameters;
  uring.fd = (int)(seen_call ? syscall(SYS_io_uring_setup, 16, p)
                             : unseen_call(SYS_io_uring_setup, 16, (long)p, 0, 0));
  if (uring.fd < 0) not_possible("no io_uring");
  uring.submissions = map_ring(p->sq_off.array + p->sq_entries * 4, IORING_OFF_SQ_RING);
  uring.completions =
      map_ring(p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
  uring.entries = map_ring(p->sq_entries * sizeof *uring.entries, IORING_OFF_SQES);
  open_pipes(BLOCKS);
  for (int i = 0; i < BLOCKS; i++) ask_uring(i);
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) ring(i);
  CHECK(unseen_call(SYS_io_uring_enter, uring.fd, 0, BLOCKS, IORING_ENTER_GETEVENTS) >= 0);
  const struct io_uring_cqe *done = (void *)(uring.completions + p->cq_off.cqes);
  for (int i = 0; i < BLOCKS; i++) take_back((void *)(uintptr_t)done[i].user_data);
}
static void case_io_uring(void) { run_uring(true); }
static void case_io_uring_unseen(void) { run_uring(false); }

/* --- pointers on their way --- */

static int channel[2];

struct message {
  int kind;
  void *pointer;
  int more;
} __attribute__((packed));

NOINLINE static void send_word(int number) {
  char *block = make_block(number);
  CHECK(write(channel[1], &block, sizeof block) == sizeof block);
}
NOINLINE static void send_interior(int number) {
  char *inside = make_block(number) + block_size / 2;
  CHECK(write(channel[1], &inside, sizeof inside) == sizeof inside);
}
NOINLINE static void send_packed(int number) {
  struct message message = {1, make_block(number), 2};
  CHECK(send(channel[1], &message, sizeof message, 0) == sizeof message);
}
NOINLINE static void send_pieces(int number) {
  long kind = 1;
  void *block = make_block(number);
  struct iovec pieces[] = {{&kind, sizeof kind}, {&block, sizeof block}};
  CHECK(writev(channel[1], pieces, 2) == 16);
}
NOINLINE static void send_message(int number) {
  long kind = 1;
  void *block = make_block(number);
  struct iovec pieces[] = {{&kind, sizeof kind}, {&block, sizeof block}};
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
  CHECK(sendmsg(channel[1], &message, 0) == 16);
}
/* Resized after it was sent, as the one who has it now may do. */
NOINLINE static void send_resized(int number) {
  char *block = make_block(number), *larger;
  CHECK(write(channel[1], &block, sizeof block) == sizeof block);
  CHECK(read(channel[0], &block, sizeof block) == sizeof block);
  CHECK((larger = realloc(block, 3 * block_size)) != NULL);
  CHECK((larger = realloc(larger, block_size)) != NULL);
  CHECK(write(channel[1], &larger, sizeof larger) == sizeof larger);
}

static void run_channel(void (*how)(int), size_t size, size_t offset, ptrdiff_t back) {
  for (int i = 0; i < BLOCKS; i++) how(i);
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) {
    char message[64];
    void *pointer;
    CHECK(read(channel[0], message, size) == (ssize_t)size);
    memcpy(&pointer, message + offset, sizeof pointer);
    pointer = (char *)pointer - back;
    take_back(pointer);
    free(pointer);
  }
}

static void open_socket(int type) { CHECK(socketpair(AF_UNIX, type, 0, channel) == 0); }

static void case_pipe(void) {
  CHECK(pipe(channel) == 0);
  run_channel(send_word, 8, 0, 0);
}
static void case_pipe_large(void) {
  block_size = LARGE;
  CHECK(pipe(channel) == 0);
  run_channel(send_interior, 8, 0, LARGE / 2);
}
static void case_pipe_interior(void) {
  CHECK(pipe(channel) == 0);
  run_channel(send_interior, 8, 0, SIZE / 2);
}
static void case_pipe_resized(void) {
  CHECK(pipe(channel) == 0);
  run_channel(send_resized, 8, 0, 0);
}
static void case_pipe_pieces(void) {
  CHECK(pipe(channel) == 0);
  run_channel(send_pieces, 16, 8, 0);
}
static void case_socket(void) {
  open_socket(SOCK_STREAM);
  run_channel(send_word, 8, 0, 0);
}
static void case_socket_packed(void) {
  open_socket(SOCK_DGRAM);
  run_channel(send_packed, sizeof(struct message), 4, 0);
}
static void case_socket_message(void) {
  open_socket(SOCK_SEQPACKET);
  run_channel(send_message, 16, 8, 0);
}

NOINLINE static void send_to_queue(mqd_t messages, int number) {
  void *block = make_block(number);
  CHECK(mq_send(messages, (char *)&block, sizeof block, 0) == 0);
}

static void case_mq_send(void) {
  mqd_t messages = open_queue(0);
  for (int i = 0; i < BLOCKS; i++) send_to_queue(messages, i);
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) {
    void *message[8];
    CHECK(mq_receive(messages, (char *)message, sizeof message, NULL) == 8);
    take_back(message[0]);
  }
}

NOINLINE static void send_system_v(int messages, int number) {
  struct {
    long type;
    void *pointer;
  } message = {1, make_block(number)};
  CHECK(msgsnd(messages, &message, sizeof message.pointer, 0) == 0);
}

static void case_msgsnd(void) {
  int messages = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
  if (messages < 0) not_possible("no System V message queues");
  for (int i = 0; i < BLOCKS; i++) send_system_v(messages, i);
  collect_and_reuse();
  for (int i = 0; i < BLOCKS; i++) {
    struct {
      long type;
      void *pointer;
    } message;
    ssize_t got = msgrcv(messages, &message, sizeof message.pointer, 0, 0);
    if (i == BLOCKS - 1) msgctl(messages, IPC_RMID, NULL);
    CHECK(got == sizeof message.pointer);
    take_back(message.pointer);
  }
}

/* A queue of work between threads: sent, received and freed as fast as it goes, so that blocks
   are freed while they are being noted, and cells come round again. */
enum { WORK = 60000 };
static void *work(void *unused) {
  for (int i = 0; i < WORK; i++) {
    unsigned char *block;
    CHECK(read(channel[0], &block, sizeof block) == sizeof block);
    CHECK(pattern_holds(block, 40 + (size_t)i % 300, (unsigned)i));
    free(block);
  }
  return unused;
}

static void case_work(void) {
  pthread_t worker;
  CHECK(pipe(channel) == 0);
  CHECK(pthread_create(&worker, NULL, work, NULL) == 0);
  for (int i = 0; i < WORK; i++) {
    unsigned char *block = malloc(40 + (size_t)i % 300);
    CHECK(block != NULL);
    fill_pattern(block, 40 + (size_t)i % 300, (unsigned)i);
    CHECK(write(channel[1], &block, sizeof block) == sizeof block);
    if (i % 8192 == 0) collect();
  }
  CHECK(pthread_join(worker, NULL) == 0);
}

/* A message that cannot be read is refused by the kernel, and nobody else looks at it. */
static void case_bad_message(void) {
  CHECK(pipe(channel) == 0);
  void *volatile nowhere = (void *)16;
  CHECK(write(channel[1], nowhere, 8) == -1 && errno == EFAULT);
  struct iovec bad = {nowhere, 16};
  CHECK(writev(channel[1], &bad, 1) == -1 && errno == EFAULT);
  CHECK(syscall(SYS_epoll_ctl, -1, EPOLL_CTL_ADD, 0, 16) == -1);
  CHECK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, 16) == -1 && errno == EFAULT);
  CHECK(syscall(SYS_clone3, 16, 8) == -1);
  collect();
}

#define CASE(name)                                                                                 \
  { #name, case_##name }
static const struct {
  const char *name;
  void (*run)(void);
} cases[] = {
    CASE(epoll),         CASE(epoll_raw),       CASE(epoll_changed), CASE(epoll_copied),
    CASE(epoll_forked),  CASE(sigqueue),        CASE(sigqueue_raw),  CASE(pthread_sigqueue),
    CASE(timer_signal),  CASE(timer_thread),    CASE(mq_notify),     CASE(mq_notify_attributes),
    CASE(aio_flight),    CASE(aio_done),        CASE(io_submit),     CASE(io_submit_raw),
    CASE(io_uring),      CASE(io_uring_unseen), CASE(pipe),          CASE(pipe_large),
    CASE(pipe_interior), CASE(pipe_resized),    CASE(pipe_pieces),   CASE(socket),
    CASE(socket_packed), CASE(socket_message),  CASE(mq_send),       CASE(msgsnd),
    CASE(work),          CASE(bad_message)};

int main(int count, char **arguments) {
  for (size_t i = 0; count == 2 && i < sizeof cases / sizeof *cases; i++)
    if (strcmp(arguments[1], cases[i].name) == 0) {
      cases[i].run();
      puts("back");
      return 0;
    }
  fail("usage: held CASE");
}
