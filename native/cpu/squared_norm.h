// The sum of a vector's squares.
#pragma once

#include <stdint.h>

namespace hrsam::cpu::HRSAM_ISA {

// In double, with enough sums under way to hide the latency of adding to one.
inline double squared_norm(const float* x, int64_t n) {
  constexpr int64_t kSums = 32;
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums)
    for (int64_t k = 0; k < kSums; ++k) {
      const double value = x[i + k];
      sums[k] += value * value;
    }
  for (int64_t k = 0; i < n; ++i, ++k) sums[k] += static_cast<double>(x[i]) * x[i];
  for (int64_t step = kSums / 2; step > 0; step /= 2)
    for (int64_t k = 0; k < step; ++k) sums[k] += sums[k + step];
  return sums[0];
}

}  // namespace hrsam::cpu::HRSAM_ISA
