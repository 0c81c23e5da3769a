/* chaos_threads.c: threads that start, end, are cancelled and block. The pointer lies in what a new
   thread is given, in what an ended one returned, in its stack, its cleanup handlers, its keys. */
#include "chaos.h"

#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>

/* What a thread is given: nothing else refers to it, nor to the chain in it. */
struct gift {
  struct chain *volatile place;
  uint32_t seed;
  int descriptor;
  unsigned how;
  uint64_t random;
};

static NOINLINE struct gift *make_gift(uint64_t *random) {
  struct gift *gift = malloc(sizeof *gift);
  CHAOS_CHECK(gift != NULL);
  gift->random = new_random(random);
  gift->seed = chain_make(&gift->place, random);
  return gift;
}

static NOINLINE void end_gift(struct gift *gift, const char *where) {
  uint64_t random = gift->random;
  chain_end(&gift->place, gift->seed, where, &random);
  free(gift);
}

/* A thread that hands its gift on as its result. */
static void *return_gift(void *pointer) {
  struct gift *gift = pointer;
  meanwhile(&gift->random);
  chain_verify(&gift->place, gift->seed, "a thread's argument");
  return gift;
}

static NOINLINE void start_returning(pthread_t *thread, uint64_t *random) {
  CHAOS_CHECK(pthread_create(thread, NULL, return_gift, make_gift(random)) == 0);
}

static void short_threads(struct actor *actor) {
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) start_returning(&threads[i], &actor->random);
  meanwhile(&actor->random);
  for (int i = 0; i < 3; i++) {
    void *result;
    CHAOS_CHECK(pthread_join(threads[i], &result) == 0);
    end_gift(result, "a thread's result");
  }
}

/* A detached thread, whose pointer moves into a key and is freed by its destructor. */
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static atomic_int detached;

static void end_key(void *pointer) {
  meanwhile(&((struct gift *)pointer)->random);
  end_gift(pointer, "a key");
  atomic_fetch_sub(&detached, 1);
}

static void make_key(void) { CHAOS_CHECK(pthread_key_create(&key, end_key) == 0); }

static void *keep_in_key(void *pointer) {
  uint64_t random = ((struct gift *)pointer)->random;
  CHAOS_CHECK(pthread_setspecific(key, pointer) == 0);
  pointer = NULL;
  meanwhile(&random);
  return NULL;
}

static NOINLINE void start_detached(const pthread_attr_t *attributes, uint64_t *random) {
  pthread_t thread;
  CHAOS_CHECK(pthread_create(&thread, attributes, keep_in_key, make_gift(random)) == 0);
}

static void detached_threads(struct actor *actor) {
  pthread_attr_t attributes;
  CHAOS_CHECK(pthread_once(&key_once, make_key) == 0);
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (atomic_fetch_add(&detached, 1) < 8) start_detached(&attributes, &actor->random);
  else atomic_fetch_sub(&detached, 1);
  pthread_attr_destroy(&attributes);
  meanwhile(&actor->random);
}

/* Before the blocks are counted. */
void threads_finish(void) {
  while (atomic_load(&detached) > 0) usleep(1000);
}

/* A thread on a stack of the program's, from the heap. */
static void given_stack(struct actor *actor) {
  enum { SIZE = 256 * 1024 };
  pthread_attr_t attributes;
  pthread_t thread;
  void *result, *memory = aligned_alloc(4096, SIZE);
  CHAOS_CHECK(memory != NULL);
  pthread_attr_init(&attributes);
  CHAOS_CHECK(pthread_attr_setstack(&attributes, memory, SIZE) == 0);
  CHAOS_CHECK(pthread_create(&thread, &attributes, return_gift, make_gift(&actor->random)) == 0);
  meanwhile(&actor->random);
  CHAOS_CHECK(pthread_join(thread, &result) == 0);
  end_gift(result, "the result of a thread on a given stack");
  pthread_attr_destroy(&attributes);
  free(memory);
}

/* --- cancellation --- */

static void clean_gift(void *pointer) {
  meanwhile(&((struct gift *)pointer)->random);
  end_gift(pointer, "a cleanup handler");
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static void unlock(void *unused) {
  (void)unused;
  pthread_mutex_unlock(&mutex);
}

static void block_for_ever(unsigned how, int descriptor) {
  struct pollfd wait = {.fd = descriptor, .events = POLLIN};
  char byte;
  for (;;) {
    switch (how % 5) {
    case 0: (void)!read(descriptor, &byte, 1); break;
    case 1: poll(&wait, 1, -1); break;
    case 2: nanosleep(&(struct timespec){100, 0}, NULL); break;
    case 3: pause(); break;
    case 4:
      pthread_mutex_lock(&mutex);
      pthread_cleanup_push(unlock, NULL);
      pthread_cond_wait(&never, &mutex);
      pthread_cleanup_pop(1);
      break;
    }
  }
}

static void *be_cancelled(void *pointer) {
  struct gift *gift = pointer;
  unsigned how = gift->how;
  int descriptor = gift->descriptor, old;
  CHAOS_CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old) == 0);
  pthread_cleanup_push(clean_gift, pointer);
  meanwhile(&gift->random);
  /* Asynchronous only where nothing is held: in calls that allow it, and in a loop. */
  bool asynchronous = how / 8 % 2 && how % 5 != 4;
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
  pthread_testcancel(); /* glibc forgets the result when setcanceltype finds a request */
  if (asynchronous) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
  if (asynchronous && how / 16 % 2)
    for (volatile unsigned long spin = 0;; spin++)
      ;
  block_for_ever(how, descriptor);
  pthread_cleanup_pop(0);
  return NULL;
}

