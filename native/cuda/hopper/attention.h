// Attention of any queries to any keys, heads of 64 channels, on wgmma.
//
// A block owns 128 queries of a unit, each of its two consumer warpgroups 64 of them, with their
// logits against 128 keys, the powers of those before and their sums in registers. The first
// warpgroup brings the queries, then tile after tile of 128 keys, through registers if they turn,
// and of values to a ring of kStages stages of 32 KB in shared memory. While a consumer turns
// one tile's logits into powers, the tensor cores add up the values of the one before. Bound by the
// tensor cores and as much by the exponentials.
#pragma once

#include "../attention/attend.h"
#include "roles.h"

namespace hrsam::cuda {

struct HopperAttention {
  static constexpr int kD = 64, kRowBytes = kD * 2, kPieces = kRowBytes / 16;
  static constexpr int kQueries = kConsumers * 64;  // of a block
  static constexpr int kKeys = 128;                 // of a tile
  static constexpr int kQueryBytes = kQueries * kRowBytes, kTileBytes = kKeys * kRowBytes;
  static constexpr uint32_t kStages = 4;
  static constexpr size_t kSharedBytes =
      kSwizzleBytes + kQueryBytes + kStages * 2 * kTileBytes + (1 + 2 * kStages) * sizeof(uint64_t);
  static constexpr int kProducerRegisters = 88, kConsumerRegisters = 208;
  static constexpr int kRows = kKeys * kPieces / kWarpgroup;  // that a thread brings of a tile
};

struct HopperAttentionShared {
  unsigned char *queries, *ring;
  uint64_t *ready, *full, *empty;  // ready: the queries
  HRSAM_DEVICE HopperAttentionShared() : queries(swizzled_memory()) {
    using H = HopperAttention;
    ring = queries + H::kQueryBytes;
    ready = reinterpret_cast<uint64_t*>(ring + H::kStages * 2 * H::kTileBytes);
    full = ready + 1;
    empty = full + H::kStages;
  }
  HRSAM_DEVICE void make() const {
    make_barrier(ready, kWarpgroup);
    for (uint32_t i = 0; i < HopperAttention::kStages; ++i) {
      make_barrier(full + i, kWarpgroup);
      make_barrier(empty + i, kConsumers * kWarpgroup / kWarp);
    }
    publish_barriers();
  }
  HRSAM_DEVICE unsigned char* keys(int stage) const {
    return ring + stage * 2 * HopperAttention::kTileBytes;
  }
  HRSAM_DEVICE unsigned char* values(int stage) const {
    return keys(stage) + HopperAttention::kTileBytes;
  }
};

// Eight channels of a head, turned; `turns` are their four pairs'.
HRSAM_DEVICE uint4 turned_piece(uint4 piece, const float2 (&turns)[4]) {
  const auto turn = [](uint32_t pair, float2 t) {
    float x = to_f32(static_cast<bf16>(pair & 0xffff)), y = to_f32(static_cast<bf16>(pair >> 16));
    Rope::rotate(t, x, y);
    return pack_bf16(x, y);
  };
  return make_uint4(turn(piece.x, turns[0]), turn(piece.y, turns[1]), turn(piece.z, turns[2]),
                    turn(piece.w, turns[3]));
}

// Where a thread's share of 128 rows of a head lies: a 16-byte piece of every sixteenth.
struct HopperShare {
  static constexpr int kApart = kWarpgroup / HopperAttention::kPieces;
  int first = static_cast<int>(threadIdx.x) / HopperAttention::kPieces,
      piece = static_cast<int>(threadIdx.x) % HopperAttention::kPieces;
  HRSAM_DEVICE int row(int i) const { return first + i * kApart; }
  HRSAM_DEVICE int channel() const { return piece * 8; }
  HRSAM_DEVICE int bytes(int row) const {
    return row * HopperAttention::kRowBytes + (piece ^ (row & 7)) * 16;
  }
};

// 128 rows of a head that turn, one thread's share: row_at(r) for r in [0, count), zeros beyond.
template <class RowAt>
HRSAM_DEVICE void bring_turned(const RowAt& row_at, int count, const Rope& rope,
                               unsigned char* to) {
  constexpr int kTogether = 4;  // rows that are on their way at once, with their turns
  const HopperShare share;
#pragma unroll 1
  for (int from = 0; from < HopperAttention::kRows; from += kTogether) {
    uint4 pieces[kTogether];
    float2 turns[kTogether][4];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int row = share.row(from + i);
      const auto at = row_at(smaller(row, count - 1));
      pieces[i] = row < count ? *reinterpret_cast<const uint4*>(at.data + share.channel())
                              : make_uint4(0, 0, 0, 0);
      // Any row's turn leaves zeros as they are.
      if (rope.table != nullptr) rope.turns(at.place, share.channel(), turns[i]);
    }
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      if (rope.table != nullptr) pieces[i] = turned_piece(pieces[i], turns[i]);
      *reinterpret_cast<uint4*>(to + share.bytes(share.row(from + i))) = pieces[i];
    }
  }
}

// 128 rows as they are, without a register in between.
template <class DataAt>
HRSAM_DEVICE void send_rows(const DataAt& data_at, int count, unsigned char* to) {
  const HopperShare share;
#pragma unroll
  for (int i = 0; i < HopperAttention::kRows; ++i) {
    const int row = share.row(i);
    copy_async(to + share.bytes(row), data_at(smaller(row, count - 1)) + share.channel(),
               row < count);
  }
  commit_copies();
}

template <class Unit>
HRSAM_DEVICE void bring_unit(const Unit& unit, const Rope& rope,
                             const HopperAttentionShared& shared) {
  using H = HopperAttention;
  bring_turned([&](int r) { return unit.query(r); }, unit.queries, rope, shared.queries);
  show_to_products();
  arrive(shared.ready);
  uint32_t turn = 0;
  for (int first = 0; first < unit.keys; first += H::kKeys, ++turn) {
    const Stage stage = stage_of(turn, H::kStages);
    wait_for_phase(shared.empty + stage.index, stage.parity ^ 1);
    send_rows([&](int r) { return unit.value(first + r); }, unit.keys - first,
              shared.values(stage.index));
    if (rope.table != nullptr)
      bring_turned([&](int r) { return unit.key(first + r); }, unit.keys - first, rope,
                   shared.keys(stage.index));
    else
      send_rows([&](int r) { return unit.key(first + r).data; }, unit.keys - first,
                shared.keys(stage.index));
    wait_for_copies<0>();
    show_to_products();
    arrive(shared.full + stage.index);
  }
}

// 64 queries of a warpgroup and what they have gathered so far. Lane l of a warp holds numbers of
// the rows l / 4 and l / 4 + 8. No product may be under way when its registers change.
struct HopperQueries {
  float logits[64], sums[32], largest[2], total[2];
  uint32_t powers[8][4];

  HRSAM_DEVICE void begin() {
#pragma unroll
    for (int i = 0; i < 32; ++i) sums[i] = 0;
    largest[0] = largest[1] = kMasked;
    total[0] = total[1] = 0;
  }

  // Logits against a tile of keys, as a group of its own.
  HRSAM_DEVICE void ask(uint64_t queries, const unsigned char* keys) {
    const uint64_t k = operand_at(keys);
    begin_products();
#pragma unroll
    for (int step = 0; step < HopperAttention::kD / 16; ++step)
      multiply_group(logits, queries + step * 2, k + step * 2, step > 0);
    commit_products();
  }

  // A tile's values times their powers, as a group of its own.
  HRSAM_DEVICE void gather(const unsigned char* values) {
    const uint64_t v = operand_at(values);
    settle(sums);
    settle(powers);
    begin_products();
#pragma unroll
    for (int step = 0; step < 8; ++step)
      multiply_group(sums, powers[step], v + step * HopperAttention::kRowBytes, true);
    commit_products();
  }

  // Logits, of which `count` columns count, to powers of two. What came before shrinks by `shrink`.
  HRSAM_DEVICE void soften(float scale, int count, float (&shrink)[2]) {
    if (count < HopperAttention::kKeys) {
      const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
      for (int i = 0; i < 64; ++i)
        if (i / 4 * 8 + lane % 4 * 2 + i % 2 >= count) logits[i] = kMasked;
    }
#pragma unroll
    for (int low = 0; low < 2; ++low) {
      float next = largest[low];
#pragma unroll
      for (int j = 0; j < 16; ++j)
        next = fmaxf(next, fmaxf(logits[j * 4 + 2 * low], logits[j * 4 + 2 * low + 1]));
      next = fmaxf(next, __shfl_xor_sync(kAllLanes, next, 1));
      next = fmaxf(next, __shfl_xor_sync(kAllLanes, next, 2));
      const float base = next * scale;
      shrink[low] = exp2_fast((largest[low] - next) * scale);
      largest[low] = next;
      total[low] *= shrink[low];
#pragma unroll
      for (int j = 0; j < 16; ++j)
#pragma unroll
        for (int k = 2 * low; k < 2 * low + 2; ++k) {
          float& x = logits[j * 4 + k];
          x = exp2_fast(fmaf(x, scale, -base));
          total[low] += x;
        }
    }
  }

