// Flash attention in bf16 on tensor cores, mma.sync.
//
// A block of 8 warps owns the queries of a unit, 16 a warp at a time, their sums in registers. Keys
// and values come by cp.async in tiles of 64 to shared memory, where whoever fetched a piece of a
// key also rotates it. kWhole: all tiles of a unit have a place of their own (a window of 256 keys
// of 64 channels: 72 KB), so there is one barrier for the unit and each warp then goes through its
// queries alone; otherwise two tiles take turns and each warp has 16 queries. kExtra: relative
// positions, or keys that some queries do not see. Rows in shared memory are 16 bytes longer than
// their numbers, so that ldmatrix meets no bank conflict. Bound by the tensor cores and, for heads
// as small as these, as much by the exponentials: 4·d operations for each of them.
#pragma once

#include <initializer_list>

#include "attend.h"

namespace hrsam::cuda {

constexpr int kTensorWarps = 8;
constexpr int kTensorThreads = kTensorWarps * kWarp;
constexpr int kTensorQueries = kTensorWarps * 16;  // of a block, where keys take turns
constexpr int kTensorKeys = 64;
constexpr int kWholeTiles = 4;  // 256 keys

template <int kD>
struct TensorLayout {
  static constexpr int kRow = kD + 8;  // numbers
  static constexpr int kPieces = kD / 8;
  static constexpr int kTile = kTensorKeys * kRow;
  static constexpr int kSteps = kD / 16;
  // Where all keys have places, so have the warps' queries on their way to registers.
  static constexpr size_t shared_bytes(bool whole) {
    return sizeof(bf16) * (whole ? 2 * kWholeTiles * kTile + kTensorQueries * kRow : 4 * kTile);
  }
};

// Turns eight channels of a row in shared memory.
HRSAM_DEVICE void rotate_piece(const Rope& rope, const Place& place, int channel, bf16* piece) {
  uint4 v = *reinterpret_cast<const uint4*>(piece);
  uint32_t* pairs = &v.x;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float x = to_f32(static_cast<bf16>(pairs[i] & 0xffff));
    float y = to_f32(static_cast<bf16>(pairs[i] >> 16));
    rope.rotate(place, channel + 2 * i, x, y);
    pairs[i] = pack_bf16(x, y);
  }
  *reinterpret_cast<uint4*>(piece) = v;
}

template <class Unit>
HRSAM_DEVICE HeadRow<bf16> query_or_none(const Unit& unit, int i) {
  return i < unit.queries ? unit.query(i) : HeadRow<bf16>{nullptr, {0, 0}};
}
// Whether anyone wants one of the 16 queries from `first` on.
template <class Unit>
HRSAM_DEVICE bool any_query(const Unit& unit, int first) {
  bool any = false;
  for (int i = first; i < first + 16; ++i) any = any || query_or_none(unit, i).data != nullptr;
  return any;
}

// 16 rows of a warp as the left operand of products; row(i) has no data where there is none.
// `space`: room for them in shared memory, the warp's own.
template <int kD, class Row>
HRSAM_DEVICE void load_rows(const Rope& rope, int d, bf16* space, uint32_t (&left)[kD / 16][4],
                            Row&& row) {
  using L = TensorLayout<kD>;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  for (int i = lane; i < 16 * L::kPieces; i += kWarp) {
    const int r = i / L::kPieces, channel = i % L::kPieces * 8;
    bf16* piece = space + r * L::kRow + channel;
    const HeadRow<bf16> from = row(r);
    const bool valid = from.data != nullptr && channel < d;
    *reinterpret_cast<uint4*>(piece) =
        valid ? *reinterpret_cast<const uint4*>(from.data + channel) : make_uint4(0, 0, 0, 0);
    if (valid && rope.table != nullptr) rotate_piece(rope, from.place, channel, piece);
  }
  __syncwarp();
#pragma unroll
  for (int s = 0; s < L::kSteps; ++s)
    load_matrices(left[s], space + lane % 16 * L::kRow + s * 16 + lane / 16 * 8);
  __syncwarp();  // read before the next rows are written
}

// products += left · rowsᵀ, of 8·kTiles rows in shared memory.
template <int kD, int kTiles>
HRSAM_DEVICE void multiply_rows(float (&products)[kTiles][4], const uint32_t (&left)[kD / 16][4],
                                const bf16* rows) {
  using L = TensorLayout<kD>;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int s = 0; s < L::kSteps; ++s)
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      uint32_t right[4];
      load_matrices(
          right, rows + (n * 8 + lane % 8 + lane / 16 * 8) * L::kRow + s * 16 + lane / 8 % 2 * 8);
      multiply_add(products[n], left[s], right[0], right[1]);
      multiply_add(products[n + 1], left[s], right[2], right[3]);
    }
}

