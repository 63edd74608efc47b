// What the attention kernels are called with, whoever attends to whom.
#pragma once

#include "rope.h"

namespace hrsam::cuda {

// SAM's decomposed relative positions: logit(query, key) += q·rel_h[qi, ki] + q·rel_w[qj, kj], q
// unscaled. The products of each query with all key rows, then with all key columns, are taken
// beforehand, in units of log 2; the kernels only add two of them.
struct Bias {
  const float* products = nullptr;  // [query][rows + columns], or null
  int rows = 0, columns = 0;
  // A place behind the last key's row gets that row's.
  HRSAM_DEVICE float at(const float* query, const Place& key) const {
    return query[key.row < rows ? key.row : rows - 1] + query[rows + key.column];
  }
  HRSAM_DEVICE const float* of(int64_t query) const { return products + query * (rows + columns); }
};

// One chunk's share of a query's result: statistics and sums, not yet divided.
struct Partials {
  float* statistics = nullptr;  // [query][chunk][2]: largest logit, sum of powers; or null
  float* sums = nullptr;        // [query][chunk][d]
  int64_t chunks = 1;

  // A query's largest logit and sum of powers over all chunks; f(chunk, what its sums count).
  template <class F>
  HRSAM_DEVICE float merge(int64_t query, float& largest, F&& f) const {
    const float* own = statistics + query * chunks * 2;
    largest = kMasked;
    for (int64_t k = 0; k < chunks; ++k) largest = fmaxf(largest, own[2 * k]);
    float total = 0;
    for (int64_t k = 0; k < chunks; ++k) {
      const float scale = exp2_fast(own[2 * k] - largest);
      total = fmaf(own[2 * k + 1], scale, total);
      f(k, scale);
    }
    return total;
  }
};

struct AttendCall {
  Rope rope;
  Bias bias;
  Partials partials;
  void* out;
  bool out_is_bf16;
  float scale;  // log2(e) / sqrt(d)
  int d;
};

}  // namespace hrsam::cuda
