// Vectors of steps of a product's summed axis, kStep neighbours in every lane (micro_kernel.h).
#pragma once

#include "micro_kernel.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

// Part i of split numbers, high to low; of others there is one.
template <class T>
HRSAM_INLINE V part_of(V x, int i) {
#if defined(HRSAM_ISA_amx)
  if constexpr (sizeof(T) == sizeof(Split))
    for (; i > 0; --i) x = x - widen(narrow(x));
#endif
  return x;
}

// The axis runs down: kWidth columns of one step, `n` of which count, taken from as many of the
// `rows` that are left, `stride` apart, as a lane holds.
template <class T, class In>
HRSAM_INLINE V load_step(const In* x, int64_t stride, int64_t rows, int n, int part = 0) {
  if (rows <= 0) return zero();
  const V first = part_of<T>(load_lanes(x, n), part);
  if constexpr (Multiply<T>::kStep == 1) {
    return first;
  } else {
    const V second = rows > 1 ? part_of<T>(load_lanes(x + stride, n), part) : zero();
    if constexpr (sizeof(In) == 4 || sizeof(T) != 2) return Multiply<T>::interleave(first, second);
    typedef uint32_t Bits __attribute__((vector_size(sizeof(V))));
    return reinterpret_cast<V>(reinterpret_cast<Bits>(first) >> 16 |
                               reinterpret_cast<Bits>(second));
  }
}

// The axis runs along x: kWidth steps of the `count` > 0 numbers that are left.
template <class T, class In>
HRSAM_INLINE V load_steps(const In* x, int64_t count, int part = 0) {
  const V first = part_of<T>(load_lanes(x, static_cast<int>(smaller(kWidth, count))), part);
  if constexpr (Multiply<T>::kStep == 1) {
    return first;
  } else {
    const int rest = static_cast<int>(smaller(kWidth, count - kWidth));
    const V second = rest > 0 ? part_of<T>(load_lanes(x + kWidth, rest), part) : zero();
    return Multiply<T>::join(first, second);
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA
