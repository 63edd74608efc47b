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
  HRSAM_DEVICE float at(const float* query, const Place& key) const {
    return query[key.row] + query[rows + key.column];
  }
  HRSAM_DEVICE const float* of(int64_t query) const { return products + query * (rows + columns); }
};

// One chunk's share of a query's result: statistics and sums, not yet divided.
struct Partials {
  float* statistics = nullptr;  // [query][chunk][2]: largest logit, sum of powers; or null
  float* sums = nullptr;        // [query][chunk][d]
  int64_t chunks = 1;
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
