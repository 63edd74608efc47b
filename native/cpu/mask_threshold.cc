// Logits to binary masks at the picture's size: bilinear to the model's input size, crop, bilinear
// to the original size, and a comparison.
//
// Both resizes are linear and act on each axis by itself, so along one axis a result is a weighted
// sum of at most four logits (two intermediate lines of two logits each; three where both lie in
// one cell). A task owns some rows of one mask: it resizes the few rows of logits that these need
// along x, keeps four of them in scratch, and mixes and compares them along y without storing the
// sum. Bound by the additions along y, three per pixel.
#include "bilinear.h"
#include "expect.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {
namespace {

constexpr int kTaps = 4;
constexpr int64_t kRowsPerTask = 64;

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

// The sum over kUsed taps; written out so that the compiler sees kUsed streams.
template <int kUsed>
void mix_columns(const TapAxis& axis, const float* logits, int64_t n, float* out) {
  const int32_t *i0 = axis.index(0), *i1 = axis.index(1), *i2 = axis.index(2), *i3 = axis.index(3);
  const float *w0 = axis.weight(0), *w1 = axis.weight(1), *w2 = axis.weight(2),
              *w3 = axis.weight(3);
  for (int64_t x = 0; x < n; ++x) {
    float sum = w0[x] * logits[i0[x]];
    if constexpr (kUsed > 1) sum += w1[x] * logits[i1[x]];
    if constexpr (kUsed > 2) sum += w2[x] * logits[i2[x]];
    if constexpr (kUsed > 3) sum += w3[x] * logits[i3[x]];
    out[x] = sum;
  }
}

template <int kUsed>
void compare_rows(const float* const* row, const float* weight, float threshold, int64_t n,
                  uint8_t* out) {
  const float *r0 = row[0], *r1 = row[1], *r2 = row[2], *r3 = row[3];
  const float w0 = weight[0], w1 = weight[1], w2 = weight[2], w3 = weight[3];
  for (int64_t x = 0; x < n; ++x) {
    float sum = w0 * r0[x];
    if constexpr (kUsed > 1) sum += w1 * r1[x];
    if constexpr (kUsed > 2) sum += w2 * r2[x];
    if constexpr (kUsed > 3) sum += w3 * r3[x];
    out[x] = sum > threshold;
  }
}

class MaskThreshold : public Op {
 public:
  struct Shape {
    int64_t masks, low[2], input[2], crop[2], original[2];
    float threshold;
  };
  MaskThreshold(int operand, const Shape& shape)
      : operand_(operand),
        s_(shape),
        rows_(s_.low[0], s_.input[0], s_.crop[0], s_.original[0]),
        columns_(s_.low[1], s_.input[1], s_.crop[1], s_.original[1]) {}

  void run(const Run& run) const override {
    const int64_t bands = divide_up(s_.original[0], kRowsPerTask);
    run.pool.reserve(sizeof(float) * kTaps * static_cast<size_t>(s_.original[1]));
    run.pool.each(s_.masks * bands, [&](int64_t task, int thread) {
      const int64_t mask = task / bands, begin = task % bands * kRowsPerTask;
      band(run.in<float>(operand_) + mask * s_.low[0] * s_.low[1], begin,
           smaller(s_.original[0], begin + kRowsPerTask),
           run.out<uint8_t>() + mask * s_.original[0] * s_.original[1],
           static_cast<float*>(run.pool.scratch(thread)));
    });
  }

 private:
  void band(const float* logits, int64_t begin, int64_t end, uint8_t* out, float* slots) const {
    const int64_t w = s_.original[1];
    int32_t held[kTaps] = {-1, -1, -1, -1};  // the row of logits in each slot
    for (int64_t y = begin; y < end; ++y) {
      const float* row[kTaps];
      float weight[kTaps];
      for (int t = 0; t < kTaps; ++t) {
        const int32_t wanted = rows_.index(t)[y];
        int slot = 0;
        while (slot < kTaps && held[slot] != wanted) ++slot;
        if (slot == kTaps) {
          slot = 0;
          while (is_wanted(held[slot], y)) ++slot;
          held[slot] = wanted;
          resize_row(logits + wanted * s_.low[1], slots + slot * w);
        }
        row[t] = slots + slot * w;
        weight[t] = rows_.weight(t)[y];
      }
      compare(row, weight, out + y * w);
    }
  }

  bool is_wanted(int32_t row, int64_t y) const {
    for (int t = 0; t < kTaps; ++t)
      if (rows_.index(t)[y] == row) return true;
    return false;
  }

  void resize_row(const float* logits, float* out) const {
    const int64_t w = s_.original[1];
    switch (columns_.used()) {
      case 1:
        return mix_columns<1>(columns_, logits, w, out);
      case 2:
        return mix_columns<2>(columns_, logits, w, out);
      case 3:
        return mix_columns<3>(columns_, logits, w, out);
      default:
        return mix_columns<4>(columns_, logits, w, out);
    }
  }

  void compare(const float* const* row, const float* weight, uint8_t* out) const {
    const int64_t w = s_.original[1];
    switch (rows_.used()) {
      case 1:
        return compare_rows<1>(row, weight, s_.threshold, w, out);
      case 2:
        return compare_rows<2>(row, weight, s_.threshold, w, out);
      case 3:
        return compare_rows<3>(row, weight, s_.threshold, w, out);
      default:
        return compare_rows<4>(row, weight, s_.threshold, w, out);
    }
  }

  int operand_;
  Shape s_;
  TapAxis rows_, columns_;
};

}  // namespace

Op* compile_mask_threshold(const Node& node, Compiler&) {
  const Value &logits = node.value("logits"), &result = node.result();
  expect_rank(node, logits, "logits", 4);
  expect_f32(node, logits, "logits");
  MaskThreshold::Shape s{};
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
  return new MaskThreshold(node.operand("logits"), s);
}

}  // namespace hrsam::cpu::HRSAM_ISA
