// A parallel section is open or closed; workers join an open one, take tasks from a counter and
// leave. The caller closes the section once the counter has run out and waits only for workers that
// joined: one that still sleeps costs nothing.
#include "thread_pool.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "../../plan/failure.h"
#include "denormals.h"
#include "op.h"
#include "sanitizer.h"

namespace hrsam::cpu {

using plan::fail;

namespace {

constexpr auto kSpin = std::chrono::microseconds(50);  // the gap between two ops is shorter
constexpr uint32_t kOpen = 1u << 31;  // Impl::section; the other bits count workers

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns as soon as word differs from value: spins first, then sleeps.
void wait_while(const std::atomic<uint32_t>& word, uint32_t value) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (word.load(std::memory_order_acquire) != value) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  word.wait(value, std::memory_order_acquire);
}

}  // namespace

struct Pool::Impl {
  // Written by the caller while the section is closed and empty.
  Task task = nullptr;
  void* context = nullptr;
  int64_t count = 0;
  bool stop = false;
  // Each on its own cache line: the counter is written by every thread at every task.
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<uint32_t> section{0};     // kOpen | workers inside
  alignas(64) std::atomic<uint32_t> generation{0};  // sections so far; what idle workers watch

  std::vector<std::thread> workers;
  std::vector<Block> scratch;
  size_t scratch_bytes = 0;

  void drain(int thread) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;)
      task(context, i, thread);
  }

  bool join() {
    uint32_t now = section.load(std::memory_order_relaxed);
    while (now & kOpen)
      if (section.compare_exchange_weak(now, now + 1, std::memory_order_acquire,
                                        std::memory_order_relaxed))
        return true;
    return false;
  }

  void leave() {
    // The last one out of a closed section wakes the caller.
    if (section.fetch_sub(1, std::memory_order_release) == 1) section.notify_one();
  }

  void work(int thread, uint32_t seen) {
    const DenormalsAreZero denormals;
    for (;;) {
      wait_while(generation, seen);
      seen = generation.load(std::memory_order_acquire);
      if (!join()) continue;
      const bool last = stop;
      if (!last) drain(thread);
      leave();
      if (last) return;
    }
  }

  void open() {
    next.store(0, std::memory_order_relaxed);
    section.store(kOpen, std::memory_order_release);
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
  }

  void close() {
    uint32_t inside = section.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
    for (; inside != 0; inside = section.load(std::memory_order_acquire))
      wait_while(section, inside);
  }

  void end_workers() {
    if (workers.empty()) return;
    stop = true;
    open();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
    close();
    stop = false;
  }

  void start_workers(int threads) {
    try {
      const uint32_t seen = generation.load(std::memory_order_relaxed);
      while (static_cast<int>(workers.size()) + 1 < threads) {
        const int thread = static_cast<int>(workers.size()) + 1;
        workers.emplace_back([this, thread, seen] { work(thread, seen); });
      }
    } catch (const std::system_error&) {
      const size_t started = workers.size() + 1;
      end_workers();
      fail("ERR_OUT_OF_MEMORY", "only %zu of %d threads could be started", started, threads);
    }
  }
};

Pool::Pool(int threads) {
  auto impl = std::make_unique<Impl>();
  impl->start_workers(threads);
  impl_ = impl.release();
}

Pool::~Pool() {
  impl_->end_workers();
  delete impl_;
}

int Pool::threads() const { return static_cast<int>(impl_->workers.size()) + 1; }

void Pool::resize(int threads) {
  if (threads == this->threads()) return;
  // Programs compiled before rely on what they reserved, whatever fails here.
  if (impl_->scratch_bytes > 0)
    while (static_cast<int>(impl_->scratch.size()) < threads)
      impl_->scratch.emplace_back(impl_->scratch_bytes);
  impl_->end_workers();
  impl_->start_workers(threads);
}

void Pool::parallel(int64_t count, Task task, void* context) {
  if (count <= 1 || impl_->workers.empty()) {
    for (int64_t i = 0; i < count; ++i) task(context, i, 0);
    return;
  }
  impl_->task = task;
  impl_->context = context;
  impl_->count = count;
  impl_->open();
  impl_->drain(0);
  impl_->close();
}

void Pool::reserve(size_t bytes_per_thread) {
  if (bytes_per_thread == 0) bytes_per_thread = 1;  // scratch() is asked for all the same
  if (bytes_per_thread <= impl_->scratch_bytes) return;
  std::vector<Block> larger;
  for (int i = 0; i < threads(); ++i) larger.emplace_back(bytes_per_thread);
  impl_->scratch = std::move(larger);
  impl_->scratch_bytes = bytes_per_thread;
}

void* Pool::scratch(int thread) const {
  void* memory = impl_->scratch[static_cast<size_t>(thread)].as<void>();
  guard(memory, impl_->scratch_bytes, impl_->scratch_bytes);
  return memory;
}

}  // namespace hrsam::cpu
