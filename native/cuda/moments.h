// Mean and deviation of a row, for LayerNorm and its gradients. A warp owns a row.
#pragma once

#include "core/kernel.h"

namespace hrsam::cuda {

// Fours of a row that a warp keeps in registers: rows of up to 1024 are read from memory once.
constexpr int kRowFours = 8;

// The mean is first + second: their rounded sum would lose the correction.
struct Moments {
  float first, second;
  float factor;  // 1 / sqrt(variance + eps)
  HRSAM_DEVICE float normalised(float x) const { return (x - first - second) * factor; }
};

// A row of any length, four numbers at a time; kHeld: it fits the registers.
template <class X, bool kHeld>
struct WarpRow {
  const X* x;
  int channels, lane;
  Four held[kHeld ? kRowFours : 1];

  HRSAM_DEVICE WarpRow(const X* row, int count, int l) : x(row), channels(count), lane(l) {
    if constexpr (kHeld) {
#pragma unroll
      for (int i = 0; i < kRowFours; ++i) held[i] = read(i);
    }
  }
  // f(column, n, numbers) for the lane's fours.
  template <class F>
  HRSAM_DEVICE void each(F&& f) const {
    if constexpr (kHeld) {
#pragma unroll
      for (int i = 0; i < kRowFours; ++i)
        if (count_at(i) > 0) f(column(i), count_at(i), held[i]);
    } else {
      for (int i = 0; count_at(i) > 0; ++i) f(column(i), count_at(i), read(i));
    }
  }

 private:
  HRSAM_DEVICE int column(int i) const { return (i * kWarp + lane) * 4; }
  HRSAM_DEVICE int count_at(int i) const {
    const int left = channels - column(i);
    return left < 0 ? 0 : left < 4 ? left : 4;
  }
  HRSAM_DEVICE Four read(int i) const {
    const int n = count_at(i);
    return n > 0 ? load_four(x + column(i), n) : Four{};
  }
};

// The first mean is rounded; the second pass also sums the deviations from it, which corrects mean
// and variance for the rounding: rows whose mean is far larger than their spread come out right.
template <class Row>
HRSAM_DEVICE Moments moments(const Row& row, float eps) {
  const float scale = 1.0f / static_cast<float>(row.channels);
  float sum = 0;
  row.each([&](int, int, const Four& v) { sum += (v.x[0] + v.x[1]) + (v.x[2] + v.x[3]); });
  Moments m;
  m.first = warp_sum(sum) * scale;
  float error = 0, square = 0;
  row.each([&](int, int n, const Four& v) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float d = k < n ? v.x[k] - m.first : 0;
      error += d;
      square = fmaf(d, d, square);
    }
  });
  m.second = warp_sum(error) * scale;
  const float variance = warp_sum(square) * scale - m.second * m.second;
  m.factor = 1.0f / sqrtf((variance > 0 ? variance : 0) + eps);
  return m;
}

}  // namespace hrsam::cuda
