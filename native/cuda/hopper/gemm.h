// bf16 and e4m3 products on Hopper's tensor cores, wgmma.
//
// Blocks come in pairs, clusters, that stay on their multiprocessors and take pairs of tiles of
// 128 x 192 results, one below the other, until there are none; in each block two consumer
// warpgroups take them in turn: one multiplies while the other turns its sums into results, 192 of
// them a thread in registers. A and B come in steps of 64 along k through a ring of kStages stages
// of 40 KB in shared memory, brought by one thread's bulk tensor copies (zeros beyond the ends).
// Both blocks multiply by the same rows of B: each brings half of them, to both. A stage has two
// barriers: full when its bytes are there, empty when the four warps that multiply have read them,
// in both blocks, since copies of either write to both. Bound by the tensor cores: every 192 of
// their cycles, 16 steps of k, read 16 KB of shared memory and bring 10 KB to it, 7 KB from the L2.
//
// e4m3 goes the same way two numbers at a time, as if a pair of them were one bf16: columns, k and
// strides are of pairs. Its results are multiplied by one scale for each row and each column.
#pragma once

#include "../gemm/finish.h"
#include "../gemm/tiles.h"
#include "roles.h"

namespace hrsam::cuda {

struct HopperGemm {
  static constexpr int kRows = 128, kColumns = 192;
  static constexpr int kBlocks = 2, kShare = kColumns / kBlocks;  // of a cluster; of B's rows
  static constexpr int kDepth = kBoxColumns;
  static constexpr uint32_t kStages = 5;
  static constexpr int kRowBytes = kDepth * 2, kLeftBytes = kRows * kRowBytes;
  static constexpr int kStageBytes = kLeftBytes + kColumns * kRowBytes;
  using Sums = float[2][kColumns / 2];  // of a thread, for 64 rows each
  static constexpr size_t kSharedBytes =
      kSwizzleBytes + kStages * kStageBytes + (2 * kStages + kConsumers) * sizeof(uint64_t);
  // Of each thread, 64 Ki altogether: few for who copies, many for who multiplies.
  static constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;
};

// The ring, and barriers behind it.
struct HopperGemmShared {
  unsigned char* ring = swizzled_memory();

  HRSAM_DEVICE uint64_t* full(int stage) const {
    return reinterpret_cast<uint64_t*>(ring + HopperGemm::kStages * HopperGemm::kStageBytes) +
           stage;
  }
  HRSAM_DEVICE uint64_t* empty(int stage) const { return full(HopperGemm::kStages) + stage; }
  // Of each consumer: to multiply.
  HRSAM_DEVICE uint64_t* turn(uint32_t consumer) const {
    return empty(HopperGemm::kStages) + consumer;
  }
  HRSAM_DEVICE void make() const {
    for (int i = 0; i < static_cast<int>(HopperGemm::kStages); ++i) {
      make_barrier(full(i), 1);
      make_barrier(empty(i), HopperGemm::kBlocks * kWarpgroup / kWarp);
    }
    for (uint32_t i = 0; i < kConsumers; ++i) make_barrier(turn(i), kWarpgroup / kWarp);
    publish_barriers();
  }
  HRSAM_DEVICE unsigned char* stage(int index) const {
    return ring + index * HopperGemm::kStageBytes;
  }
  // By a warp that has read the stage.
  HRSAM_DEVICE void give_back(uint32_t turn) const {
    const uint32_t lane = threadIdx.x % kWarp;
    if (lane < HopperGemm::kBlocks)
      arrive_at(empty(stage_of(turn, HopperGemm::kStages).index), lane);
  }
};

// The block's tiles, one after the other: made on the host, since every register counts.
struct HopperTiles {
  uint32_t down, across, all;  // pairs of tiles
  int steps;                   // of k
  explicit HopperTiles(const Gemm& g)
      : down(tiles_across(g.m, HopperGemm::kBlocks * HopperGemm::kRows)),
        across(tiles_across(g.n, HopperGemm::kColumns)),
        all(down * across * static_cast<uint32_t>(g.batch)),
        steps(static_cast<int>(divide_up(g.k, HopperGemm::kDepth))) {}
  HRSAM_DEVICE static uint32_t block() { return blockIdx.x % HopperGemm::kBlocks; }
  HRSAM_DEVICE bool has(uint32_t number) const { return index(number) < all; }
  HRSAM_DEVICE uint32_t item(uint32_t number) const { return index(number) / (down * across); }
  HRSAM_DEVICE Tile tile(uint32_t number) const {
    const Tile pair = tile_of(index(number) % (down * across), down, across);
    return {pair.row * HopperGemm::kBlocks + block(), pair.column};
  }

