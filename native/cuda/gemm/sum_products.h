// Products whose depth was cut: the chunks' sums, added up in order.
#pragma once

#include "../core/kernel.h"

namespace hrsam::cuda {

struct SumProducts {
  const float* products;  // [item][count][size]
  float* out;             // [item][size]
  int64_t count, size;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const float* first = products + i / size * count * size + i % size;
    float sum = 0;
    for (int64_t k = 0; k < count; ++k) sum += first[k * size];
    out[i] = sum;
  }
};

}  // namespace hrsam::cuda
