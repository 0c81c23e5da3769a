// cxx.cc: C++ over the library: new and delete in all forms, the new handler, exceptions across
// threads, containers, thread-local objects with destructors.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static void check(bool condition, const char *what) {
  if (!condition) {
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
  }
}

struct alignas(256) Wide {
  unsigned char bytes[300];
};

static int handler_calls;

static void exhausted() {
  if (++handler_calls == 3) std::set_new_handler(nullptr);
}

static void forms() {
  int *one = new int(7);
  int *many = new int[1000]();
  check(*one == 7 && many[999] == 0, "new");
  delete one;
  delete[] many;
  Wide *wide = new Wide, *wides = new Wide[3];
  check(reinterpret_cast<std::uintptr_t>(wide) % 256 == 0, "aligned new");
  check(reinterpret_cast<std::uintptr_t>(wides) % 256 == 0, "aligned new[]");
  delete wide;
  delete[] wides;
  volatile std::size_t huge = SIZE_MAX / 2;
  check(::operator new(huge, std::nothrow) == nullptr, "nothrow");
  std::set_new_handler(exhausted);
  bool thrown = false;
  try {
    ::operator delete(::operator new(huge));
  } catch (const std::bad_alloc &) {
    thrown = true;
  }
  check(thrown && handler_calls == 3, "new handler, then bad_alloc");
  void *raw = ::operator new(100, std::align_val_t(64));
  check(reinterpret_cast<std::uintptr_t>(raw) % 64 == 0, "operator new, aligned");
  ::operator delete(raw, std::size_t(100), std::align_val_t(64));
}

static int depth(int n) {
  std::string guard(static_cast<std::size_t>(n) + 20, 'x');
  if (n == 0) throw std::runtime_error("from below: " + guard);
  return depth(n - 1) + static_cast<int>(guard.size());
}

static unsigned long containers(unsigned seed) {
  static thread_local std::vector<std::unique_ptr<std::string>> kept;
  std::map<std::string, std::vector<int>> table;
  unsigned long sum = 0;
  for (unsigned i = 0; i < 20000; i++) {
    seed = seed * 1103515245 + 12345;
    std::string key = "key" + std::to_string(seed % 997);
    table[key].push_back(static_cast<int>(i));
    if (seed % 7 == 0) table.erase("key" + std::to_string(seed / 7 % 997));
    if (i % 100 == 0) kept.push_back(std::make_unique<std::string>(key + " kept"));
    if (i % 200 == 0) try {
        depth(static_cast<int>(i % 30));
      } catch (const std::exception &error) {
        sum += std::string(error.what()).size();
      }
  }
  for (auto &[key, values] : table)
    for (int value : values) sum = sum * 31 + static_cast<unsigned long>(value) + key.size();
  for (auto &text : kept) sum += text->size();
  return sum;
}

int main() {
  forms();
  unsigned long sums[8];
  std::vector<std::thread> threads;
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned t = 0; t < 8; t++)
      threads.emplace_back([t, &sums] { sums[t] = containers(t + 1); });
    for (auto &thread : threads) thread.join();
    threads.clear();
  }
  std::exception_ptr error;
  std::thread([&error] {
    try {
      depth(5);
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  try {
    std::rethrow_exception(error);
  } catch (const std::runtime_error &e) {
    std::printf("%s\n", e.what());
  }
  for (unsigned long sum : sums) std::printf("%lu\n", sum);
  return 0;
}