// sums += weights · rows: weights as multiply_rows() leaves products, rounded to bf16.
template <int kD, int kTiles>
HRSAM_DEVICE void add_weighted(float (&sums)[kD / 8][4], const float (&weights)[kTiles][4],
                               const bf16* rows) {
  using L = TensorLayout<kD>;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int s = 0; s < kTiles / 2; ++s) {
    const uint32_t left[4] = {pack_bf16(weights[2 * s][0], weights[2 * s][1]),
                              pack_bf16(weights[2 * s][2], weights[2 * s][3]),
                              pack_bf16(weights[2 * s + 1][0], weights[2 * s + 1][1]),
                              pack_bf16(weights[2 * s + 1][2], weights[2 * s + 1][3])};
#pragma unroll
    for (int n = 0; n < kD / 8; n += 2) {
      uint32_t right[4];
      load_matrices_transposed(
          right, rows + (s * 16 + lane % 8 + lane / 8 % 2 * 8) * L::kRow + n * 8 + lane / 16 * 8);
      multiply_add(sums[n], left, right[0], right[1]);
      multiply_add(sums[n + 1], left, right[2], right[3]);
    }
  }
}

// 16 queries of a warp, and what they have gathered so far. Lane l holds numbers of rows l / 4 and
// l / 4 + 8.
template <class Unit, int kD, bool kExtra>
struct QueryTile {
  using L = TensorLayout<kD>;
  uint32_t q[L::kSteps][4];
  float sums[kD / 8][4];
  float largest[2], total[2];
  int row[2];  // of the unit; here: a query that is wanted
  bool here[2];
  int region[2];
  const float* bias[2];

  // `space`: the warp's 16 rows of shared memory. False: nothing to do.
  HRSAM_DEVICE bool begin(const Unit& unit, int first, const AttendCall& at, bf16* space) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    if (!any_query(unit, first)) return false;
    load_rows<kD>(at.rope, at.d, space, q, [&](int r) { return query_or_none(unit, first + r); });
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      row[h] = first + lane / 4 + 8 * h;
      here[h] = query_or_none(unit, row[h]).data != nullptr;
      if constexpr (kExtra) {
        region[h] = unit.region(query_or_none(unit, row[h]).place);
        // Where nobody asks anyone's will do.
        bias[h] = at.bias.of(here[h] ? unit.query_index(row[h]) : 0);
      }
      largest[h] = kMasked;
      total[h] = 0;
    }
#pragma unroll
    for (int n = 0; n < kD / 8; ++n)
#pragma unroll
      for (int k = 0; k < 4; ++k) sums[n][k] = 0;
    return true;
  }

  // A tile of keys, of which the first is the unit's key `first`.
  HRSAM_DEVICE void attend(const Unit& unit, const AttendCall& at, const bf16* keys,
                           const bf16* values, int first) {
    float logits[kTensorKeys / 8][4];
#pragma unroll
    for (int n = 0; n < kTensorKeys / 8; ++n)
#pragma unroll
      for (int k = 0; k < 4; ++k) logits[n][k] = 0;
    multiply_rows<kD>(logits, q, keys);
    adjust(unit, at, logits, first);
    softmax(logits);
    add_weighted<kD>(sums, logits, values);
  }

  HRSAM_DEVICE void finish(const Unit& unit, const AttendCall& at) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      total[h] += __shfl_xor_sync(kAllLanes, total[h], 1);
      total[h] += __shfl_xor_sync(kAllLanes, total[h], 2);
    }
    const bool partial = at.partials.statistics != nullptr;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!here[h]) continue;
      const int64_t slot =
          partial ? unit.query_index(row[h]) * at.partials.chunks + unit.chunk() : 0;
      if (partial && lane % 4 == 0) {
        at.partials.statistics[2 * slot] = largest[h];
        at.partials.statistics[2 * slot + 1] = total[h];
      }
      const float factor = partial ? 1.0f : total[h] > 0 ? 1.0f / total[h] : 0.0f;
      const int64_t to = partial ? slot * at.d : unit.out(row[h]);
