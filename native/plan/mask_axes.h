// Logits to masks at the picture's size: what each axis of the two resizes in a row reads.
#pragma once

#include "bilinear.h"
#include "expect.h"

namespace HRSAM_OPS {

constexpr int kTaps = 4;

// One axis of both resizes: output i = sum over t of weight[t][i]·logit[index[t][i]]. Indices
// ascend with t; a tap that is not used has weight 0 and the index of the last one used.
class TapAxis {
 public:
  TapAxis(int64_t low, int64_t input, int64_t crop, int64_t out)
      : block_(static_cast<size_t>(out) * kTaps * 8), out_(out) {
    for (int64_t i = 0; i < out; ++i) {
      const Lerp outer = half_pixel(i, crop, out);
      int32_t index[kTaps] = {};
      double weight[kTaps] = {};
      int count = 0;
      const int32_t lines[2] = {outer.lo, outer.hi};
      const double shares[2] = {1 - outer.weight, outer.weight};
      for (int j = 0; j < 2; ++j) {
        const Lerp inner = half_pixel(lines[j], low, input);
        add(inner.lo, shares[j] * (1 - inner.weight), index, weight, &count);
        add(inner.hi, shares[j] * inner.weight, index, weight, &count);
      }
      if (count > used_) used_ = count;
      for (int t = 0; t < kTaps; ++t) {
        indices()[t * out + i] = t < count ? index[t] : indices()[(t - 1) * out + i];
        weights()[t * out + i] = static_cast<float>(weight[t]);
      }
    }
  }
  int used() const { return used_; }  // taps of the output that has most
  const int32_t* index(int tap) const { return indices() + tap * out_; }
  const float* weight(int tap) const { return weights() + tap * out_; }
  const Block& block() const { return block_; }  // [tap][out] indices, then weights

 private:
  static void add(int32_t at, double share, int32_t* index, double* weight, int* count) {
    if (share == 0) return;
    for (int t = 0; t < *count; ++t) {
      if (index[t] != at) continue;
      weight[t] += share;
      return;
    }
    index[*count] = at;
    weight[(*count)++] = share;
  }
  int32_t* indices() const { return block_.as<int32_t>(); }
  float* weights() const { return block_.as<float>() + kTaps * out_; }

  Block block_;
  int64_t out_;
  int used_ = 1;
};

struct MaskShape {
  int64_t masks, low[2], input[2], crop[2], original[2];
  float threshold;
};

inline MaskShape read_mask_threshold(const Node& node) {
  const Value &logits = node.value("logits"), &result = node.result();
  expect_rank(node, logits, "logits", 4);
  expect_f32(node, logits, "logits");
  MaskShape s{};
  s.masks = logits.dim(0) * logits.dim(1);
  integers(node, "input", 2, s.input);
  integers(node, "crop", 2, s.crop);
  integers(node, "original", 2, s.original);
  s.threshold = static_cast<float>(node.number("threshold"));
  for (int i = 0; i < 2; ++i) {
    s.low[i] = logits.dim(2 + i);
    expect(node, s.low[i] > 0, "logits: an empty map");
    expect(node, s.crop[i] > 0 && s.crop[i] <= s.input[i], "crop: expected 1 to the input size");
    expect(node, s.original[i] > 0, "original: an empty picture");
  }
  expect(node,
         result.dtype == DType::u8 &&
             has_shape(result, {logits.dim(0), logits.dim(1), s.original[0], s.original[1]}),
         "the result's shape or type is not (B, M, height, width) u8 of the original picture");
  return s;
}

}  // namespace HRSAM_OPS
