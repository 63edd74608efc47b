// Gradients of attention in bf16 on tensor cores, mma.sync; the mathematics and the two kernels are
// those of gradient.h.
//
// A block of 8 warps owns 128 queries (keys), 16 a warp, as left operands in registers; keys
// (queries) pass in tiles of 64 through shared memory, two of which take turns. A warp takes half a
// tile at a time, so that logits and dP of it and the sums stay in registers. P and dS are rounded
// to bf16 for their products, as the rotated rows are; all sums are f32. Bound by the tensor cores:
// 2·d·3 operations for each logit here and 2·d·4 there, beside one exponential each. Without
// relative positions. kHides: some queries do not see some keys; asking where all see all would put
// a branch around each logit.
#pragma once

#include "gradient.h"
#include "tensor.h"

namespace hrsam::cuda {

constexpr int kHalfTile = kTensorKeys / 2;

// Wider heads leave no room for their sums in registers.
constexpr bool tensor_gradient_fits(int d) { return tensor_width(d) <= 80; }

template <int kD>
struct TensorGradientLayout {
  static constexpr int kTile = TensorLayout<kD>::kTile;
  static constexpr size_t kTiles = sizeof(bf16) * 4 * kTile;
  static constexpr size_t kKeyBytes = kTiles + sizeof(float4) * 2 * kTensorKeys;
};

template <int kD>
HRSAM_DEVICE void clear_sums(float (&sums)[kD][4]) {
#pragma unroll
  for (int n = 0; n < kD; ++n)
#pragma unroll
    for (int k = 0; k < 4; ++k) sums[n][k] = 0;
}

template <class Unit>
HRSAM_DEVICE HeadRow<bf16> above_or_none(const Unit& unit, const GradientCall& g, int i) {
  const bool here = query_or_none(unit, i).data != nullptr;
  return {here ? static_cast<const bf16*>(g.dy.data) + unit.out(i) : nullptr, {0, 0}};
}

// A row of sums to its place, turned back if `place` says how. Lanes hold pairs of channels.
template <int kD>
HRSAM_DEVICE void store_row(const float (&sums)[kD / 8][4], int h, float factor, const Rope& rope,
                            const Place& place, const NumbersOut& out, int64_t to, int d) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int n = 0; n < kD / 8; ++n) {
    const int channel = n * 8 + lane % 4 * 2;
    if (channel >= d) continue;
    float x = sums[n][2 * h] * factor, y = sums[n][2 * h + 1] * factor;
    rope.rotate_back(place, channel, x, y);
    if (out.is_bf16)
      *reinterpret_cast<uint32_t*>(static_cast<bf16*>(out.data) + to + channel) = pack_bf16(x, y);
    else
      *reinterpret_cast<float2*>(static_cast<float*>(out.data) + to + channel) = make_float2(x, y);
  }
}

