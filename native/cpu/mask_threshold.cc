// Logits to binary masks at the picture's size: bilinear to the model's input size, crop, bilinear
// to the original size, and a comparison.
//
// Both resizes are linear and act on each axis by itself, so along one axis a result is a weighted
// sum of at most four logits (two intermediate lines of two logits each; three where both lie in
// one cell). A task owns some rows of one mask: it resizes the few rows of logits that these need
// along x, keeps four of them in scratch, and mixes and compares them along y without storing the
// sum. Bound by the additions along y, three per pixel.
#include "../plan/mask_axes.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {
namespace {

constexpr int64_t kRowsPerTask = 64;

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
  MaskThreshold(int operand, const MaskShape& shape)
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
  MaskShape s_;
  TapAxis rows_, columns_;
};

}  // namespace

Op* compile_mask_threshold(const Node& node, Compiler&) {
  return new MaskThreshold(node.operand("logits"), read_mask_threshold(node));
}

}  // namespace hrsam::cpu::HRSAM_ISA
