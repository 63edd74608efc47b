// Rows of numbers from one type to another.
#pragma once

#include "op.h"

namespace hrsam::cuda {

// y[row][0 … width) = x[row][0 … columns), zeros beyond; y's rows are `width` apart.
void convert_rows(cudaStream_t stream, const void* x, DType from, void* y, DType to, int64_t rows,
                  int64_t columns, int64_t width);
// y[row][0 … width) = x[0 … columns)[row], zeros beyond: the rows of y are x's columns. The same
// for the items that follow.
void convert_columns(cudaStream_t stream, const void* x, DType from, void* y, DType to,
                     int64_t rows, int64_t columns, int64_t width, int64_t items = 1);
// y[0 … n) = x[0 … n).
void convert(cudaStream_t stream, const void* x, DType from, void* y, DType to, int64_t n);

}  // namespace hrsam::cuda