static NOINLINE void start_cancelled(pthread_t *thread, int descriptor, uint64_t *random) {
  struct gift *gift = make_gift(random);
  gift->descriptor = descriptor;
  gift->how = (unsigned)(next_random(random) >> 8);
  CHAOS_CHECK(pthread_create(thread, NULL, be_cancelled, gift) == 0);
}

static void cancellation(struct actor *actor) {
  int ends[2];
  pthread_t threads[2];
  CHAOS_CHECK(pipe2(ends, O_CLOEXEC) == 0);
  for (int i = 0; i < 2; i++) start_cancelled(&threads[i], ends[0], &actor->random);
  meanwhile(&actor->random);
  CHAOS_CHECK(pthread_rwlock_rdlock(&ids_or_cancellation) == 0);
  for (int i = 0; i < 2; i++) CHAOS_CHECK(pthread_cancel(threads[i]) == 0);
  for (int i = 0; i < 2; i++) {
    void *result;
    CHAOS_CHECK(pthread_join(threads[i], &result) == 0);
    CHAOS_CHECK(result == PTHREAD_CANCELED || result == NULL); /* NULL: see be_cancelled */
  }
  CHAOS_CHECK(pthread_rwlock_unlock(&ids_or_cancellation) == 0);
  close(ends[0]);
  close(ends[1]);
}

/* --- blocking calls, with a pointer on the stack that waits --- */

static void *write_later(void *pointer) {
  int descriptor = (int)(intptr_t)pointer;
  usleep(1500);
  CHAOS_CHECK(write(descriptor, "x", 1) == 1);
  return NULL;
}

static void blocking(struct actor *actor) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  struct chain *volatile place;
  uint32_t seed = chain_make(&place, &actor->random);
  unsigned mark = handled_mark(), changes = ids_mark();
  long nap = (long)(next_random(&actor->random) % 3000000);
  struct timespec until, length = {0, nap};
  int result = 0, ends[2];
  sem_t semaphore;
  pthread_t writer;
  char byte;
  meanwhile(&actor->random);
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += nap;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  errno = 0;
  switch (next_random(&actor->random) % 5) {
  case 0: result = poll(NULL, 0, (int)(nap / 1000000)); break;
  case 1: result = nanosleep(&length, NULL); break;
  case 2:
    pthread_mutex_lock(&lock);
    int error = pthread_cond_timedwait(&condition, &lock, &until);
    pthread_mutex_unlock(&lock);
    CHAOS_CHECK(error == ETIMEDOUT || error == 0);
    break;
  case 3:
    sem_init(&semaphore, 0, 0);
    result = sem_timedwait(&semaphore, &until);
    CHAOS_CHECK(result < 0);
    if (errno == ETIMEDOUT) result = 0;
    sem_destroy(&semaphore);
    break;
  case 4:
    CHAOS_CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHAOS_CHECK(pthread_create(&writer, NULL, write_later, (void *)(intptr_t)ends[1]) == 0);
    result = read(ends[0], &byte, 1) == 1 ? 0 : -1;
    CHAOS_CHECK(pthread_join(writer, NULL) == 0);
    close(ends[0]);
    close(ends[1]);
    break;
  }
  if (result < 0 && (errno != EINTR || !(handled_since(mark) || ids_changed_since(changes))))
    chaos_fail("a blocking call failed: %s", strerror(errno));
  chain_end(&place, seed, "a blocked thread", &actor->random);
}

static void collections(struct actor *actor) {
  struct chain *volatile place;
  uint32_t seed = chain_make(&place, &actor->random);
  for (int i = 0; i < 3; i++) {
    collect();
    chain_verify(&place, seed, "a collecting thread");
  }
  chain_end(&place, seed, "a collecting thread", &actor->random);
}

const struct ingredient thread_ingredients[] = {
    {"threads", short_threads},
    {"detached", detached_threads},
    {"given-stack", given_stack},
    {"cancel", cancellation},
    {"blocking", blocking},
    {"collect", collections},
    {NULL, NULL},
};
