// Cuts one block of scratch memory into aligned arrays. AddressSanitizer finds what is written or
// read between them.
#pragma once

#include "op.h"
#include "sanitizer.h"

namespace hrsam::cpu::HRSAM_ISA {

class Carver {
 public:
  // With null it only adds up sizes.
  explicit Carver(void* memory) : base_(reinterpret_cast<uintptr_t>(memory)) {}

  template <class T>
  T* take(int64_t count) {
    const uintptr_t at = base_ + bytes_;
    const size_t used = static_cast<size_t>(count) * sizeof(T);
    bytes_ += (used + 63) / 64 * 64 + kGuardBytes;
    if (base_ != 0) guard(reinterpret_cast<void*>(at), used, base_ + bytes_ - at);
    return reinterpret_cast<T*>(at);
  }
  size_t bytes() const { return bytes_; }

 private:
  uintptr_t base_;
  size_t bytes_ = 0;
};

}  // namespace hrsam::cpu::HRSAM_ISA
