// Products of queries with relative position tables, and the sum of chunks: what comes before and
// after the attention kernels.
#pragma once

#include "attend.h"

namespace hrsam::cuda {

constexpr int kBiasThreads = 128;

// A block takes a unit's queries; a thread one product at a time.
template <class Unit, class T>
__global__ void __launch_bounds__(kBiasThreads)
    bias_products_kernel(const __grid_constant__ typename Unit::Call call, Rope rope, Bias bias,
                         const float* rel_h, const float* rel_w, float* products, int d) {
  wait_for_earlier_kernels();
  const Unit unit(call, blockIdx.x);
  if (unit.chunk() != 0) return;
  const int width = bias.rows + bias.columns;
  for (int i = static_cast<int>(threadIdx.x); i < unit.queries * width; i += kBiasThreads) {
    const int own = i / width, entry = i % width;
    const HeadRow<T> query = unit.query(own);
    if (query.data == nullptr) continue;
    const float* table =
        entry < bias.rows
            ? rel_h + (static_cast<int64_t>(query.place.row) * bias.rows + entry) * d
            : rel_w +
                  (static_cast<int64_t>(query.place.column) * bias.columns + entry - bias.rows) * d;
    float sum = 0;
    for (int c = 0; c < d; c += 2) {
      float x = to_f32(query.data[c]), y = c + 1 < d ? to_f32(query.data[c + 1]) : 0;
      rope.rotate(query.place, c, x, y);
      sum = fmaf(x, table[c], sum);
      if (c + 1 < d) sum = fmaf(y, table[c + 1], sum);
    }
    products[unit.query_index(own) * width + entry] = sum * kLog2E;
  }
}

// One number of the result from all chunks of its query.
struct MergeChunks {
  Partials partials;
  void* out;
  bool out_is_bf16;
  int64_t tokens, heads;
  int d;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t query = i / d, c = i % d;
    float largest, sum = 0;
    const float total = partials.merge(query, largest, [&](int64_t k, float scale) {
      sum = fmaf(partials.sums[(query * partials.chunks + k) * d + c], scale, sum);
    });
    const int64_t token = query % tokens, head = query / tokens % heads,
                  item = query / tokens / heads;
    const int64_t to = ((item * tokens + token) * heads + head) * d + c;
    const float value = total == 0 ? 0 : sum / total;  // NaN stays
    if (out_is_bf16)
      static_cast<bf16*>(out)[to] = from_f32<bf16>(value);
    else
      static_cast<float*>(out)[to] = value;
  }
};

}  // namespace hrsam::cuda