// A warp owns 16 queries: dQ.
template <class Unit, int kD, bool kHides>
__global__ void __launch_bounds__(kTensorThreads, kD <= 32 ? 2 : 1)
    tensor_query_gradient_kernel(const __grid_constant__ typename Unit::Call call,
                                 const __grid_constant__ GradientCall g) {
  wait_for_earlier_kernels();
  using L = TensorLayout<kD>;
  auto* keys = static_cast<bf16*>(shared_memory());  // [2][64][kRow]
  bf16* values = keys + 2 * L::kTile;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  const Unit unit(call, blockIdx.x);
  const int tiles = (unit.keys + kTensorKeys - 1) / kTensorKeys, first = warp * 16;
  const bool works = any_query(unit, first);

  uint32_t q[L::kSteps][4], dy[L::kSteps][4];
  bf16* space = keys + first * L::kRow;
  load_rows<kD>(g.at.rope, g.at.d, space, q, [&](int r) { return query_or_none(unit, first + r); });
  load_rows<kD>(Rope(), g.at.d, space, dy,
                [&](int r) { return above_or_none(unit, g, first + r); });
  float dq[kD / 8][4];
  clear_sums(dq);
  int own[2], region[2];
  float4 statistics[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    own[h] = first + lane / 4 + 8 * h;
    const HeadRow<bf16> row = query_or_none(unit, own[h]);
    const bool here = row.data != nullptr;
    statistics[h] = here ? g.query[unit.query_index(own[h])] : make_float4(0, 0, 0, 0);
    region[h] = here ? unit.region(row.place) : -1;
    if (!here) own[h] = -1;
  }
  __syncthreads();  // the queries' places are the keys' now

  if (tiles > 0) fetch_tile<Unit, kD>(unit, g.at, 0, keys, values);
  commit_copies();
  for (int t = 0; t < tiles; ++t) {
    bf16* tile_keys = keys + t % 2 * L::kTile;
    wait_for_copies<0>();
    rotate_keys<Unit, kD>(unit, g.at, t * kTensorKeys, tile_keys);
    __syncthreads();  // the tile is there for all, and the one before is read
    if (t + 1 < tiles)
      fetch_tile<Unit, kD>(unit, g.at, (t + 1) * kTensorKeys, keys + (t + 1) % 2 * L::kTile,
                           values + (t + 1) % 2 * L::kTile);
    commit_copies();
    if (!works) continue;
    for (int half = 0; half < kTensorKeys; half += kHalfTile) {
      if (t * kTensorKeys + half >= unit.keys) break;
      float ds[kHalfTile / 8][4], dp[kHalfTile / 8][4];
      clear_sums(ds);
      clear_sums(dp);
      multiply_rows<kD>(ds, q, tile_keys + half * L::kRow);
      multiply_rows<kD>(dp, dy, values + t % 2 * L::kTile + half * L::kRow);
#pragma unroll
      for (int n = 0; n < kHalfTile / 8; ++n)
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          const int key = t * kTensorKeys + half + n * 8 + lane % 4 * 2 + side;
          const int of_key = kHides ? unit.region(unit.key(key).place) : 0;
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const int k = 2 * h + side;
            const float4& s = statistics[h];
            const bool seen = key < unit.keys && (!kHides || of_key == region[h]);
            const float p = seen ? exp2_fast(fmaf(ds[n][k], g.at.scale, -s.x)) * s.y : 0;
            ds[n][k] = p * (dp[n][k] - s.z);
          }
        }
      add_weighted<kD>(dq, ds, tile_keys + half * L::kRow);
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (own[h] < 0) continue;
    const HeadRow<bf16> row = unit.query(own[h]);
    store_row<kD>(dq, h, g.factor, g.at.rope, row.place, g.out, g.to_query(row.data), g.at.d);
  }
}

// Asks for a tile of queries, of what came from above and of statistics: zeros where there is none.
template <class Unit, int kD>
HRSAM_DEVICE void fetch_queries(const Unit& unit, const GradientCall& g, int first, bf16* queries,
                                bf16* above, float4* statistics) {
  using L = TensorLayout<kD>;
  for (int i = static_cast<int>(threadIdx.x); i < kTensorKeys * L::kPieces; i += kTensorThreads) {
    const int r = i / L::kPieces, channel = i % L::kPieces * 8;
    const HeadRow<bf16> row = query_or_none(unit, first + r);
    const bool valid = row.data != nullptr && channel < g.at.d;
    const auto* dy = static_cast<const bf16*>(g.dy.data);
    copy_async(queries + r * L::kRow + channel, valid ? row.data + channel : dy, valid);
    copy_async(above + r * L::kRow + channel, valid ? dy + unit.out(first + r) + channel : dy,
               valid);
    if (channel > 0) continue;
    copy_async(statistics + r, valid ? g.query + unit.query_index(first + r) : g.query, valid);
  }
}
template <class Unit, int kD>
HRSAM_DEVICE void rotate_queries(const Unit& unit, const AttendCall& at, int first, bf16* queries) {
  using L = TensorLayout<kD>;
  if (at.rope.table == nullptr) return;
  for (int i = static_cast<int>(threadIdx.x); i < kTensorKeys * L::kPieces; i += kTensorThreads) {
    const int r = i / L::kPieces, channel = i % L::kPieces * 8;
    const HeadRow<bf16> row = query_or_none(unit, first + r);
    if (row.data != nullptr && channel < at.d)
      rotate_piece(at.rope, row.place, channel, queries + r * L::kRow + channel);
  }
}

