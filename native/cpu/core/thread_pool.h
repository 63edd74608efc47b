// The one thread pool of the CPU backend. Work is cut into tasks by the shapes alone, never by the
// number of threads, so results do not depend on it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hrsam::cpu {

class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const;
  // Only between parallel sections.
  void resize(int threads);

  // Runs task(context, i, thread) for every i in [0, count), on all threads, the caller being
  // thread 0; returns when all are done. Tasks are handed out in ascending order, must not throw
  // and must not start parallel sections. One caller at a time.
  using Task = void (*)(void* context, int64_t i, int thread);
  void parallel(int64_t count, Task task, void* context);

  // parallel() for a callable f(i, thread).
  template <class F>
  void each(int64_t count, F&& f) {
    parallel(
        count, [](void* context, int64_t i, int thread) { (*static_cast<F*>(context))(i, thread); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

  // 64-byte aligned scratch memory of one thread, at least as large as the last reserve(). Throws
  // when out of memory, and what was reserved stays. Contents do not survive a reserve().
  void reserve(size_t bytes_per_thread);
  void* scratch(int thread) const;

 private:
  struct Impl;
  Impl* impl_;
};

}  // namespace hrsam::cpu
