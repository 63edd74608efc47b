// Vectors of steps of a product's summed axis, kStep neighbours in every lane (micro_kernel.h).
#pragma once

#include "micro_kernel.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

// The axis runs down: kWidth columns of one step, `n` of which count, taken from as many of the
// `rows` that are left, `stride` apart, as a lane holds.
template <class T, class In>
HRSAM_INLINE V load_step(const In* x, int64_t stride, int64_t rows, int n) {
  if (rows <= 0) return zero();
  const V first = load_lanes(x, n);
  if constexpr (Multiply<T>::kStep == 1) {
    return first;
  } else {
    const V second = rows > 1 ? load_lanes(x + stride, n) : zero();
    if constexpr (sizeof(In) == 4) return Multiply<T>::interleave(first, second);
    typedef uint32_t Bits __attribute__((vector_size(sizeof(V))));
    return reinterpret_cast<V>(reinterpret_cast<Bits>(first) >> 16 |
                               reinterpret_cast<Bits>(second));
  }
}

// The axis runs along x: kWidth steps of the `count` > 0 numbers that are left.
template <class T, class In>
HRSAM_INLINE V load_steps(const In* x, int64_t count) {
  const V first = load_lanes(x, static_cast<int>(smaller(kWidth, count)));
  if constexpr (Multiply<T>::kStep == 1) {
    return first;
  } else {
    const int rest = static_cast<int>(smaller(kWidth, count - kWidth));
    return Multiply<T>::join(first, rest > 0 ? load_lanes(x + kWidth, rest) : zero());
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA
