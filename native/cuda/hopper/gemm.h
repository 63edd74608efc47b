// bf16 and e4m3 products on Hopper's tensor cores, wgmma.
//
// A block stays on its multiprocessor and takes tiles of 128 x 128 results until there are none,
// its two consumer warpgroups in turn: one multiplies while the other turns its sums into results,
// 128 of them a thread in registers. A and B come in steps of 64 along k through a ring of kStages
// stages of 32 KB in shared memory, brought by one thread's bulk tensor copies (zeros beyond the
// ends), with two barriers a stage: full when the bytes are there, empty when the four warps that
// multiply have read them. Bound by the tensor cores.
//
// e4m3 goes the same way two numbers at a time, as if a pair of them were one bf16: columns, k and
// strides are of pairs. Its results are multiplied by one scale for each row and each column.
#pragma once

#include "../gemm/gemm.h"
#include "../gemm/tiles.h"
#include "roles.h"

namespace hrsam::cuda {

struct HopperGemm {
  static constexpr int kTile = 128;
  static constexpr int kDepth = kBoxColumns;
  static constexpr uint32_t kStages = 6;
  static constexpr int kOperandBytes = kTile * kDepth * 2;
  static constexpr int kStageBytes = 2 * kOperandBytes;
  static constexpr size_t kSharedBytes =
      kSwizzleBytes + kStages * kStageBytes + (2 * kStages + kConsumers) * sizeof(uint64_t);
  // Of each thread, 64 Ki altogether: few for who copies, many for who multiplies.
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
};

// Barriers behind the ring.
struct HopperGemmShared {
  unsigned char* ring;
  uint64_t *full, *empty;
  uint64_t* turn;  // of each consumer: to multiply

  HRSAM_DEVICE HopperGemmShared() : ring(swizzled_memory()) {
    full = reinterpret_cast<uint64_t*>(ring + HopperGemm::kStages * HopperGemm::kStageBytes);
    empty = full + HopperGemm::kStages;
    turn = empty + HopperGemm::kStages;
  }
  HRSAM_DEVICE void make() const {
    for (uint32_t i = 0; i < HopperGemm::kStages; ++i) {
      make_barrier(full + i, 1);
      make_barrier(empty + i, kWarpgroup / kWarp);
    }
    for (int i = 0; i < kConsumers; ++i) make_barrier(turn + i, kWarpgroup / kWarp);
    publish_barriers();
  }
  HRSAM_DEVICE unsigned char* stage(int index) const {
    return ring + index * HopperGemm::kStageBytes;
  }
};

// The block's tiles, one after the other.
struct HopperTiles {
  int64_t down, across, all;
  HRSAM_DEVICE explicit HopperTiles(const Gemm& g)
      : down(divide_up(g.m, HopperGemm::kTile)),
        across(divide_up(g.n, HopperGemm::kTile)),
        all(down * across * g.batch) {}
  HRSAM_DEVICE int64_t index(uint32_t number) const {
    return blockIdx.x + static_cast<int64_t>(number) * gridDim.x;
  }
  HRSAM_DEVICE int64_t item(int64_t index) const { return index / (down * across); }
  HRSAM_DEVICE Tile tile(int64_t index) const {
    return tile_of(index % (down * across), down, across);
  }
};

// For one thread.
HRSAM_DEVICE void bring_tiles(const Gemm& g, const TensorMap& a, const TensorMap& b, int steps,
                              const HopperGemmShared& shared) {
  using H = HopperGemm;
  const HopperTiles tiles(g);
  uint32_t turn = 0;
  for (uint32_t number = 0; tiles.index(number) < tiles.all; ++number) {
    const int64_t index = tiles.index(number);
    const Tile tile = tiles.tile(index);
    const int row = static_cast<int>(tile.row) * H::kTile,
              column = static_cast<int>(tile.column) * H::kTile,
              item = static_cast<int>(tiles.item(index));
    for (int step = 0; step < steps; ++step, ++turn) {
      const Stage stage = stage_of(turn, H::kStages);
      unsigned char* to = shared.stage(stage.index);
      wait_for_phase(shared.empty + stage.index, stage.parity ^ 1);
      arrive_expecting(shared.full + stage.index, H::kStageBytes);
      copy_box(to, &a, step * H::kDepth, row, item, shared.full + stage.index);
      copy_box(to + H::kOperandBytes, &b, step * H::kDepth, column, item,
               shared.full + stage.index);
    }
  }
}

// What e4m3 operands were divided by: A's rows and B's.
struct Fp8Scales {
  const float *rows = nullptr, *columns = nullptr;
};

// The sums of one tile, from the ring's stages `first`, first + 1 …
template <bool kFp8>
HRSAM_DEVICE void multiply_tile(const HopperGemmShared& shared, uint32_t first, int steps,
                                float (&sums)[2][64]) {
  using H = HopperGemm;
  const bool speaks = threadIdx.x % kWarp == 0;
  for (int step = 0; step < steps; ++step) {
    const Stage stage = stage_of(first + step, H::kStages);
    wait_for_phase(shared.full + stage.index, stage.parity);
    const unsigned char* from = shared.stage(stage.index);
    const uint64_t a = operand_at(from), b = operand_at(from + H::kOperandBytes);
    begin_products();
#pragma unroll
    for (int k = 0; k < H::kDepth / 16; ++k)
#pragma unroll
      for (int half = 0; half < 2; ++half) {  // 32 bytes further, 64 rows further
        const uint64_t left = a + k * 2 + half * (H::kOperandBytes / 2 / 16);
        if constexpr (kFp8)
          multiply_group_e4m3(sums[half], left, b + k * 2, step > 0 || k > 0);
        else
          multiply_group(sums[half], left, b + k * 2, step > 0 || k > 0);
      }
    commit_products();
    // The step before has been read.
    wait_for_products<1>();
    if (step > 0 && speaks) arrive(shared.empty + stage_of(first + step - 1, H::kStages).index);
  }
}

template <bool kFp8>
HRSAM_DEVICE void finish_tile(const Gemm& g, const Fp8Scales& scales, const Tile& tile,
                              int64_t item, const float (&sums)[2][64]) {
  const int lane = static_cast<int>(threadIdx.x % kWarp),
            warp = static_cast<int>(threadIdx.x % kWarpgroup / kWarp);
  for_activation(g.epilogue.activation, [&](auto activation) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int low = 0; low < 2; ++low) {
        const int64_t row =
            tile.row * HopperGemm::kTile + half * 64 + warp * 16 + low * 8 + lane / 4;
        if (row >= g.m) continue;
        const Epilogue::Row place = g.epilogue.row(item * g.m * g.n, row, g.n);
#pragma unroll
        for (int j = 0; j < 16; ++j) {
          const int64_t column = tile.column * HopperGemm::kTile + j * 8 + lane % 4 * 2;
          const int count = static_cast<int>(smaller(2, g.n - column));
          if (count <= 0) continue;
          float x = sums[half][j * 4 + low * 2], y = sums[half][j * 4 + low * 2 + 1];
          if constexpr (kFp8) {
            x *= scales.rows[row] * scales.columns[column];
            if (count > 1) y *= scales.rows[row] * scales.columns[column + 1];
          }
          g.epilogue.template finish<activation()>(place, column, x, y, count);
        }
      }
  });
}