 private:
  HRSAM_DEVICE uint32_t index(uint32_t number) const {
    return blockIdx.x / HopperGemm::kBlocks + number * (gridDim.x / HopperGemm::kBlocks);
  }
};

// For one thread.
HRSAM_DEVICE void bring_tiles(const HopperTiles& tiles, const TensorMap& a, const TensorMap& b,
                              const HopperGemmShared& shared) {
  using H = HopperGemm;
  constexpr uint16_t kBoth = (1 << H::kBlocks) - 1;
  const int share = static_cast<int>(HopperTiles::block()) * H::kShare;
  uint32_t turn = 0;
  for (uint32_t number = 0; tiles.has(number); ++number) {
    const Tile tile = tiles.tile(number);
    const int row = static_cast<int>(tile.row) * H::kRows,
              column = static_cast<int>(tile.column) * H::kColumns + share,
              item = static_cast<int>(tiles.item(number));
    for (int step = 0; step < tiles.steps; ++step, ++turn) {
      const Stage stage = stage_of(turn, H::kStages);
      unsigned char* to = shared.stage(stage.index);
      uint64_t* full = shared.full(stage.index);
      wait_for_phase(shared.empty(stage.index), stage.parity ^ 1);
      arrive_expecting(full, H::kStageBytes);
      copy_box(to, &a, step * H::kDepth, row, item, full);
      copy_box_to(kBoth, to + H::kLeftBytes + share * H::kRowBytes, &b, step * H::kDepth, column,
                  item, full);
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
                                HopperGemm::Sums& sums) {
  using H = HopperGemm;
  for (int step = 0; step < steps; ++step) {
    const Stage stage = stage_of(first + step, H::kStages);
    wait_for_phase(shared.full(stage.index), stage.parity);
    const unsigned char* from = shared.stage(stage.index);
    const uint64_t a = operand_at(from), b = operand_at(from + H::kLeftBytes);
    begin_products();
#pragma unroll
    for (int k = 0; k < H::kDepth / 16; ++k)
#pragma unroll
      for (int half = 0; half < 2; ++half) {  // 32 bytes further, 64 rows further
        const uint64_t left = a + k * 2 + half * (H::kLeftBytes / 2 / 16);
        if constexpr (kFp8)
          multiply_group_e4m3(sums[half], left, b + k * 2, step > 0 || k > 0);
        else
          multiply_group(sums[half], left, b + k * 2, step > 0 || k > 0);
      }
    commit_products();
    // The step before has been read.
    wait_for_products<1>();
    if (step > 0) shared.give_back(first + step - 1);
  }
}

// A thread's sums of a tile.
struct HopperSums {
  static constexpr bool branches() { return false; }
  HopperGemm::Sums& of;
  int first_row, first_column;
  HRSAM_DEVICE HopperSums(HopperGemm::Sums& sums, const Tile& tile)
      : of(sums),
        first_row(static_cast<int>(tile.row * HopperGemm::kRows +
                                   threadIdx.x % kWarpgroup / kWarp * 16 +
                                   threadIdx.x % kWarp / 4)),
        first_column(static_cast<int>(tile.column * HopperGemm::kColumns + threadIdx.x % 4 * 2)) {}
  HRSAM_DEVICE int row(int i) const { return first_row + i / 2 * 64 + i % 2 * 8; }
  HRSAM_DEVICE int offset(int j) const { return j * 8; }
  HRSAM_DEVICE float& at(int i, int j, int k) const { return of[i / 2][j * 4 + i % 2 * 2 + k]; }

  static constexpr int kRows = 4, kPairs = HopperGemm::kColumns / 8;
};

// A thread's e4m3 sums times what their rows were divided by.
HRSAM_DEVICE void scale_rows(HopperSums& sums, const Gemm& g, const Fp8Scales& by) {
#pragma unroll
  for (int i = 0; i < HopperSums::kRows; ++i) {
    const float factor = by.rows[sums.row(i) < g.m ? sums.row(i) : 0];
#pragma unroll
    for (int j = 0; j < HopperSums::kPairs; ++j)
#pragma unroll
      for (int k = 0; k < 2; ++k) sums.at(i, j, k) *= factor;
  }
}

// A consumer's tiles: every other one of the block's.
template <bool kFp8, Activation kActivation>
HRSAM_DEVICE void compute_tiles(const Gemm& g, const Fp8Scales& scales, const HopperTiles& tiles,
                                const HopperGemmShared& shared) {
  const uint32_t own = threadIdx.x / kWarpgroup - 1;
  const bool speaks = threadIdx.x % kWarp == 0;
  for (uint32_t number = own; tiles.has(number); number += kConsumers) {
    // In the ring's order: to a warp two uses behind, a stage looks as if its own use were there.
    // All warps pass the turn on, for the same reason.
    const uint32_t round = number / kConsumers;
    wait_for_phase(shared.turn(own), (round & 1) ^ (own == 0 ? 1 : 0));
    HopperGemm::Sums sums;
    multiply_tile<kFp8>(shared, number * tiles.steps, tiles.steps, sums);
    if (speaks) arrive(shared.turn(own ^ 1));
    wait_for_products<0>();
    settle(sums[0]);
    settle(sums[1]);
    shared.give_back(number * tiles.steps + tiles.steps - 1);
    HopperSums finished(sums, tiles.tile(number));
    const int64_t first = tiles.item(number) * g.m * g.n;
    if constexpr (kFp8) scale_rows(finished, g, scales);
    finish_sums<kActivation, HopperSums::kRows, HopperSums::kPairs, kFp8>(
        g.epilogue, g.m, g.n, first, finished, scales.columns);
  }
}

template <bool kFp8, Activation kActivation>
__global__ void __launch_bounds__(kHopperThreads, 1)
    hopper_gemm_kernel(const __grid_constant__ Gemm g, const __grid_constant__ HopperTiles tiles,
                       const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                       const __grid_constant__ Fp8Scales scales) {
  using H = HopperGemm;
  const HopperGemmShared shared;
  if (threadIdx.x == 0) {
    prefetch(&a);
    prefetch(&b);
    shared.make();
  }
  begin_cluster();
  if (threadIdx.x < kWarpgroup) {
    give_registers<H::kProducerRegisters>();
    if (threadIdx.x == 0) bring_tiles(tiles, a, b, shared);
  } else {
    take_registers<H::kConsumerRegisters>();
    compute_tiles<kFp8, kActivation>(g, scales, tiles, shared);
  }
  cluster_barrier();
}

}  // namespace hrsam::cuda
