// Axial rotary position embedding, applied while a head's query or key is loaded. The first half of
// the channels turns with the row, the second with the column; neighbouring channels form the pairs
// that turn:
//   out[2j] = x[2j]·cos + x[2j+1]·sin,  out[2j+1] = x[2j+1]·cos − x[2j]·sin,  angle =
//   position·scale·theta^(−2j / half).
#pragma once

#include <math.h>

#include "transpose.h"

namespace hrsam::cpu::HRSAM_ISA {

// Per position of an axis: `half` cosines, then `half` sines with the signs of the formula.
class RopeTable {
 public:
  RopeTable() = default;
  RopeTable(int positions, int half, double theta, double scale)
      : half_(half), table_(sizeof(float) * 2 * static_cast<size_t>(half) * positions) {
    for (int p = 0; p < positions; ++p)
      for (int c = 0; c < half; ++c) {
        const double angle = p * scale * ::pow(theta, -static_cast<double>(c & ~1) / half);
        float* at = table_.as<float>() + static_cast<int64_t>(p) * 2 * half;
        at[c] = static_cast<float>(::cos(angle));
        at[half + c] = static_cast<float>((c & 1) == 0 ? ::sin(angle) : -::sin(angle));
      }
  }
  explicit operator bool() const { return static_cast<bool>(table_); }
  const float* at(int64_t position) const { return table_.as<float>() + position * 2 * half_; }

 private:
  int half_ = 0;
  Block table_;
};

namespace rope {

template <class T>
HRSAM_INLINE void turn(const T* x, const float* table, int half, float* out) {
#if defined(HRSAM_ISA_scalar)
  for (int c = 0; c < half; ++c)
    out[c] = to_f32(x[c]) * table[c] + to_f32(x[c ^ 1]) * table[half + c];
#else
  for (int c = 0; c < half; c += kWidth) {
    const int n = half - c;
    const V a = load_lanes(x + c, n), b = swap_neighbours(a);
    const V turned = fma(a, load_lanes(table + c, n), b * load_lanes(table + half + c, n));
    store_lanes(out + c, turned, n);
  }
#endif
}

}  // namespace rope

// A head's d channels as f32, turned when there are tables; `row` and `column` come from
// RopeTable::at.
template <class T>
HRSAM_INLINE void load_head(const T* x, int d, const float* row, const float* column, float* out) {
  if (row != nullptr) {
    rope::turn(x, row, d / 2, out);
    rope::turn(x + d / 2, column, d / 2, out + d / 2);
    return;
  }
  for (int c = 0; c < d; c += kWidth) store_lanes(out + c, load_lanes(x + c, d - c), d - c);
}

}  // namespace hrsam::cpu::HRSAM_ISA
