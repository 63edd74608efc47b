// kWidth x kWidth transposition in registers, and the exchange of neighbouring lanes.
#pragma once

#include "simd.h"

namespace hrsam::cpu::HRSAM_ISA {

#if defined(HRSAM_ISA_scalar)

HRSAM_INLINE void transpose(V*) {}

#else

namespace lanes {

template <int... kLane>
struct List {};
template <int kCount, int... kLane>
struct Count : Count<kCount - 1, kCount - 1, kLane...> {};
template <int... kLane>
struct Count<0, kLane...> {
  using Lanes = List<kLane...>;
};
using All = Count<kWidth>::Lanes;

// One step of the transposition: a's and b's off-diagonal blocks of kSize lanes change places.
template <int kSize, int... kLane>
HRSAM_INLINE void exchange(V& a, V& b, List<kLane...>) {
  const V low =
      __builtin_shufflevector(a, b, ((kLane & kSize) == 0 ? kLane : kWidth + kLane - kSize)...);
  b = __builtin_shufflevector(a, b, ((kLane & kSize) == 0 ? kLane + kSize : kWidth + kLane)...);
  a = low;
}

template <int... kLane>
HRSAM_INLINE V swap(V x, List<kLane...>) {
  return __builtin_shufflevector(x, x, (kLane ^ 1)...);
}

}  // namespace lanes

template <int kSize = kWidth / 2>
HRSAM_INLINE void transpose(V* rows) {
  for (int i = 0; i < kWidth; ++i)
    if ((i & kSize) == 0) lanes::exchange<kSize>(rows[i], rows[i + kSize], lanes::All());
  if constexpr (kSize > 1) transpose<kSize / 2>(rows);
}

HRSAM_INLINE V swap_neighbours(V x) { return lanes::swap(x, lanes::All()); }

#endif

}  // namespace hrsam::cpu::HRSAM_ISA
