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
  int64_t count;  // masks
  int64_t low_h, low_w;
  TapTable rows, columns;
  int row_taps, column_taps;
  float threshold;
};

// A warp owns 128 columns, a block eight rows of them. Places come from the grid: a division of 64
// bits is a call, and what registers hold would be spilled for it.
constexpr int kColumns = kWarp * 4, kRows = 8;
constexpr int64_t kMostBlocks = 65535;  // in y and z

HRSAM_DEVICE void compare_quad(const Compare& c, int64_t mask, int64_t y, int64_t x) {
  const int n = static_cast<int>(smaller(4, c.columns.out - x));
  const float* from = c.logits + mask * c.low_h * c.low_w;
  float sums[4] = {};
  for (int t = 0; t < c.row_taps; ++t) {
    const float* line = from + c.rows.index(t, y) * c.low_w;
    const float weight = c.rows.weight(t, y);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k >= n) break;
      float mixed = c.columns.weight(0, x + k) * line[c.columns.index(0, x + k)];
      for (int s = 1; s < c.column_taps; ++s)
        mixed += c.columns.weight(s, x + k) * line[c.columns.index(s, x + k)];
      sums[k] += weight * mixed;
    }
  }
  uint8_t* to = c.masks + (mask * c.rows.out + y) * c.columns.out + x;
  uint32_t bits = 0;
#pragma unroll
  for (int k = 0; k < 4; ++k) bits |= (sums[k] > c.threshold ? 1u : 0u) << (8 * k);
  if (n == 4 && is_aligned(to, 4))
    *reinterpret_cast<uint32_t*>(to) = bits;
  else
    for (int k = 0; k < n; ++k) to[k] = static_cast<uint8_t>(bits >> (8 * k));
}

__global__ void __launch_bounds__(kWarp* kRows) compare_kernel(const __grid_constant__ Compare c) {
  wait_for_earlier_kernels();
  const int64_t x =
      static_cast<int64_t>(blockIdx.x) * kColumns + static_cast<int64_t>(threadIdx.x % kWarp) * 4;
  if (x >= c.columns.out) return;
  for (int64_t mask = blockIdx.z; mask < c.count; mask += gridDim.z)
    for (int64_t y = static_cast<int64_t>(blockIdx.y) * kRows + threadIdx.x / kWarp; y < c.rows.out;
         y += static_cast<int64_t>(gridDim.y) * kRows)
      compare_quad(c, mask, y, x);
}

}  // namespace

Op* compile_mask_threshold(const Node& node, Compiler& compiler) {
  const MaskShape s = read_mask_threshold(node);
  const TapAxis row_axis(s.low[0], s.input[0], s.crop[0], s.original[0]);
  const TapAxis column_axis(s.low[1], s.input[1], s.crop[1], s.original[1]);
  const SharedBlock rows = compiler.upload(row_axis.block());
  const SharedBlock columns = compiler.upload(column_axis.block());
  const dim3 blocks(static_cast<unsigned>(divide_up(s.original[1], kColumns)),
                    static_cast<unsigned>(smaller(divide_up(s.original[0], kRows), kMostBlocks)),
                    static_cast<unsigned>(smaller(s.masks, kMostBlocks)));
  return make_op([=, logits = node.operand("logits"), row_taps = row_axis.used(),
                  column_taps = column_axis.used()](const Run& run) {
    launch({blocks, dim3(kWarp * kRows), 0, run.stream}, compare_kernel,
           Compare{run.in<float>(logits), run.out<uint8_t>(), s.masks, s.low[0], s.low[1],
                   TapTable{rows->as<int32_t>(), s.original[0]},
                   TapTable{columns->as<int32_t>(), s.original[1]}, row_taps, column_taps,
                   s.threshold});
  });
}

}  // namespace hrsam::cuda
