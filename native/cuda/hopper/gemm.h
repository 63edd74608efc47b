// bf16 and e4m3 products on Hopper's tensor cores, wgmma.
//
// Blocks come in clusters of two, one below the other, or of two by two, that stay on their
// multiprocessors and take as many tiles of 128 x 192 results until there are none; in each block
// two consumer warpgroups take them in turn: one multiplies while the other turns its sums into
// results, 192 of them a thread in registers. A and B come in steps of 64 along k through a ring of
// kStages stages of 40 KB in shared memory, brought by one thread's bulk tensor copies (zeros
// beyond the ends). Blocks one below the other multiply by the same rows of B: each brings half of
// them, to both; blocks side by side share A's rows in the same way. A stage has two barriers: full
// when its bytes are there, empty when the four warps that multiply have read them, in all blocks
// that its copies write to. Every 192 cycles of the tensor cores, 16 steps of k, read 16 KB of
// shared memory and bring 10 KB to it, of the L2's 7 KB in a pair and 5 KB in a square: 37 and 27
// bytes a cycle, where 22 to 35 are measured on such chips.
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
  static constexpr int kBelow = 2;                  // blocks of a cluster, one below the other
  static constexpr int kShare = kColumns / kBelow;  // of B's rows that a block brings
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

// The block's tiles, one after the other: made on the host, since every register counts. They are
// numbered by pairs, one below the other; those of a square follow each other.
struct HopperTiles {
  uint32_t beside;        // pairs of a cluster, side by side: 1 or 2
  uint32_t down, across;  // clusters' tiles of an item
  uint32_t each, all;     // pairs of an item, and of all
  int steps;              // of k
  HopperTiles(const Gemm& g, uint32_t pairs_beside)
      : beside(pairs_beside),
        down(tiles_across(g.m, HopperGemm::kBelow * HopperGemm::kRows)),
        across(tiles_across(g.n, HopperGemm::kColumns * static_cast<int>(beside))),
        each(down * across * beside),
        all(each * static_cast<uint32_t>(g.batch)),
        steps(static_cast<int>(divide_up(g.k, HopperGemm::kDepth))) {}
  HRSAM_BOTH uint32_t blocks() const { return HopperGemm::kBelow * beside; }
  // Of the cluster: even ones above, the first two on the left.
  HRSAM_DEVICE uint32_t block() const { return blockIdx.x & (blocks() - 1); }
  // What a block multiplies comes from itself, from below or above, and from beside; not from
  // across the corner.
  HRSAM_DEVICE bool is_partner(uint32_t other) const {
    return other < blocks() && (other ^ block()) != 3;
  }
  HRSAM_DEVICE uint32_t partners() const { return 1 + beside; }
  HRSAM_DEVICE bool has(uint32_t number) const { return index(number) < all; }
  // Of the block's tile of that number: the item, and its first row and column.
  struct Place {
    int item, row, column;
  };
  HRSAM_DEVICE Place place(uint32_t number) const {
    // Reciprocals of what is divided by would be kept in registers from tile to tile.
    const uint32_t pairs = compute_here(each), high = compute_here(down),
                   wide = compute_here(across), width = compute_here(beside);
    const uint32_t pair = index(number) % pairs;
    const Tile first = tile_of(pair >> (width - 1), high, wide);
    const auto row = static_cast<int>(first.row), column = static_cast<int>(first.column);
    const int left = static_cast<int>(pair & (width - 1));
    return {static_cast<int>(index(number) / pairs),
            (row * HopperGemm::kBelow + static_cast<int>(blockIdx.x % HopperGemm::kBelow)) *
                HopperGemm::kRows,
            (column * static_cast<int>(width) + left) * HopperGemm::kColumns};
  }

 private:
  HRSAM_DEVICE uint32_t index(uint32_t number) const {
    return blockIdx.x / HopperGemm::kBelow + number * (gridDim.x / HopperGemm::kBelow);
  }
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
  HRSAM_DEVICE void make(const HopperTiles& tiles) const {
    for (int i = 0; i < static_cast<int>(HopperGemm::kStages); ++i) {
      make_barrier(full(i), 1);
      make_barrier(empty(i), static_cast<int>(tiles.partners()) * kWarpgroup / kWarp);
    }
    for (uint32_t i = 0; i < kConsumers; ++i) make_barrier(turn(i), kWarpgroup / kWarp);
    publish_barriers();
  }
  HRSAM_DEVICE unsigned char* stage(int index) const {
    return ring + index * HopperGemm::kStageBytes;
  }
  // By a warp that has read the stage: to all that write to it.
  HRSAM_DEVICE void give_back(const HopperTiles& tiles, uint32_t turn) const {
    const uint32_t lane = threadIdx.x % kWarp;
    if (tiles.is_partner(lane)) arrive_at(empty(stage_of(turn, HopperGemm::kStages).index), lane);
  }
};

