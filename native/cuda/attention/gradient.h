// Gradients of attention, all in f32. With P the probabilities, recomputed from each query's
// statistics, and dS = P ⊙ (dO·Vᵀ − delta), delta = Σ dO ⊙ O:
//   dV = Pᵀ·dO,  dQ = dS·K / √d,  dK = dSᵀ·Q / √d,
// and for relative positions the sums of dS over each row and each column of keys.
//
// Two kernels, so that each sum belongs to one thread and its order is fixed: in one a thread owns
// a query (kLanes threads, 32 channels each) and keys pass through shared memory, in the other it
// owns a key and queries pass.
#pragma once

#include "plain.h"

namespace hrsam::cuda {

constexpr int kGradientFours = 8;
constexpr int gradient_rows(int lanes) { return lanes <= 4 ? 32 : 16; }  // of a tile
constexpr int gradient_lanes(int d) { return d <= 32 ? 1 : d <= 64 ? 2 : d <= 128 ? 4 : 16; }
constexpr int gradient_owned(int d) { return kPlainThreads / gradient_lanes(d); }

struct GradientCall {
  AttendCall at;
  float factor;   // 1 / √d
  Numbers dy;     // as the result of attention
  float4* query;  // [query]: largest logit, 1 / sum of powers, delta
  // Sums of dS of each query over key rows, then columns; null without relative positions.
  float* axes;
  const float *rel_h, *rel_w;
  // Gradients of the operands that rows are in, from these addresses.
  NumbersOut out;
  const void *q, *k, *v;
  int64_t q_at, k_at, v_at;  // places in out
  float* padding;            // [position][2][d]: dK and dV of padded positions
  int64_t items;             // whose gradients add up in a key
  int64_t item_units;        // units of an item
  int query_chunks = 1;      // that a key's queries are cut into, each a block's
  int query_chunk = INT32_MAX;
  // Where the chunks' gradients go, if there are several: a list like out, or part of it, for each.
  float* parts = nullptr;
  int64_t part_size = 0;

  HRSAM_DEVICE NumbersOut out_of(int64_t chunk) const {
    return parts == nullptr ? out : NumbersOut{parts + chunk * part_size, false};
  }

  // Where the gradient of a row goes.
  template <class T>
  HRSAM_DEVICE int64_t to_query(const T* row) const {
    return q_at + (row - static_cast<const T*>(q));
  }
  template <class T>
  HRSAM_DEVICE int64_t to_key(const T* row) const {
    return k_at + (row - static_cast<const T*>(k));
  }
  template <class T>
  HRSAM_DEVICE int64_t to_value(const T* row) const {
    return v_at + (row - static_cast<const T*>(v));
  }
};

// Each query's numbers from its chunks' statistics and sums as the forward kernel leaves them.
struct Deltas {
  Partials partials;
  Numbers dy;
  float4* query;
  int64_t tokens, heads;
  int d;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t token = i % tokens, head = i / tokens % heads, item = i / tokens / heads;
    const int64_t at = ((item * tokens + token) * heads + head) * d;
    float largest, delta = 0;
    const float total = partials.merge(i, largest, [&](int64_t chunk, float scale) {
      const float* sums = partials.sums + (i * partials.chunks + chunk) * d;
      float product = 0;
      for (int c = 0; c < d; c += 4) {  // in the order of OwnedRow::product()
        const int n = d - c < 4 ? d - c : 4;
        const Four x = load_four(dy, at + c, n), y = load_four(sums + c, n);
#pragma unroll
        for (int k = 3; k >= 0; --k) product = fmaf(x.x[k], y.x[k], product);
      }
      delta = fmaf(product, scale, delta);
    });
    const float factor = total > 0 ? 1 / total : 0;  // sees nothing: no power counts
    query[i] = make_float4(largest, factor, delta * factor, 0);
  }
};

// 32 channels of a row in registers: fours kLanes apart, as the rows of a tile are read.
template <int kLanes>
struct OwnedRow {
  float x[kGradientFours][4];

