// Gradients through SAM's decomposed relative positions: logit += q·rel_h[qi, ki] + q·rel_w[qj,
// kj]. With dS the logits' gradients of a query, the sums of dS over each row of keys (`down`) and
// over each column (`across`) are all that the query's and the tables' gradients need.
#pragma once

#include "attention_gradient_tile.h"
#include "carver.h"

namespace hrsam::cpu::HRSAM_ISA {

// down[row] += and across[column] += the dS of keys [first, first + count) of a grid.
inline void add_axis_sums(const float* ds, int64_t first, int count, int columns, float* down,
                          float* across) {
  int64_t row = first / columns;
  int column = static_cast<int>(first % columns);
  while (count > 0) {
    const int n = count < columns - column ? count : columns - column;
    V sum = zero();
    for (int j = 0; j < n; j += kWidth) {
      const V x = load_lanes(ds + j, n - j);
      float* to = across + column + j;
      store_lanes(to, load_lanes(to, n - j) + x, n - j);
      sum = sum + x;
    }
    down[row++] += reduce_add(sum);
    ds += n;
    count -= n;
    column = 0;
  }
}

// dq += factor · Σ_i sums[i] · table[i], rows of d numbers.
inline void add_table_rows(const float* sums, int count, const float* table, int d, float factor,
                           float* dq) {
  for (int c = 0; c < d; c += kWidth) {
    V total = zero();
    for (int i = 0; i < count; ++i)
      total = fma(set1(sums[i]), load_lanes(table + static_cast<int64_t>(i) * d + c, d - c), total);
    store_lanes(dq + c, fma(total, set1(factor), load_lanes(dq + c, d - c)), d - c);
  }
}

// One row of a table, [keys][d], as a sum over queries of sums ⊗ q: a product with the queries as
// the summed axis, taken kGradientGroup at a time.
class TableRow {
 public:
  static TableRow plan(Carver& carver, int keys, int width) {
    TableRow made;
    made.keys_ = keys;
    made.width_ = width;
    made.stride_ = round_up(keys, kVectorRows);
    made.sums_ = carver.take<float>(int64_t{kGradientGroup} * made.stride_);
    made.queries_ = carver.take<float>(int64_t{kGradientGroup} * width);
    made.total_ = carver.take<float>(int64_t{made.stride_} * width);
    return made;
  }
  void begin() {
    count_ = 0;
    memset(sums_, 0, sizeof(float) * static_cast<size_t>(kGradientGroup) * stride_);
    memset(total_, 0, sizeof(float) * static_cast<size_t>(stride_) * width_);
  }
  // Where the next query goes; its sums are copied.
  float* add(const float* sums) {
    if (count_ == kGradientGroup) flush();
    memcpy(sums_ + count_ * stride_, sums, sizeof(float) * static_cast<size_t>(keys_));
    return queries_ + count_++ * width_;
  }
  void finish(int d, float* to) {
    flush();
    for (int i = 0; i < keys_; ++i)
      memcpy(to + i * d, total_ + i * width_, sizeof(float) * static_cast<size_t>(d));
  }

 private:
  void flush() {
    add_transposed(sums_, stride_, keys_, queries_, width_, count_, total_);
    count_ = 0;
  }

  int keys_, width_, stride_, count_ = 0;
  float *sums_, *queries_, *total_;
};

}  // namespace hrsam::cpu::HRSAM_ISA
