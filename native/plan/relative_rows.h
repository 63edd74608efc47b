// Which rows of SAM's relative position table a pair (query, key) of an axis reads. Coordinates are
// float32 as in the reference, since they are truncated to indices.
#pragma once

#include <math.h>

#include "integers.h"

namespace HRSAM_OPS {

class RelativeRows {
 public:
  RelativeRows(int64_t length, int64_t q_size, int64_t k_size)
      : length_(length), rows_(2 * larger(q_size, k_size) - 1), k_size_(k_size) {
    q_step_ = static_cast<float>(larger(q_size, k_size)) / static_cast<float>(q_size);
    k_step_ = static_cast<float>(larger(q_size, k_size)) / static_cast<float>(k_size);
    // Rounded once, as Segment Anything adds it: in f32 it could fall below a whole number.
    shift_ = static_cast<float>(
        static_cast<double>(k_size - 1) *
        (static_cast<double>(larger(q_size, k_size)) / static_cast<double>(k_size)));
  }

  // (1 − part)·table[low] + part·table[high]; part is 0 where the table has a row per distance.
  struct Rows {
    int64_t low, high;
    float part;
  };
  Rows of(int64_t pair) const {
    // Products are rounded before they are subtracted: in double they are exact, and no compiler
    // can make one operation of both.
    const auto product = [](int64_t at, float step) {
      return static_cast<float>(static_cast<double>(at) * static_cast<double>(step));
    };
    const float i = product(pair / k_size_, q_step_), j = product(pair % k_size_, k_step_);
    const int64_t index = static_cast<int64_t>((i - j) + shift_);
    if (rows_ == length_) return {index, index, 0};
    // A row of the table resized linearly to all distances there are.
    const float scale = static_cast<float>(length_) / static_cast<float>(rows_);
    const float source = fmaxf(0, scale * (static_cast<float>(index) + 0.5f) - 0.5f);
    const int64_t low = smaller(length_ - 1, static_cast<int64_t>(source));
    return {low, smaller(length_ - 1, low + 1), source - static_cast<float>(low)};
  }

 private:
  int64_t length_, rows_, k_size_;
  float q_step_, k_step_, shift_;
};

}  // namespace HRSAM_OPS
