// bf16 products on tensor cores, mma.sync.
//
// A block owns a tile of kRows x kColumns results; its warps own kWarpRows x kWarpColumns of them
// in registers. A and B come in steps of 32 along k through a ring of kStages buffers in shared
// memory, filled by cp.async two steps ahead, swizzled so that ldmatrix meets no bank conflict.
// Bound by the tensor cores where m, n and k are large.
#pragma once

#include "finish.h"
#include "tiles.h"

namespace hrsam::cuda {

template <int kWarpsDown, int kWarpsAcross, int kTilesDown, int kTilesAcross>
struct Bf16Shape {
  static constexpr int kWarps = kWarpsDown * kWarpsAcross;
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kWarpRows = kTilesDown * 16, kWarpColumns = kTilesAcross * 8;
  static constexpr int kRows = kWarpsDown * kWarpRows, kColumns = kWarpsAcross * kWarpColumns;
  static constexpr int kAcross = kWarpsAcross, kDown = kTilesDown, kOver = kTilesAcross;
  static constexpr int kStages = 4;
  static constexpr int kDepth = static_cast<int>(kGemmDepth);
  static constexpr int kPieces = kDepth / 8;  // of 16 bytes in a row
  static constexpr int kStageElements = (kRows + kColumns) * kDepth;
  static constexpr size_t kSharedBytes = sizeof(bf16) * kStages * kStageElements;
};

// Rows [first, first + kRows) of a matrix, columns [k, k + 32), to shared memory; zeros beyond its
// ends. kAligned: rows begin at multiples of 16 bytes and the columns end at one.
template <int kRows, int kThreads, bool kAligned>
HRSAM_DEVICE void stage_rows(const bf16* from, int64_t stride, int64_t first, int64_t rows,
                             int64_t k, int64_t columns, bf16* to) {
  constexpr int kPieces = static_cast<int>(kGemmDepth) / 8;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kPieces; i += kThreads) {
    const int row = i / kPieces, piece = i % kPieces;
    bf16* target = to + swizzled(row, piece) * 8;
    const int64_t column = k + piece * 8;
    const bool valid = first + row < rows && column < columns;
    const bf16* source = from + (valid ? (first + row) * stride + column : 0);
    if constexpr (kAligned) {
      copy_async(target, source, valid);
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j)
        target[j] = valid && column + j < columns ? source[j] : static_cast<bf16>(0);
    }
  }
}

template <class S, bool kAligned>
__global__ void __launch_bounds__(S::kThreads, 2) gemm_bf16_kernel(const __grid_constant__ Gemm g) {
  wait_for_earlier_kernels();
  auto* ring = static_cast<bf16*>(shared_memory());
  const int lane = static_cast<int>(threadIdx.x % kWarp),
            warp = static_cast<int>(threadIdx.x / kWarp);
  const Tile tile =
      tile_of(blockIdx.x, tiles_across(g.m, S::kRows), tiles_across(g.n, S::kColumns));
  const int64_t row0 = tile.row * S::kRows, column0 = tile.column * S::kColumns;
  const auto* a = static_cast<const bf16*>(g.a) + blockIdx.y * g.a_batch;
  const auto* b = static_cast<const bf16*>(g.b) + blockIdx.y * g.b_batch;
  const int64_t steps = divide_up(g.k, S::kDepth);

  const auto load = [&](int64_t step) {
    bf16* stage = ring + step % S::kStages * S::kStageElements;
    stage_rows<S::kRows, S::kThreads, kAligned>(a, g.a_stride, row0, g.m, step * S::kDepth, g.k,
                                                stage);
    // Weights are padded to whole steps, see gemm_padded().
    stage_rows<S::kColumns, S::kThreads, true>(b, g.b_stride, column0, g.n, step * S::kDepth,
                                               steps * S::kDepth, stage + S::kRows * S::kDepth);
  };

  float sums[S::kDown][S::kOver][4] = {};
  const int warp_row = warp / S::kAcross * S::kWarpRows;
  const int warp_column = warp % S::kAcross * S::kWarpColumns;
  for (int64_t step = 0; step < S::kStages - 1; ++step) {
    if (step < steps) load(step);
    commit_copies();
  }
  for (int64_t step = 0; step < steps; ++step) {
    wait_for_copies<S::kStages - 2>();
    __syncthreads();  // this step is there for all, and nobody reads the buffer filled next
    if (step + S::kStages - 1 < steps) load(step + S::kStages - 1);
    commit_copies();
    const bf16* stage_a = ring + step % S::kStages * S::kStageElements;
    const bf16* stage_b = stage_a + S::kRows * S::kDepth;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t left[S::kDown][4];
#pragma unroll
      for (int i = 0; i < S::kDown; ++i)
        load_matrices(left[i],
                      stage_a + swizzled(warp_row + i * 16 + lane % 16, half * 2 + lane / 16) * 8);
#pragma unroll
      for (int j = 0; j < S::kOver; j += 2) {
        // Two tiles of 8 columns: rows of B, 16 deep.
        uint32_t right[4];
        load_matrices(right, stage_b + swizzled(warp_column + j * 8 + lane % 8 + lane / 16 * 8,
                                                half * 2 + lane / 8 % 2) *
                                           8);
#pragma unroll
        for (int i = 0; i < S::kDown; ++i) {
          multiply_add(sums[i][j], left[i], right[0], right[1]);
          multiply_add(sums[i][j + 1], left[i], right[2], right[3]);
        }
      }
    }
  }
  wait_for_copies<0>();
  struct Sums {
    static constexpr bool branches() { return true; }
    float (&of)[S::kDown][S::kOver][4];
    int64_t first_row, first_column;
    HRSAM_DEVICE int64_t row(int i) const { return first_row + i / 2 * 16 + i % 2 * 8; }
    HRSAM_DEVICE int offset(int j) const { return j * 8; }
    HRSAM_DEVICE float& at(int i, int j, int k) const { return of[i / 2][j][i % 2 * 2 + k]; }
  } finished{sums, row0 + warp_row + lane / 4, column0 + warp_column + lane % 4 * 2};
  finish_sums<2 * S::kDown, S::kOver>(g.epilogue, g.m, g.n, blockIdx.y * g.m * g.n, finished);
}

}  // namespace hrsam::cuda