template <bool kFp8>
__global__ void __launch_bounds__(kHopperThreads, 1)
    hopper_gemm_kernel(const __grid_constant__ Gemm g, const __grid_constant__ TensorMap a,
                       const __grid_constant__ TensorMap b, const Fp8Scales scales) {
  using H = HopperGemm;
  const HopperGemmShared shared;
  if (threadIdx.x == 0) shared.make();
  __syncthreads();
  const int steps = static_cast<int>(divide_up(g.k, H::kDepth));
  if (threadIdx.x < kWarpgroup) {
    give_registers<H::kProducerRegisters>();
    if (threadIdx.x == 0) bring_tiles(g, a, b, steps, shared);
    return;
  }
  take_registers<H::kConsumerRegisters>();
  const uint32_t own = threadIdx.x / kWarpgroup - 1;
  const bool speaks = threadIdx.x % kWarp == 0;
  const HopperTiles tiles(g);
  for (uint32_t number = own; tiles.index(number) < tiles.all; number += kConsumers) {
    // In the ring's order: to a warp two uses behind, a stage looks as if its own use were there.
    // All warps pass the turn on, for the same reason.
    const uint32_t round = number / kConsumers;
    wait_for_phase(shared.turn + own, (round & 1) ^ (own == 0 ? 1 : 0));
    float sums[2][64];
    multiply_tile<kFp8>(shared, number * steps, steps, sums);
    if (speaks) arrive(shared.turn + (own ^ 1));
    wait_for_products<0>();
    settle(sums[0]);
    settle(sums[1]);
    if (speaks) arrive(shared.empty + stage_of(number * steps + steps - 1, H::kStages).index);
    const int64_t index = tiles.index(number);
    finish_tile<kFp8>(g, scales, tiles.tile(index), tiles.item(index), sums);
  }
}

}  // namespace hrsam::cuda
