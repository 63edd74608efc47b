// Sums whose terms were dealt out to several blocks: the blocks' parts, added up in order.
#pragma once

#include "core/kernel.h"

namespace hrsam::cuda {

struct AddParts {
  const float* parts;  // [item][count][size]
  int64_t count, size;
  NumbersOut out;  // [item][size], from `at` on
  int64_t at = 0;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const float* first = parts + i / size * count * size + i % size;
    float sum = 0;
    for (int64_t k = 0; k < count; ++k) sum += first[k * size];
    out.put(at + i, sum);
  }
};

}  // namespace hrsam::cuda