  HRSAM_DEVICE void clear() {
#pragma unroll
    for (int f = 0; f < kGradientFours; ++f)
#pragma unroll
      for (int k = 0; k < 4; ++k) x[f][k] = 0;
  }
  // f(channel, first, second) for pairs of channels that there are.
  template <class F>
  HRSAM_DEVICE void pairs(int d, int lane, F&& f) {
#pragma unroll
    for (int i = 0; i < kGradientFours; ++i)
#pragma unroll
      for (int k = 0; k < 4; k += 2) {
        const int c = (i * kLanes + lane) * 4 + k;
        if (c < d) f(c, x[i][k], x[i][k + 1]);
      }
  }
  HRSAM_DEVICE void load(const Numbers& from, int64_t at, int d, int lane) {
    clear();
    pairs(d, lane, [&](int c, float& a, float& b) {
      a = from.at(at + c);
      if (c + 1 < d) b = from.at(at + c + 1);
    });
  }
  HRSAM_DEVICE void rotate(const Rope& rope, const Place& place, int d, int lane) {
    if (rope.table != nullptr)
      pairs(d, lane, [&](int c, float& a, float& b) { rope.rotate(place, c, a, b); });
  }
  HRSAM_DEVICE void store(const NumbersOut& to, int64_t at, int d, int lane) {
    pairs(d, lane, [&](int c, float& a, float& b) {
      to.put(at + c, a);
      if (c + 1 < d) to.put(at + c + 1, b);
    });
  }
  // With a row of a tile; the sum over the lanes of an owner.
  HRSAM_DEVICE float product(const float* row, int lane) const {
    float sum = 0;
#pragma unroll
    for (int f = 0; f < kGradientFours; ++f) {
      const float4 v = *reinterpret_cast<const float4*>(row + (f * kLanes + lane) * 4);
      sum = fmaf(x[f][0], v.x, fmaf(x[f][1], v.y, fmaf(x[f][2], v.z, fmaf(x[f][3], v.w, sum))));
    }
#pragma unroll
    for (int mask = kLanes / 2; mask > 0; mask /= 2) sum += __shfl_xor_sync(kAllLanes, sum, mask);
    return sum;
  }
  HRSAM_DEVICE void add(float factor, const float* row, int lane) {
#pragma unroll
    for (int f = 0; f < kGradientFours; ++f) {
      const float4 v = *reinterpret_cast<const float4*>(row + (f * kLanes + lane) * 4);
      x[f][0] = fmaf(factor, v.x, x[f][0]);
      x[f][1] = fmaf(factor, v.y, x[f][1]);
      x[f][2] = fmaf(factor, v.z, x[f][2]);
      x[f][3] = fmaf(factor, v.w, x[f][3]);
    }
  }
};

