// While it lives, this thread's arithmetic takes and gives 0 for denormals: what decays (states of
// a scan, running products, moments) passes through them, and each would cost an Intel processor
// over a hundred cycles. No result that anything is compared with is that small.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace hrsam::cpu {

class DenormalsAreZero {
 public:
  DenormalsAreZero() : before_(read()) { write(before_ | kFlags); }
  ~DenormalsAreZero() { write(before_); }
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint64_t kFlags = 0x8040;  // of results, of operands
  static uint64_t read() { return _mm_getcsr(); }
  static void write(uint64_t flags) { _mm_setcsr(static_cast<unsigned>(flags)); }
#elif defined(__aarch64__)
  static constexpr uint64_t kFlags = 1u << 24;
  static uint64_t read() {
    uint64_t flags;
    asm volatile("mrs %0, fpcr" : "=r"(flags));
    return flags;
  }
  static void write(uint64_t flags) { asm volatile("msr fpcr, %0" ::"r"(flags)); }
#else
  static constexpr uint64_t kFlags = 0;
  static uint64_t read() { return 0; }
  static void write(uint64_t) {}
#endif

  uint64_t before_;
};

}  // namespace hrsam::cpu
