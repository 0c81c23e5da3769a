/* early_late.c: allocates before main, in a constructor that runs before all others, and after
   it, in destructors and exit handlers; frees late what was made early. */
#include "program.h"

static char *early, *from_start;
static char *blocks[100];

static void say(const char *text) {
  if (write(1, text, strlen(text)) < 0) _exit(2);
}

__attribute__((constructor(101))) static void before_all(void) {
  early = strdup("made in the first constructor");
  from_start = malloc(1 << 20);
  memset(from_start, 'x', 1 << 20);
}

static void at_exit(void) {
  for (int i = 0; i < 100; i++) {
    CHECK(blocks[i] != NULL && pattern_holds(blocks[i], 500, (unsigned)i));
    blocks[i] = realloc(blocks[i], 900);
    CHECK(pattern_holds(blocks[i], 500, (unsigned)i));
  }
  collect();
  say("at exit\n");
}

static void with_argument(int status, void *argument) {
  CHECK(status == 0 && strcmp(argument, "kept by on_exit") == 0);
  free(argument);
  say("on exit\n");
}

__attribute__((destructor(101))) static void after_all(void) {
  for (int i = 0; i < 100; i++) {
    CHECK(pattern_holds(blocks[i], 500, (unsigned)i));
    free(blocks[i]);
  }
  void *late = malloc(5000);
  CHECK(late != NULL && strcmp(early, "made in the first constructor") == 0);
  free(early);
  free(from_start);
  collect();
  say("last destructor\n");
}

int main(void) {
  atexit(at_exit);
  on_exit(with_argument, strdup("kept by on_exit"));
  for (int i = 0; i < 100; i++) fill_pattern(blocks[i] = malloc(500), 500, (unsigned)i);
  wipe_stack();
  for (int i = 0; i < 5; i++) collect();
  for (int i = 0; i < 3000; i++) memset(malloc(500), 0x55, 500);
  CHECK(from_start[12345] == 'x');
  say("main\n");
  return 0;
}