// A thread owns a query: dQ, and the sums of dS for relative positions.
template <class Unit, int kLanes>
__global__ void __launch_bounds__(kPlainThreads)
    query_gradient_kernel(const __grid_constant__ typename Unit::Call call,
                          const __grid_constant__ GradientCall g) {
  wait_for_earlier_kernels();
  constexpr int kRows = gradient_rows(kLanes), kWidth = kGradientFours * 4 * kLanes;
  constexpr int kPitch = plain_pitch(kWidth);
  constexpr int kRowThreads = kPlainThreads / kRows;
  auto* keys = static_cast<float*>(shared_memory());  // [kRows][kPitch]
  float* values = keys + kRows * kPitch;
  const Unit unit(call, blockIdx.x);
  const int d = g.at.d, thread = static_cast<int>(threadIdx.x);
  const int own = thread / kLanes, lane = thread % kLanes;
  const bool helps = first_of_warp(thread, kLanes) >= unit.queries;
  const bool here = own < unit.queries && unit.query(own).data != nullptr;
  const bool relative = g.axes != nullptr;
  const int axes = g.at.bias.rows + g.at.bias.columns;

  OwnedRow<kLanes> q, dy, dq;
  q.clear();
  dy.clear();
  dq.clear();
  Place place{0, 0};
  int region = 0;
  int64_t index = 0;
  float4 statistics = make_float4(0, 0, 0, 0);
  if (here) {
    const auto row = unit.query(own);
    place = row.place;
    region = unit.region(place);
    index = unit.query_index(own);
    q.load({row.data, false}, 0, d, lane);
    q.rotate(g.at.rope, place, d, lane);
    dy.load(g.dy, unit.out(own), d, lane);
    statistics = g.query[index];
    if (relative && lane == 0)
      for (int i = 0; i < axes; ++i) g.axes[index * axes + i] = 0;
  }
  for (int first = 0; first < unit.keys; first += kRows) {
    __syncthreads();  // the tile before is read
    {
      const int j = first + thread / kRowThreads, part = thread % kRowThreads;
      const auto key = j < unit.keys ? unit.key(j) : HeadRow<float>{nullptr, {0, 0}};
      stage_row(key.data, key.place, g.at.rope, d, kWidth, part, kRowThreads,
                keys + thread / kRowThreads * kPitch);
      stage_row(j < unit.keys ? unit.value(j) : nullptr, {0, 0}, Rope(), d, kWidth, part,
                kRowThreads, values + thread / kRowThreads * kPitch);
    }
    __syncthreads();
    if (helps) continue;
    const int count = unit.keys - first < kRows ? unit.keys - first : kRows;
    for (int j = 0; j < count; ++j) {
      float logit = q.product(keys + j * kPitch, lane) * g.at.scale;
      const float above = dy.product(values + j * kPitch, lane);
      const Place key = unit.key(first + j).place;
      if (!here || unit.region(key) != region) continue;
      if (relative) logit += g.at.bias.at(g.at.bias.of(index), key);
      const float ds = exp2_fast(logit - statistics.x) * statistics.y * (above - statistics.z);
      dq.add(ds * g.factor, keys + j * kPitch, lane);
      if (relative && lane == 0) {
        g.axes[index * axes + key.row] += ds;
        g.axes[index * axes + g.at.bias.rows + key.column] += ds;
      }
    }
  }
  __syncwarp();  // the first lane's sums
  if (!here || g.out.data == nullptr) return;
  if (relative) {
    const float* sums = g.axes + index * axes;
#pragma unroll 1
    for (int i = 0; i < axes; ++i) {
      const float sum = sums[i];
      const float* row =
          i < g.at.bias.rows
              ? g.rel_h + (int64_t{place.row} * g.at.bias.rows + i) * d
              : g.rel_w + (int64_t{place.column} * g.at.bias.columns + i - g.at.bias.rows) * d;
      dq.pairs(d, lane, [&](int c, float& a, float& b) {
        a = fmaf(sum, row[c], a);
        if (c + 1 < d) b = fmaf(sum, row[c + 1], b);
      });
    }
  }
  dq.pairs(d, lane, [&](int c, float& a, float& b) { g.at.rope.rotate_back(place, c, a, b); });
  dq.store(g.out_of(unit.chunk()), g.to_query(unit.query(own).data), d, lane);
}

