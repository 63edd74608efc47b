// Half-pixel coordinates, as torch's interpolate(align_corners=False): output i lies at
// (i + 0.5)·in/out − 0.5 of the source, not left of its first line. Computed in double precision:
// float coordinates would cost 1e-6 to 1e-5 on ratios that are no short binary fraction.
#pragma once

#include "op.h"

namespace HRSAM_OPS {

// value = (1 - weight)·source[lo] + weight·source[hi]
struct Lerp {
  int32_t lo, hi;
  double weight;
};

inline Lerp half_pixel(int64_t i, int64_t in, int64_t out) {
  double at = (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out);
  at = at > 0.5 ? at - 0.5 : 0;
  const int32_t lo = static_cast<int32_t>(at);
  return {lo, lo + 1 < in ? lo + 1 : lo, at - lo};
}

// half_pixel of every output of an axis, as arrays.
class LerpAxis {
 public:
  LerpAxis(int64_t in, int64_t out) : block_(static_cast<size_t>(out) * 12), out_(out) {
    int32_t* lo = block_.as<int32_t>();
    float* weight = block_.as<float>() + 2 * out;
    for (int64_t i = 0; i < out; ++i) {
      const Lerp lerp = half_pixel(i, in, out);
      lo[i] = lerp.lo;
      lo[out + i] = lerp.hi;
      weight[i] = static_cast<float>(lerp.weight);
    }
  }
  const int32_t* lo() const { return block_.as<int32_t>(); }
  const int32_t* hi() const { return lo() + out_; }
  const float* weight() const { return block_.as<float>() + 2 * out_; }
  const Block& block() const { return block_; }  // lo, hi and weight of every output

 private:
  Block block_;
  int64_t out_;
};

}  // namespace HRSAM_OPS
