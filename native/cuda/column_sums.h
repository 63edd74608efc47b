// Sums over many rows in an order that only the shape decides: chunks of rows are summed each on
// its own, then the chunks' sums are added up. A chunk is at most 512 rows, since f32 loses what is
// added to a sum of tens of thousands of rows.
#pragma once

#include <utility>

#include "core/kernel.h"

namespace hrsam::cuda {

constexpr int kSumColumns = 32;  // of a block
constexpr int kSumRows = 8;      // of threads
constexpr int64_t kSumChunk = 512;

// Two sums at once.
struct Pair {
  float x = 0, y = 0;
  HRSAM_DEVICE Pair& operator+=(const Pair& other) {
    x += other.x;
    y += other.y;
    return *this;
  }
};
// A sum of chunks' sums.
struct DoubleSum {
  double x = 0, y = 0;
  HRSAM_DEVICE void add(float value) { x += static_cast<double>(value); }
  HRSAM_DEVICE void add(const Pair& value) {
    x += static_cast<double>(value.x);
    y += static_cast<double>(value.y);
  }
  HRSAM_DEVICE void get(float& value) const { value = static_cast<float>(x); }
  HRSAM_DEVICE void get(Pair& value) const {
    value.x = static_cast<float>(x);
    value.y = static_cast<float>(y);
  }
};
// What f sums: float or Pair.
template <class F>
using SumOf = decltype(std::declval<const F&>().at(0, 0));

inline int64_t sum_chunks(int64_t rows) { return divide_up(larger(1, rows), kSumChunk); }
// Bytes that sum_columns needs.
template <class Sum = float>
size_t sum_workspace(int64_t rows, int64_t columns) {
  return sizeof(Sum) * static_cast<size_t>(sum_chunks(rows) * columns);
}

template <class F>
__global__ void __launch_bounds__(kSumColumns* kSumRows)
    column_sums_kernel(const __grid_constant__ F f, int64_t rows, int64_t columns,
                       SumOf<F>* partial) {
  wait_for_earlier_kernels();
  auto* shared = static_cast<SumOf<F>*>(shared_memory());  // [kSumRows][kSumColumns]
  const int lane = static_cast<int>(threadIdx.x % kSumColumns);
  const int own = static_cast<int>(threadIdx.x / kSumColumns);
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSumColumns + lane;
  const int64_t begin = blockIdx.y * kSumChunk, end = smaller(rows, begin + kSumChunk);
  SumOf<F> sum{};
  if (column < columns)
    for (int64_t row = begin + own; row < end; row += kSumRows) sum += f.at(row, column);
  shared[own * kSumColumns + lane] = sum;
  __syncthreads();
  if (own != 0 || column >= columns) return;
  for (int i = 1; i < kSumRows; ++i) sum += shared[i * kSumColumns + lane];
  partial[blockIdx.y * columns + column] = sum;
}

template <class F>
struct AddChunks {
  F f;
  const SumOf<F>* partial;
  int64_t chunks, columns;
  HRSAM_DEVICE void operator()(int64_t column) const {
    DoubleSum sum;
    for (int64_t k = 0; k < chunks; ++k) sum.add(partial[k * columns + column]);
    SumOf<F> result;
    sum.get(result);
    f.put(column, result);
  }
};

// f.put(column, sum over rows of f.at(row, column)).
template <class F>
void sum_columns(cudaStream_t stream, int64_t rows, int64_t columns, void* workspace, const F& f) {
  auto* partial = static_cast<SumOf<F>*>(workspace);
  const int64_t chunks = sum_chunks(rows);
  if (chunks > 65535) plan::fail("ERR_SHAPE", "at most %lld rows", 65535LL * kSumChunk);
  launch(
      {dim3(static_cast<unsigned>(divide_up(columns, kSumColumns)), static_cast<unsigned>(chunks)),
       dim3(kSumColumns * kSumRows), sizeof(SumOf<F>) * kSumColumns * kSumRows, stream},
      column_sums_kernel<F>, f, rows, columns, partial);
  each(stream, columns, AddChunks<F>{f, partial, chunks, columns});
}

}  // namespace hrsam::cuda
