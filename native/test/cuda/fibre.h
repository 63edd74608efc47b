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
  static void begin();

  std::unique_ptr<unsigned char[]> stack_;  // none: the thread's own
  void (*entry_)() = nullptr;
  // For AddressSanitizer, which must know what stack is in use.
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
#if defined(__x86_64__)
  void* top_ = nullptr;
#else
  ucontext_t context_{};
#endif
};

}  // namespace gpu_on_cpu