// A warp owns 16 keys: dK and dV. Units hold all queries that see their keys; a unit has `parts`
// blocks.
template <class Unit, int kD, bool kHides>
__global__ void __launch_bounds__(kTensorThreads, 1)
    tensor_key_gradient_kernel(const __grid_constant__ typename Unit::Call call,
                               const __grid_constant__ GradientCall g, int parts) {
  wait_for_earlier_kernels();
  using L = TensorLayout<kD>;
  auto* queries = static_cast<bf16*>(shared_memory());                 // [2][64][kRow]
  bf16* above = queries + 2 * L::kTile;                                // [2][64][kRow]
  auto* statistics = reinterpret_cast<float4*>(above + 2 * L::kTile);  // [2][64]
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  const int first = static_cast<int>(blockIdx.x % parts) * kTensorQueries + warp * 16;
  const Unit unit(call, blockIdx.x / parts);
  const bool works = first < unit.keys;
  const int tiles = (unit.queries + kTensorKeys - 1) / kTensorKeys;

  uint32_t k[L::kSteps][4], v[L::kSteps][4];
  bf16* space = queries + warp * 16 * L::kRow;
  load_rows<kD>(g.at.rope, g.at.d, space, k, [&](int r) {
    return first + r < unit.keys ? unit.key(first + r) : HeadRow<bf16>{nullptr, {0, 0}};
  });
  load_rows<kD>(Rope(), g.at.d, space, v, [&](int r) {
    return HeadRow<bf16>{first + r < unit.keys ? unit.value(first + r) : nullptr, {0, 0}};
  });
  float dk[kD / 8][4], dv[kD / 8][4];
  clear_sums(dk);
  clear_sums(dv);
  int region[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int own = first + lane / 4 + 8 * h;
    region[h] = own < unit.keys ? unit.region(unit.key(own).place) : -1;
  }
  __syncthreads();  // the keys' places are the queries' now

  if (tiles > 0) fetch_queries<Unit, kD>(unit, g, 0, queries, above, statistics);
  commit_copies();
  for (int t = 0; t < tiles; ++t) {
    bf16* tile_queries = queries + t % 2 * L::kTile;
    const bf16* tile_above = above + t % 2 * L::kTile;
    const float4* tile_statistics = statistics + t % 2 * kTensorKeys;
    wait_for_copies<0>();
    rotate_queries<Unit, kD>(unit, g.at, t * kTensorKeys, tile_queries);
    __syncthreads();  // the tile is there for all, and the one before is read
    if (t + 1 < tiles)
      fetch_queries<Unit, kD>(unit, g, (t + 1) * kTensorKeys, queries + (t + 1) % 2 * L::kTile,
                              above + (t + 1) % 2 * L::kTile,
                              statistics + (t + 1) % 2 * kTensorKeys);
    commit_copies();
    if (!works) continue;
    for (int half = 0; half < kTensorKeys; half += kHalfTile) {
      if (t * kTensorKeys + half >= unit.queries) break;
      float p[kHalfTile / 8][4], ds[kHalfTile / 8][4];
      clear_sums(p);
      clear_sums(ds);
      multiply_rows<kD>(p, k, tile_queries + half * L::kRow);
      multiply_rows<kD>(ds, v, tile_above + half * L::kRow);
#pragma unroll
      for (int n = 0; n < kHalfTile / 8; ++n)
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          const int r = half + n * 8 + lane % 4 * 2 + side;
          const float4 s = tile_statistics[r];  // zeros where there is no query
          const int of_query = kHides ? unit.region(unit.query(t * kTensorKeys + r).place) : 0;
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const int i = 2 * h + side;
            const bool seen = !kHides || of_query == region[h];
            p[n][i] = seen ? exp2_fast(fmaf(p[n][i], g.at.scale, -s.x)) * s.y : 0;
            ds[n][i] = p[n][i] * (ds[n][i] - s.z);
          }
        }
      add_weighted<kD>(dv, p, tile_above + half * L::kRow);
      add_weighted<kD>(dk, ds, tile_queries + half * L::kRow);
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int own = first + lane / 4 + 8 * h;
    if (own >= unit.keys) continue;
    const HeadRow<bf16> row = unit.key(own);
    const bool padding = unit.is_padding(own);
    const int64_t position = unit.position(own) * 2 * g.at.d;
    const NumbersOut out = padding ? NumbersOut{g.padding, false} : g.out;
    store_row<kD>(dk, h, g.factor, g.at.rope, row.place, out,
                  padding ? position : g.to_key(row.data), g.at.d);
    store_row<kD>(dv, h, 1, Rope(), row.place, out,
                  padding ? position + g.at.d : g.to_value(unit.value(own)), g.at.d);
  }
}

}  // namespace hrsam::cuda