// For one thread.
HRSAM_DEVICE void bring_tiles(const HopperTiles& tiles, const TensorMap& a, const TensorMap& b,
                              const HopperGemmShared& shared) {
  using H = HopperGemm;
  const uint32_t block = tiles.block();
  // Of what a block multiplies, A's rows here and B's there are for it to bring, to these blocks.
  const int a_share = static_cast<int>(block / 2) * (H::kRows / 2),
            b_share = static_cast<int>(block % 2) * H::kShare;
  const auto beside = static_cast<uint16_t>(5 << block % 2),
             below = static_cast<uint16_t>(3 << (block & 2));
  uint32_t turn = 0;
  for (uint32_t number = 0; tiles.has(number); ++number) {
    const HopperTiles::Place place = tiles.place(number);
    const int row = place.row + a_share, column = place.column + b_share;
    for (int step = 0; step < tiles.steps; ++step, ++turn) {
      const Stage stage = stage_of(turn, H::kStages);
      unsigned char* to = shared.stage(stage.index);
      uint64_t* full = shared.full(stage.index);
      wait_for_phase(shared.empty(stage.index), stage.parity ^ 1);
      arrive_expecting(full, H::kStageBytes);
      unsigned char* a_to = to + a_share * H::kRowBytes;
      if (tiles.beside == 1)
        copy_box(a_to, &a, step * H::kDepth, row, place.item, full);
      else
        copy_box_to(beside, a_to, &a, step * H::kDepth, row, place.item, full);
      copy_box_to(below, to + H::kLeftBytes + b_share * H::kRowBytes, &b, step * H::kDepth, column,
                  place.item, full);
    }
  }
}

// What e4m3 operands were divided by: A's rows and B's.
struct Fp8Scales {
  const float *rows = nullptr, *columns = nullptr;
};

// The sums of one tile, from the ring's stages `first`, first + 1 …
template <bool kFp8>
HRSAM_DEVICE void multiply_tile(const HopperGemmShared& shared, const HopperTiles& tiles,
                                uint32_t first, HopperGemm::Sums& sums) {
  using H = HopperGemm;
  for (int step = 0; step < tiles.steps; ++step) {
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
    if (step > 0) shared.give_back(tiles, first + step - 1);
  }
}

// A thread's sums of a tile.
struct HopperSums {
  static constexpr bool branches() { return false; }
  HopperGemm::Sums& of;
  int first_row, first_column;
  HRSAM_DEVICE HopperSums(HopperGemm::Sums& sums, const HopperTiles::Place& place)
      : of(sums),
        first_row(place.row + static_cast<int>(threadIdx.x % kWarpgroup / kWarp * 16 +
                                               threadIdx.x % kWarp / 4)),
        first_column(place.column + static_cast<int>(threadIdx.x % 4 * 2)) {}
  HRSAM_DEVICE int row(int i) const { return first_row + i / 2 * 64 + i % 2 * 8; }
  HRSAM_DEVICE int offset(int j) const { return j * 8; }
  HRSAM_DEVICE float& at(int i, int j, int k) const { return of[i / 2][j * 4 + i % 2 * 2 + k]; }

  static constexpr int kRows = 4, kPairs = HopperGemm::kColumns / 8;
};

// A thread's e4m3 sums times what their rows and columns were divided by.
HRSAM_DEVICE void scale(HopperSums& sums, const Gemm& g, const Fp8Scales& by) {
  float rows[HopperSums::kRows];
#pragma unroll
  for (int i = 0; i < HopperSums::kRows; ++i)
    rows[i] = by.rows[sums.row(i) < g.m ? sums.row(i) : 0];
#pragma unroll
  for (int j = 0; j < HopperSums::kPairs; ++j)
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int column = sums.first_column + sums.offset(j) + k;
      const float factor = by.columns[column < g.n ? column : 0];
#pragma unroll
      for (int i = 0; i < HopperSums::kRows; ++i)
        sums.at(i, j, k) = sums.at(i, j, k) * rows[i] * factor;
    }
}

// A consumer's tiles: every other one of the block's.
template <bool kFp8>
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
    multiply_tile<kFp8>(shared, tiles, number * tiles.steps, sums);
    if (speaks) arrive(shared.turn(own ^ 1));
    wait_for_products<0>();
    settle(sums[0]);
    settle(sums[1]);
    shared.give_back(tiles, number * tiles.steps + tiles.steps - 1);
    const HopperTiles::Place place = tiles.place(number);
    HopperSums finished(sums, place);
    const int64_t first = place.item * g.m * g.n;
    if constexpr (kFp8) scale(finished, g, scales);
    finish_sums<HopperSums::kRows, HopperSums::kPairs>(g.epilogue, g.m, g.n, first, finished);
  }
}

template <bool kFp8>
__global__ void __launch_bounds__(kHopperThreads, 1)
    hopper_gemm_kernel(const __grid_constant__ Gemm g, const __grid_constant__ HopperTiles tiles,
                       const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                       const __grid_constant__ Fp8Scales scales) {
  using H = HopperGemm;
  const HopperGemmShared shared;
  if (threadIdx.x == 0) {
    prefetch(&a);
    prefetch(&b);
    shared.make(tiles);
  }
  begin_cluster();
  wait_for_earlier_kernels();
  if (threadIdx.x < kWarpgroup) {
    give_registers<H::kProducerRegisters>();
    if (threadIdx.x == 0) bring_tiles(tiles, a, b, shared);
  } else {
    take_registers<H::kConsumerRegisters>();
    compute_tiles<kFp8>(g, scales, tiles, shared);
  }
  cluster_barrier();
}

}  // namespace hrsam::cuda