#pragma unroll
      for (int n = 0; n < kD / 8; ++n) {
        const int channel = n * 8 + lane % 4 * 2;
        if (channel >= at.d) continue;
        const float x = sums[n][2 * h] * factor, y = sums[n][2 * h + 1] * factor;
        if (partial)
          *reinterpret_cast<float2*>(at.partials.sums + to + channel) = make_float2(x, y);
        else if (at.out_is_bf16)
          *reinterpret_cast<uint32_t*>(static_cast<bf16*>(at.out) + to + channel) = pack_bf16(x, y);
        else
          *reinterpret_cast<float2*>(static_cast<float*>(at.out) + to + channel) =
              make_float2(x, y);
      }
    }
  }

 private:
  // Scale, relative positions, what is not seen: a pass for each, without a branch per logit.
  HRSAM_DEVICE void adjust(const Unit& unit, const AttendCall& at,
                           float (&logits)[kTensorKeys / 8][4], int first) const {
    const int own = first + static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
    for (int n = 0; n < kTensorKeys / 8; ++n)
#pragma unroll
      for (int k = 0; k < 4; ++k) logits[n][k] *= at.scale;
    if constexpr (kExtra) {
      if (at.bias.products != nullptr)
        each_key(unit, own, [&](int n, int side, const Place& place) {
#pragma unroll
          for (int h = 0; h < 2; ++h) logits[n][2 * h + side] += at.bias.at(bias[h], place);
        });
      if (unit.has_regions())
        each_key(unit, own, [&](int n, int side, const Place& place) {
          const int of_key = unit.region(place);
#pragma unroll
          for (int h = 0; h < 2; ++h)
            if (of_key != region[h]) logits[n][2 * h + side] += kMasked;
        });
    }
    if (first + kTensorKeys <= unit.keys) return;
#pragma unroll
    for (int n = 0; n < kTensorKeys / 8; ++n)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (own + n * 8 + k % 2 >= unit.keys) logits[n][k] = kMasked;
  }

  // The places of a lane's keys, n and side as in logits[n][2·h + side]; `own`: the first.
  template <class F>
  HRSAM_DEVICE static void each_key(const Unit& unit, int own, F&& f) {
    Place place = unit.key(own < unit.keys ? own : 0).place;
#pragma unroll
    for (int n = 0; n < kTensorKeys / 8; ++n) {
      f(n, 0, place);
      f(n, 1, further(place, 1, unit.key_columns()));
      place = further(place, 8, unit.key_columns());
    }
  }

  // Logits to powers, the sums so far shrunk to the new largest logit.
  HRSAM_DEVICE void softmax(float (&logits)[kTensorKeys / 8][4]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float next = largest[h];
#pragma unroll
      for (int n = 0; n < kTensorKeys / 8; ++n)
        next = fmaxf(next, fmaxf(logits[n][2 * h], logits[n][2 * h + 1]));
      next = fmaxf(next, __shfl_xor_sync(kAllLanes, next, 1));
      next = fmaxf(next, __shfl_xor_sync(kAllLanes, next, 2));
      const float shrink = exp2_fast(largest[h] - next);
      largest[h] = next;
      total[h] *= shrink;
#pragma unroll
      for (int n = 0; n < kD / 8; ++n) {
        sums[n][2 * h] *= shrink;
        sums[n][2 * h + 1] *= shrink;
      }
#pragma unroll
      for (int n = 0; n < kTensorKeys / 8; ++n)
#pragma unroll
        for (int k = 2 * h; k < 2 * h + 2; ++k) {
          logits[n][k] = exp2_fast(logits[n][k] - next);
          total[h] += logits[n][k];
        }
    }
  }
};

// Asks for a tile of keys and values; the same thread's rotate_keys() turns what this one fetched.
template <class Unit, int kD>
HRSAM_DEVICE void fetch_tile(const Unit& unit, const AttendCall& at, int first, bf16* keys,
                             bf16* values) {
  using L = TensorLayout<kD>;
  for (int i = static_cast<int>(threadIdx.x); i < kTensorKeys * L::kPieces; i += kTensorThreads) {
    const int r = i / L::kPieces, channel = i % L::kPieces * 8;
    const bool valid = first + r < unit.keys && channel < at.d;
    const int j = first + r < unit.keys ? first + r : 0, c = channel < at.d ? channel : 0;
    copy_async(keys + r * L::kRow + channel, unit.key(j).data + c, valid);
    copy_async(values + r * L::kRow + channel, unit.value(j) + c, valid);
  }
}

