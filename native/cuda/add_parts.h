// Sums whose terms were dealt out to several blocks: the blocks' parts, added up in order.
#pragma once

#include "core/kernel.h"

namespace hrsam::cuda {

// Terms of a part: `least` of them, or more where a grid's y would not hold so many parts.
constexpr int64_t kMostParts = 65535;
constexpr int64_t part_length(int64_t terms, int64_t least) {
  return least * divide_up(terms, least * kMostParts);
}

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