  // The powers for the next product, the sums in their measure.
  HRSAM_DEVICE void take(const float (&shrink)[2]) {
#pragma unroll
    for (int i = 0; i < 32; ++i) sums[i] *= shrink[i / 2 % 2];
#pragma unroll
    for (int step = 0; step < 8; ++step)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        powers[step][i] = pack_bf16(logits[step * 8 + i * 2], logits[step * 8 + i * 2 + 1]);
  }

  template <class Unit>
  HRSAM_DEVICE void finish(const Unit& unit, int first, const AttendCall& at) {
    const int lane = static_cast<int>(threadIdx.x % kWarp),
              warp = static_cast<int>(threadIdx.x % kWarpgroup / kWarp);
#pragma unroll
    for (int low = 0; low < 2; ++low) {
      total[low] += __shfl_xor_sync(kAllLanes, total[low], 1);
      total[low] += __shfl_xor_sync(kAllLanes, total[low], 2);
      const int row = first + warp * 16 + low * 8 + lane / 4;
      if (row >= unit.queries) continue;
      const float factor = total[low] > 0 ? 1.0f / total[low] : 0.0f;
      const int64_t to = unit.out(row);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int64_t channel = to + j * 8 + lane % 4 * 2;
        const float x = sums[j * 4 + 2 * low] * factor, y = sums[j * 4 + 2 * low + 1] * factor;
        if (at.out_is_bf16)
          *reinterpret_cast<uint32_t*>(static_cast<bf16*>(at.out) + channel) = pack_bf16(x, y);
        else
          *reinterpret_cast<float2*>(static_cast<float*>(at.out) + channel) = make_float2(x, y);
      }
    }
  }
};

template <class Unit>
__global__ void __launch_bounds__(kHopperThreads, 1)
    hopper_attention_kernel(const __grid_constant__ typename Unit::Call call,
                            const __grid_constant__ AttendCall at) {
  using H = HopperAttention;
  const HopperAttentionShared shared;
  if (threadIdx.x == 0) shared.make();
  __syncthreads();
  wait_for_earlier_kernels();
  const Unit unit(call, blockIdx.x);
  if (threadIdx.x < kWarpgroup) {
    give_registers<H::kProducerRegisters>();
    bring_unit(unit, at.rope, shared);
    return;
  }
  take_registers<H::kConsumerRegisters>();
  const int first = (static_cast<int>(threadIdx.x) / kWarpgroup - 1) * 64;
  const int tiles = (unit.keys + H::kKeys - 1) / H::kKeys;
  const bool speaks = threadIdx.x % kWarp == 0;
  const uint64_t queries = operand_at(shared.queries + first * H::kRowBytes);
  HopperQueries own;
  own.begin();
  wait_for_phase(shared.ready, 0);
  for (int tile = 0; tile < tiles; ++tile) {
    const Stage stage = stage_of(tile, H::kStages),
                before = stage_of(tile + H::kStages - 1, H::kStages);
    wait_for_phase(shared.full + stage.index, stage.parity);
    own.ask(queries, shared.keys(stage.index));
    if (tile > 0) {
      own.gather(shared.values(before.index));
      wait_for_products<1>();
    } else {
      wait_for_products<0>();
    }
    settle(own.logits);
    float shrink[2];
    own.soften(at.scale, unit.keys - tile * H::kKeys, shrink);
    finish_first(own.total[0] + own.total[1]);
    wait_for_products<0>();
    settle(own.sums);
    settle(own.powers);
    if (tile > 0 && speaks) arrive(shared.empty + before.index);
    own.take(shrink);
  }
  if (tiles > 0) {
    own.gather(shared.values(stage_of(tiles - 1, H::kStages).index));
    wait_for_products<0>();
    settle(own.sums);
  }
  own.finish(unit, first, at);
}

}  // namespace hrsam::cuda
