// Mean and deviation of a row, for LayerNorm and its gradients.
#pragma once

#include <math.h>

#include "simd.h"

namespace hrsam::cpu::HRSAM_ISA {

// part(c, n) for the last n < kWidth of `channels`, whole(c) for the vectors before.
template <class Part, class Whole>
HRSAM_INLINE void each_vector(int channels, Part&& part, Whole&& whole) {
  int c = 0;
  for (; c + kWidth <= channels; c += kWidth) whole(c);
  if (c < channels) part(c, channels - c);
}

// The mean is first + second: their rounded sum would lose the correction.
struct Moments {
  float first, second;
  float factor;  // 1 / sqrt(variance + eps)
};

HRSAM_INLINE V normalised(V x, const Moments& m) {
  return (x - set1(m.first) - set1(m.second)) * set1(m.factor);
}

// In two passes: the first mean is rounded; the second pass also sums the deviations from it, which
// corrects mean and variance for the rounding: rows whose mean is far larger than their spread come
// out right.
template <class X>
HRSAM_INLINE Moments moments(const X* x, int channels, float eps) {
  constexpr float kOnes[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const float scale = 1.0f / static_cast<float>(channels);
  V sum = zero();
  each_vector(
      channels, [&](int c, int n) { sum = sum + load_n(x + c, n); },
      [&](int c) { sum = sum + load(x + c); });
  Moments m;
  m.first = reduce_add(sum) * scale;
  const V first = set1(m.first);
  V error = zero(), square = zero();
  each_vector(
      channels,
      [&](int c, int n) {
        const V d = (load_n(x + c, n) - first) * load_n(kOnes, n);  // none past the end
        error = error + d;
        square = fma(d, d, square);
      },
      [&](int c) {
        const V d = load(x + c) - first;
        error = error + d;
        square = fma(d, d, square);
      });
  m.second = reduce_add(error) * scale;
  const float variance = reduce_add(square) * scale - m.second * m.second;
  m.factor = 1.0f / ::sqrtf((variance > 0 ? variance : 0) + eps);
  return m;
}

}  // namespace hrsam::cpu::HRSAM_ISA
