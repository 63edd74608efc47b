// Threads that change places only when told to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace gpu_on_cpu {

class Fibre {
 public:
  // The next change to this fibre calls entry(), which must never return.
  void prepare(void (*entry)());
  static void change(Fibre& from, Fibre& to);

 private:
  static constexpr size_t kStackBytes = 64 << 10;
  std::unique_ptr<unsigned char[]> stack_;  // none: the thread's own
#if defined(__x86_64__)
  void* top_ = nullptr;
#else
  ucontext_t context_{};
#endif
};

}  // namespace gpu_on_cpu
