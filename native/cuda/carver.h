// Cuts one block of memory into arrays that vector accesses may begin at.
#pragma once

#include "core/op.h"

namespace hrsam::cuda {

class Carver {
 public:
  // With null it only adds up sizes.
  explicit Carver(void* memory) : base_(reinterpret_cast<uintptr_t>(memory)) {}

  template <class T>
  T* take(int64_t count) {
    const uintptr_t at = base_ + bytes_;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + 255) / 256 * 256;
    return reinterpret_cast<T*>(at);
  }
  size_t bytes() const { return bytes_; }

 private:
  uintptr_t base_;
  size_t bytes_ = 0;
};

}  // namespace hrsam::cuda
