// Rows of numbers from one type to another.
#pragma once

#include "core/kernel.h"

namespace hrsam::cuda {

// y[row][0 … width) = x[row][0 … columns), zeros beyond; y's rows are `width` apart.
template <class X, class Y>
struct ConvertRows {
  const X* x;
  Y* y;
  int64_t columns, width;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t quads = divide_up(width, 4), row = i / quads, column = i % quads * 4;
    const int from = static_cast<int>(smaller(4, larger(0, columns - column)));
    const Four v = load_four(x + row * columns + column, from);
    store_four(y + row * width + column, v, static_cast<int>(smaller(4, width - column)));
  }
};

// y[row][0 … width) = x[0 … columns)[row], zeros beyond: the rows of y are x's columns.
template <class X, class Y>
struct ConvertColumns {
  const X* x;
  Y* y;
  int64_t rows, columns, width;
  HRSAM_DEVICE void operator()(int64_t i) const {
    // Neighbouring threads read neighbours.
    const int64_t row = i % rows, column = i / rows;
    const float value = column < columns ? to_f32(x[column * rows + row]) : 0;
    y[row * width + column] = from_f32<Y>(value);
  }
};

inline void convert_columns(cudaStream_t stream, const void* x, DType from, void* y, DType to,
                            int64_t rows, int64_t columns, int64_t width) {
  with_floats(from, [&](auto a) {
    with_floats(to, [&](auto b) {
      using X = decltype(a);
      using Y = decltype(b);
      each(
          stream, rows * width,
          ConvertColumns<X, Y>{static_cast<const X*>(x), static_cast<Y*>(y), rows, columns, width});
    });
  });
}

inline void convert_rows(cudaStream_t stream, const void* x, DType from, void* y, DType to,
                         int64_t rows, int64_t columns, int64_t width) {
  with_floats(from, [&](auto a) {
    with_floats(to, [&](auto b) {
      using X = decltype(a);
      using Y = decltype(b);
      each(stream, rows * divide_up(width, 4),
           ConvertRows<X, Y>{static_cast<const X*>(x), static_cast<Y*>(y), columns, width});
    });
  });
}

inline void convert(cudaStream_t stream, const void* x, DType from, void* y, DType to, int64_t n) {
  convert_rows(stream, x, from, y, to, 1, n, n);
}

}  // namespace hrsam::cuda
