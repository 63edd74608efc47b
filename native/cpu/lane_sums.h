// Sums across lanes, of many vectors at once: a tree whose steps halve the number of vectors, so
// that kWidth sums cost about three operations each.
#pragma once

#include "transpose.h"

namespace hrsam::cpu::HRSAM_ISA {

// Lane i of the result is the sum of rows[i]'s lanes. rows is overwritten.
template <int kSize = kWidth / 2>
HRSAM_INLINE V lane_sums(V* rows) {
#if !defined(HRSAM_ISA_scalar)
  if constexpr (kSize >= 1) {
    for (int i = 0; i < kSize; ++i) {
      lanes::exchange<kSize>(rows[i], rows[i + kSize], lanes::All());
      rows[i] = rows[i] + rows[i + kSize];
    }
    return lane_sums<kSize / 2>(rows);
  }
#endif
  return rows[0];
}

}  // namespace hrsam::cpu::HRSAM_ISA