template <class Unit, int kD>
HRSAM_DEVICE void rotate_keys(const Unit& unit, const AttendCall& at, int first, bf16* keys) {
  using L = TensorLayout<kD>;
  if (at.rope.table == nullptr) return;
  for (int i = static_cast<int>(threadIdx.x); i < kTensorKeys * L::kPieces; i += kTensorThreads) {
    const int r = i / L::kPieces, channel = i % L::kPieces * 8;
    if (first + r < unit.keys && channel < at.d)
      rotate_piece(at.rope, unit.key(first + r).place, channel, keys + r * L::kRow + channel);
  }
}

template <class Unit, int kD, bool kWhole, bool kExtra>
__global__ void __launch_bounds__(kTensorThreads, kD < 64 && !kExtra ? 2 : 1)
    tensor_attention_kernel(const __grid_constant__ typename Unit::Call call,
                            const __grid_constant__ AttendCall at) {
  wait_for_earlier_kernels();
  using L = TensorLayout<kD>;
  constexpr int kPlaces = kWhole ? kWholeTiles : 2;
  auto* keys = static_cast<bf16*>(shared_memory());  // [kPlaces][64][kRow]
  bf16* values = keys + kPlaces * L::kTile;
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  bf16* space = (kWhole ? values + kPlaces * L::kTile : keys) + warp * 16 * L::kRow;
  const Unit unit(call, blockIdx.x);
  const int tiles = (unit.keys + kTensorKeys - 1) / kTensorKeys;
  QueryTile<Unit, kD, kExtra> queries;

  if constexpr (kWhole) {
    for (int t = 0; t < tiles; ++t)
      fetch_tile<Unit, kD>(unit, at, t * kTensorKeys, keys + t * L::kTile, values + t * L::kTile);
    commit_copies();
    wait_for_copies<0>();
    for (int t = 0; t < tiles; ++t)
      rotate_keys<Unit, kD>(unit, at, t * kTensorKeys, keys + t * L::kTile);
    __syncthreads();
    for (int first = warp * 16; first < unit.queries; first += kTensorQueries) {
      if (!queries.begin(unit, first, at, space)) continue;
      for (int t = 0; t < tiles; ++t)
        queries.attend(unit, at, keys + t * L::kTile, values + t * L::kTile, t * kTensorKeys);
      queries.finish(unit, at);
    }
  } else {
    const bool works = queries.begin(unit, warp * 16, at, space);
    __syncthreads();  // the queries' places are the keys' now
    if (tiles > 0) fetch_tile<Unit, kD>(unit, at, 0, keys, values);
    commit_copies();
    for (int t = 0; t < tiles; ++t) {
      bf16* tile_keys = keys + t % 2 * L::kTile;
      bf16* tile_values = values + t % 2 * L::kTile;
      wait_for_copies<0>();
      rotate_keys<Unit, kD>(unit, at, t * kTensorKeys, tile_keys);
      __syncthreads();  // the tile is there for all, and the one before is read
      if (t + 1 < tiles)
        fetch_tile<Unit, kD>(unit, at, (t + 1) * kTensorKeys, keys + (t + 1) % 2 * L::kTile,
                             values + (t + 1) % 2 * L::kTile);
      commit_copies();
      if (works) queries.attend(unit, at, tile_keys, tile_values, t * kTensorKeys);
    }
    if (works) queries.finish(unit, at);
  }
}

// Heads of whole pieces of 16 bytes, at addresses that are.
inline bool tensor_fits(const Node& node, std::initializer_list<const char*> operands, int d,
                        int64_t row) {
  bool fits = d % 8 == 0 && d <= 128 && row % 8 == 0;
  for (const char* name : operands)  // a view may begin anywhere
    fits = fits && !(node.has(name) && node.value(name).offset % 16 != 0);
  return fits;
}

// The head sizes that there are kernels for.
constexpr int tensor_width(int d) { return d <= 32 ? 32 : d <= 64 ? 64 : d <= 80 ? 80 : 128; }
// What whole windows take of the chip.
inline size_t whole_shared_bytes(int d) {
  return sizeof(bf16) * static_cast<size_t>(2 * kWholeTiles * kTensorKeys + kTensorQueries) *
         static_cast<size_t>(tensor_width(d) + 8);
}

// Queries that a block takes of a window: all, where its keys stay on the chip, else they take
// turns.
inline int tensor_window_queries(const Geometry& g, const Compiler& compiler) {
  const int count = g.window * g.window;
  const bool whole =
      count <= kWholeTiles * kTensorKeys && whole_shared_bytes(g.d) <= compiler.shared_bytes();
  return whole ? count : kTensorQueries;
}

}  // namespace hrsam::cuda
