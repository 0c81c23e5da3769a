// thrown.cc: exceptions thrown out of signal handlers, through whatever stands between the handler
// and the program, while collections run: until there were some, since on a busy machine the thread
// that asks for them may begin late. Built with -fnon-call-exceptions, as who does this must.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <unistd.h>

namespace {

constexpr int LEAST = 2000, COLLECTIONS = 20;

volatile bool ending;
volatile int asked; // for collections, without the library too
volatile int *nowhere;

void collect() {
  auto function = reinterpret_cast<void (*)()>(dlsym(RTLD_DEFAULT, "reclaim_collect"));
  if (function != nullptr) function();
}

void *collect_always(void *unused) {
  while (!ending) {
    collect();
    asked = asked + 1;
    usleep(300);
  }
  return unused;
}

struct Counted {
  static int alive;
  char *block;
  Counted() : block(static_cast<char *>(std::malloc(300))) {
    std::memset(block, 0x44, 300);
    alive++;
  }
  ~Counted() {
    for (int i = 0; i < 300; i++)
      if (block[i] != 0x44) _exit(1);
    std::free(block);
    alive--;
  }
};
int Counted::alive;

void on_fault(int number) {
  Counted here;
  throw std::string("signal ") + std::to_string(number) + " with a text too long to stay inside";
}

__attribute__((noinline)) int fall(int depth) {
  Counted here;
  return depth == 0 ? *nowhere : fall(depth - 1) + 1;
}

} // namespace

int main() {
  struct sigaction action {};
  action.sa_handler = on_fault;
  action.sa_flags = SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  pthread_t thread;
  if (pthread_create(&thread, nullptr, collect_always, nullptr) != 0) return 1;
  std::vector<std::string> caught;
  for (int i = 0; i < LEAST || asked < COLLECTIONS; i++) {
    try {
      fall(i % 7);
      return 1;
    } catch (const std::string &text) {
      caught.push_back(text);
    }
    if (Counted::alive != 0) return 1;
  }
  ending = true;
  pthread_join(thread, nullptr);
  for (const auto &text : caught)
    if (text != caught[0] || text.compare(0, 9, "signal 11") != 0) return 1;
  std::puts("all caught");
  return 0;
}
