// Sums over many rows in an order that only the shape decides: chunks of rows are summed each on
// its own, then the chunks' sums are added up. A chunk is at most kChunkRows, since f32 loses what
// is added to a sum of tens of thousands of rows.
#pragma once

#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

struct SumShape {
  int64_t rows;
  int64_t row_bytes;  // read per row
  int64_t columns;    // sums per row
  int64_t block;      // of columns that a task takes on
};

// The sum of `count` vectors of n lanes that are `stride` apart.
HRSAM_INLINE V sum_column(const float* from, int64_t stride, int64_t count, int n) {
  constexpr int kSums = 8;
  V sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = zero();
  for (int64_t i = 0; i < count; ++i)
    sums[i % kSums] = sums[i % kSums] + load_lanes(from + i * stride, n);
  for (int step = kSums / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) sums[i] = sums[i] + sums[i + step];
  return sums[0];
}

// add(begin, end, first, last, sums) adds what the rows [begin, end) give to the columns [first,
// last) of sums; result: (columns). Uses the pool's scratch memory.
template <class F>
void sum_chunks(Pool& pool, const SumShape& shape, float* result, F&& add) {
  constexpr int64_t kTasks = 64, kChunkRows = 512;
  if (shape.columns == 0) return;
  const int64_t blocks = divide_up(shape.columns, shape.block);
  const int64_t wanted =  // for tasks of a sensible size
      smaller(divide_up(kTasks, blocks), divide_up(shape.rows * shape.row_bytes, kTaskBytes));
  const int64_t chunks =
      larger(larger(1, smaller(shape.rows, wanted)), divide_up(shape.rows, kChunkRows));
  float* partial = result;
  if (chunks > 1) {
    pool.reserve(static_cast<size_t>(chunks * shape.columns) * sizeof(float));
    partial = static_cast<float*>(pool.scratch(0));
  }
  pool.each(chunks * blocks, [&](int64_t task, int) {
    const int64_t chunk = task / blocks, first = task % blocks * shape.block;
    const int64_t last = smaller(shape.columns, first + shape.block);
    float* sums = partial + chunk * shape.columns;
    memset(sums + first, 0, static_cast<size_t>(last - first) * sizeof(float));
    add(shape.rows * chunk / chunks, shape.rows * (chunk + 1) / chunks, first, last, sums);
  });
  if (chunks == 1) return;
  const int64_t vectors = divide_up(shape.columns, kWidth);
  each_block(pool, vectors, chunks * kWidth * 4, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin * kWidth; c < smaller(shape.columns, end * kWidth); c += kWidth) {
      const int n = static_cast<int>(smaller(kWidth, shape.columns - c));
      store_lanes(result + c, sum_column(partial + c, shape.columns, chunks, n), n);
    }
  });
}

}  // namespace hrsam::cpu::HRSAM_ISA
