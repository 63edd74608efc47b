// f32 products on the ordinary units.
//
// A block of 256 threads owns kTile x kTile results, a thread kEach x kEach of them in registers,
// rows and columns 16 apart in groups of four so that shared memory is read in fours without
// conflicts. A and B come in steps of 16 along k, transposed into shared memory, two buffers in
// turn; the next step's numbers wait in registers meanwhile. Bound by the multiply-add units.
#pragma once

#include "finish.h"
#include "tiles.h"

namespace hrsam::cuda {

template <int kTileSize>
struct F32Shape {
  static constexpr int kTile = kTileSize;
  static constexpr int kThreads = 256;
  static constexpr int kEach = kTile / 16;
  static constexpr int kDepth = 16;
  static constexpr int kLine = kTile + 4;                       // floats of a line: one k
  static constexpr int kFours = kTile * kDepth / 4 / kThreads;  // of each matrix a thread carries
  static constexpr size_t kSharedBytes = sizeof(float) * 2 * 2 * kDepth * kLine;
};

template <class S>
struct CarriedRows {
  Four values[S::kFours];

  HRSAM_DEVICE void read(const float* from, int64_t stride, int64_t first, int64_t rows, int64_t k,
                         int64_t columns) {
#pragma unroll
    for (int i = 0; i < S::kFours; ++i) {
      const int at = static_cast<int>(threadIdx.x) + i * S::kThreads;
      const int64_t row = first + at / (S::kDepth / 4), column = k + at % (S::kDepth / 4) * 4;
      const int64_t left = columns - column;
      const int n = row < rows && left > 0 ? static_cast<int>(smaller(4, left)) : 0;
      values[i] = n > 0 ? load_four(from + row * stride + column, n) : Four{};
    }
  }
  HRSAM_DEVICE void write(float* to) const {
#pragma unroll
    for (int i = 0; i < S::kFours; ++i) {
      const int at = static_cast<int>(threadIdx.x) + i * S::kThreads;
      const int row = at / (S::kDepth / 4), column = at % (S::kDepth / 4) * 4;
#pragma unroll
      for (int j = 0; j < 4; ++j) to[(column + j) * S::kLine + row] = values[i].x[j];
    }
  }
};

template <class S>
__global__ void __launch_bounds__(S::kThreads) gemm_f32_kernel(const __grid_constant__ Gemm g) {
  wait_for_earlier_kernels();
  auto* shared = static_cast<float*>(shared_memory());
  const auto buffer = [&](int64_t step, int which) {
    return shared + (step % 2 * 2 + which) * S::kDepth * S::kLine;
  };
  const Tile tile = tile_of(blockIdx.x, tiles_across(g.m, S::kTile), tiles_across(g.n, S::kTile));
  const int64_t row0 = tile.row * S::kTile, column0 = tile.column * S::kTile;
  const float* a = static_cast<const float*>(g.a) + blockIdx.y * g.a_batch;
  const float* b = static_cast<const float*>(g.b) + blockIdx.y * g.b_batch;
  const int down = static_cast<int>(threadIdx.x / 16) * 4,
            across = static_cast<int>(threadIdx.x % 16) * 4;

  CarriedRows<S> carried_a, carried_b;
  carried_a.read(a, g.a_stride, row0, g.m, 0, g.k);
  carried_b.read(b, g.b_stride, column0, g.n, 0, g.k);
  float sums[S::kEach][S::kEach] = {};
  const int64_t steps = divide_up(g.k, S::kDepth);
  for (int64_t step = 0; step < steps; ++step) {
    carried_a.write(buffer(step, 0));
    carried_b.write(buffer(step, 1));
    __syncthreads();  // the other buffer was read before the barrier of the step before
    if (step + 1 < steps) {
      carried_a.read(a, g.a_stride, row0, g.m, (step + 1) * S::kDepth, g.k);
      carried_b.read(b, g.b_stride, column0, g.n, (step + 1) * S::kDepth, g.k);
    }
    const float* line_a = buffer(step, 0) + down;
    const float* line_b = buffer(step, 1) + across;
#pragma unroll
    for (int k = 0; k < S::kDepth; ++k, line_a += S::kLine, line_b += S::kLine) {
      float left[S::kEach], right[S::kEach];
#pragma unroll
      for (int i = 0; i < S::kEach; i += 4) {
        const float4 x = *reinterpret_cast<const float4*>(line_a + i * 16);
        const float4 y = *reinterpret_cast<const float4*>(line_b + i * 16);
        left[i] = x.x, left[i + 1] = x.y, left[i + 2] = x.z, left[i + 3] = x.w;
        right[i] = y.x, right[i + 1] = y.y, right[i + 2] = y.z, right[i + 3] = y.w;
      }
#pragma unroll
      for (int i = 0; i < S::kEach; ++i)
#pragma unroll
        for (int j = 0; j < S::kEach; ++j) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
    }
  }

  struct Sums {
    static constexpr bool branches() { return true; }
    float (&of)[S::kEach][S::kEach];
    int64_t first_row, first_column;
    HRSAM_DEVICE int64_t row(int i) const { return first_row + i / 4 * 64 + i % 4; }
    HRSAM_DEVICE int offset(int j) const { return j / 2 * 64 + j % 2 * 2; }
    HRSAM_DEVICE float& at(int i, int j, int k) const { return of[i][j * 2 + k]; }
  } finished{sums, row0 + down, column0 + across};
  finish_sums<S::kEach, S::kEach / 2>(g.epilogue, g.m, g.n, blockIdx.y * g.m * g.n, finished);
}

}  // namespace hrsam::cuda
