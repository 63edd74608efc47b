// The thread pool: every task once, whatever the number of threads, again and again.
#include "../cpu/core/thread_pool.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "../plan/failure.h"
#include "harness.h"

using namespace hrsam::test;
using hrsam::cpu::Pool;

namespace {

// Runs `count` tasks and checks that each ran once, on a thread of the pool.
void check_section(Pool& pool, int64_t count) {
  std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
  std::atomic<int> strangers{0};
  pool.each(count, [&](int64_t i, int thread) {
    ++runs[static_cast<size_t>(i)];
    if (thread < 0 || thread >= pool.threads()) ++strangers;
  });
  int64_t wrong = 0;
  for (const std::atomic<int>& run : runs) wrong += run != 1;
  CHECK_EQ(wrong, 0);
  CHECK_EQ(strangers.load(), 0);
}

}  // namespace

TEST(every_task_runs_once) {
  for (const int threads : {1, 2, 3, 8}) {
    Pool pool(threads);
    CHECK_EQ(pool.threads(), threads);
    for (const int64_t count : {0, 1, 2, 3, 7, 1000}) check_section(pool, count);
  }
}

TEST(less_than_one_thread_is_one) {
  Pool pool(0);
  CHECK_EQ(pool.threads(), 1);
  check_section(pool, 5);
}

TEST(sections_follow_each_other_without_pause) {
  Pool pool(3);
  int64_t sum = 0;
  std::vector<int64_t> parts(16);
  for (int64_t section = 0; section < 20000; ++section) {
    pool.each(16, [&](int64_t i, int) { parts[static_cast<size_t>(i)] = section + i; });
    for (const int64_t part : parts) sum += part;
  }
  CHECK_EQ(sum, 16 * (int64_t{19999} * 20000 / 2) + 20000 * 120);
}

TEST(sleeping_workers_wake_up) {
  Pool pool(3);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    // Ends only if a second thread takes the other task.
    std::atomic<int> inside{0};
    pool.each(2, [&](int64_t, int) {
      ++inside;
      while (inside < 2) std::this_thread::yield();
    });
    CHECK_EQ(inside.load(), 2);
  }
}

TEST(tasks_are_waited_for) {
  Pool pool(2);
  for (int i = 0; i < 10; ++i) {
    std::atomic<int> done{0};
    pool.each(2, [&](int64_t task, int) {
      std::this_thread::sleep_for(std::chrono::milliseconds(task));  // longer than the spin
      ++done;
    });
    CHECK_EQ(done.load(), 2);
  }
}

TEST(resizes) {
  Pool pool(2);
  pool.reserve(100);
  for (const int threads : {3, 1, 4, 4, 2, 1, 2}) {
    pool.resize(threads);
    CHECK_EQ(pool.threads(), threads);
    check_section(pool, 100);
    for (int thread = 0; thread < threads; ++thread)
      std::memset(pool.scratch(thread), 1, 100);  // what was reserved still is
  }
}

TEST(scratch_is_each_threads_own_and_aligned) {
  Pool pool(4);
  for (const size_t bytes : {1, 64, 1000, 10, 5 << 20}) {
    pool.reserve(bytes);
    for (int thread = 0; thread < 4; ++thread) {
      CHECK_EQ(reinterpret_cast<uintptr_t>(pool.scratch(thread)) % 64, 0u);
      std::memset(pool.scratch(thread), thread, bytes);
    }
    for (int thread = 0; thread < 4; ++thread)
      CHECK_EQ(static_cast<unsigned char*>(pool.scratch(thread))[bytes - 1], thread);
  }
}

TEST(too_much_scratch_is_a_typed_error) {
  Pool pool(2);
  pool.reserve(4096);
  std::string code;
  try {
    pool.reserve(size_t{1} << 50);
  } catch (const hrsam::plan::Failure& failure) {
    code = failure.error.code;
  }
  CHECK_EQ(code, "ERR_OUT_OF_MEMORY");
  // What was there before still is.
  for (int thread = 0; thread < 2; ++thread) std::memset(pool.scratch(thread), 1, 4096);
  pool.resize(4);
  for (int thread = 0; thread < 4; ++thread) std::memset(pool.scratch(thread), 1, 4096);
  pool.reserve(64);
  check_section(pool, 10);
}

TEST(pools_come_and_go) {
  for (int i = 0; i < 200; ++i) {
    Pool pool(1 + i % 4);
    if (i % 3 == 0) check_section(pool, i % 7);
  }
}
