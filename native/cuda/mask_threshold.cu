// Logits to binary masks at the picture's size: bilinear to the model's input size, crop, bilinear
// to the original size, and a comparison.
//
// Both resizes are linear and act on each axis by itself, so along one axis a result is a weighted
// sum of at most four logits. A thread owns four neighbouring pixels; the low-resolution logits
// stay in the L2 cache, and no full-size logits are stored. Bound by the loads from there.
#include "../plan/mask_axes.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

// TapAxis's table on the device.
struct TapTable {
  const int32_t* indices;
  int64_t out;
  HRSAM_DEVICE int32_t index(int tap, int64_t i) const { return indices[tap * out + i]; }
  HRSAM_DEVICE float weight(int tap, int64_t i) const {
    return reinterpret_cast<const float*>(indices)[(kTaps + tap) * out + i];
  }
};

struct Compare {
  const float* logits;
  uint8_t* masks;
  int64_t low_h, low_w;
  TapTable rows, columns;
  int row_taps, column_taps;
  float threshold;

  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t quads = divide_up(columns.out, 4), x = i % quads * 4;
    const int64_t y = i / quads % rows.out, mask = i / (quads * rows.out);
    const int n = static_cast<int>(smaller(4, columns.out - x));
    const float* from = logits + mask * low_h * low_w;
    float sums[4] = {};
    for (int t = 0; t < row_taps; ++t) {
      const float* line = from + rows.index(t, y) * low_w;
      const float weight = rows.weight(t, y);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (k >= n) break;
        float mixed = columns.weight(0, x + k) * line[columns.index(0, x + k)];
        for (int s = 1; s < column_taps; ++s)
          mixed += columns.weight(s, x + k) * line[columns.index(s, x + k)];
        sums[k] += weight * mixed;
      }
    }
    uint8_t* to = masks + (mask * rows.out + y) * columns.out + x;
    uint32_t bits = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) bits |= (sums[k] > threshold ? 1u : 0u) << (8 * k);
    if (n == 4 && is_aligned(to, 4)) {
      *reinterpret_cast<uint32_t*>(to) = bits;
      return;
    }
    for (int k = 0; k < n; ++k) to[k] = static_cast<uint8_t>(bits >> (8 * k));
  }
};

}  // namespace

Op* compile_mask_threshold(const Node& node, Compiler& compiler) {
  const MaskShape s = read_mask_threshold(node);
  const TapAxis row_axis(s.low[0], s.input[0], s.crop[0], s.original[0]);
  const TapAxis column_axis(s.low[1], s.input[1], s.crop[1], s.original[1]);
  const SharedBlock rows = compiler.upload(row_axis.block());
  const SharedBlock columns = compiler.upload(column_axis.block());
  const int64_t count = s.masks * s.original[0] * divide_up(s.original[1], 4);
  return make_op([=, logits = node.operand("logits"), row_taps = row_axis.used(),
                  column_taps = column_axis.used()](const Run& run) {
    each(run.stream, count,
         Compare{run.in<float>(logits), run.out<uint8_t>(), s.low[0], s.low[1],
                 TapTable{rows->as<int32_t>(), s.original[0]},
                 TapTable{columns->as<int32_t>(), s.original[1]}, row_taps, column_taps,
                 s.threshold});
  });
}

}  // namespace hrsam::cuda