// A thread owns a key: dK and dV. Units hold all queries that see their keys; a unit has `parts`
// blocks for each chunk of queries.
template <class Unit, int kLanes>
__global__ void __launch_bounds__(kPlainThreads)
    key_gradient_kernel(const __grid_constant__ typename Unit::Call call,
                        const __grid_constant__ GradientCall g, int parts) {
  wait_for_earlier_kernels();
  constexpr int kRows = gradient_rows(kLanes), kWidth = kGradientFours * 4 * kLanes;
  constexpr int kPitch = plain_pitch(kWidth);
  constexpr int kRowThreads = kPlainThreads / kRows;
  auto* queries = static_cast<float*>(shared_memory());  // [kRows][kPitch]
  float* above = queries + kRows * kPitch;               // [kRows][kPitch]
  const int d = g.at.d, thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kLanes;
  const int before = static_cast<int>(blockIdx.x % parts) * (kPlainThreads / kLanes);
  const int own = before + thread / kLanes;
  const int64_t chunk = blockIdx.x / parts % g.query_chunks;
  const int64_t first_unit = blockIdx.x / parts / g.query_chunks;

  OwnedRow<kLanes> dk, dv;
  dk.clear();
  dv.clear();
  bool owned = false, padding = false;
  Place place{0, 0};
  int64_t k_to = 0, v_to = 0, position = 0;
  for (int64_t item = 0; item < g.items; ++item) {
    const Unit unit(call, item * g.item_units + first_unit);
    // With lengths, items see different numbers of keys.
    const bool here = own < unit.keys;
    const bool helps = before + first_of_warp(thread, kLanes) >= unit.keys;
    OwnedRow<kLanes> k, v;
    k.clear();
    v.clear();
    if (here) {
      const auto row = unit.key(own);
      place = row.place;
      k.load({row.data, false}, 0, d, lane);
      k.rotate(g.at.rope, place, d, lane);
      v.load({unit.value(own), false}, 0, d, lane);
    }
    if (own < unit.all_keys()) {
      owned = true;
      padding = unit.is_padding(own);
      position = unit.position(own);
      place = unit.key(own).place;
      k_to = g.to_key(unit.key(own).data);
      v_to = g.to_value(unit.value(own));
    }
    const int64_t begin = chunk * g.query_chunk;
    const auto end = static_cast<int>(smaller(unit.queries, begin + g.query_chunk));
    for (int first = static_cast<int>(begin); first < end; first += kRows) {
      __syncthreads();  // the tile before is read
      {
        const int i = first + thread / kRowThreads, part = thread % kRowThreads;
        const auto query = i < end ? unit.query(i) : HeadRow<float>{nullptr, {0, 0}};
        stage_row(query.data, query.place, g.at.rope, d, kWidth, part, kRowThreads,
                  queries + thread / kRowThreads * kPitch);
        float* to = above + thread / kRowThreads * kPitch;
        for (int c = part; c < kWidth; c += kRowThreads)
          to[c] = query.data != nullptr && c < d ? g.dy.at(unit.out(i) + c) : 0;
      }
      __syncthreads();
      if (helps) continue;
      const int count = end - first < kRows ? end - first : kRows;
      for (int i = 0; i < count; ++i) {
        float logit = k.product(queries + i * kPitch, lane) * g.at.scale;
        const float dp = v.product(above + i * kPitch, lane);
        const auto query = unit.query(first + i);
        if (!here || query.data == nullptr || unit.region(query.place) != unit.region(place))
          continue;
        const int64_t index = unit.query_index(first + i);
        if (g.at.bias.products != nullptr) logit += g.at.bias.at(g.at.bias.of(index), place);
        const float4 statistics = g.query[index];
        const float p = exp2_fast(logit - statistics.x) * statistics.y;
        dv.add(p, above + i * kPitch, lane);
        dk.add(p * (dp - statistics.z) * g.factor, queries + i * kPitch, lane);
      }
    }
  }
  if (!owned) return;
  dk.pairs(d, lane, [&](int c, float& a, float& b) { g.at.rope.rotate_back(place, c, a, b); });
  if (padding) {
    dk.store({g.padding, false}, position * 2 * d, d, lane);
    dv.store({g.padding, false}, (position * 2 + 1) * d, d, lane);
    return;
  }
  const NumbersOut out = g.out_of(chunk);
  dk.store(out, k_to, d, lane);
  dv.store(out, v_to, d, lane);
}

// Gradients of the relative position tables: rel_h[qi, ki] = Σ over the queries of row qi of their
// sum of dS over key row ki, times the query; rel_w likewise. A thread owns one number.
template <class Unit>
struct TableGradient {
  typename Unit::Call call;  // units of whole grids or windows
  GradientCall g;
  int64_t units;
  int q_rows, q_columns;
  float* out;  // rel_h's gradient, then rel_w's
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int d = g.at.d, k_rows = g.at.bias.rows, k_columns = g.at.bias.columns;
    const int axes = k_rows + k_columns;
    const int c = static_cast<int>(i % d);
    int64_t rest = i / d;
    const bool down = rest < int64_t{q_rows} * k_rows;
    if (!down) rest -= int64_t{q_rows} * k_rows;
    const int key = static_cast<int>(rest % (down ? k_rows : k_columns));
    const int line = static_cast<int>(rest / (down ? k_rows : k_columns));
    float sum = 0;
    for (int64_t u = 0; u < units; ++u) {
      const Unit unit(call, u);
      for (int j = 0; j < (down ? q_columns : q_rows); ++j) {
        const int own = down ? line * q_columns + j : j * q_columns + line;
        const auto query = unit.query(own);
        if (query.data == nullptr) continue;
        const int even = c & ~1;
        float a = query.data[even], b = even + 1 < d ? query.data[even + 1] : 0;
        g.at.rope.rotate(query.place, even, a, b);
        const float weight = g.axes[unit.query_index(own) * axes + (down ? key : k_rows + key)];
        sum = fmaf(weight, c == even ? a : b, sum);
      }
    }
    out[i] = sum;
  }
};

}  // namespace hrsam::cuda
