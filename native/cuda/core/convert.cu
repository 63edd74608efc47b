#include "convert.h"

#include "kernel.h"

namespace hrsam::cuda {

namespace {

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

constexpr int kConvertTile = 64, kConvertThreads = 256, kConvertPitch = kConvertTile + 1;

// Tiles go through shared memory, so that x and y are both read and written in runs, four numbers a
// thread.
template <class X, class Y>
__global__ void __launch_bounds__(kConvertThreads)
    convert_columns_kernel(const X* x, Y* y, int64_t rows, int64_t columns, int64_t width) {
  x += blockIdx.y * rows * columns;
  y += blockIdx.y * rows * width;
  constexpr int kFours = kConvertTile / 4, kStep = kConvertThreads / kFours;
  auto* tile = static_cast<float*>(shared_memory());  // [kConvertTile][kConvertPitch]
  const int64_t row_tiles = divide_up(rows, kConvertTile);
  const int64_t row = blockIdx.x % row_tiles * kConvertTile,
                column = blockIdx.x / row_tiles * kConvertTile;
  const int i = static_cast<int>(threadIdx.x % kFours) * 4;
  const int first = static_cast<int>(threadIdx.x / kFours);
  for (int j = first; j < kConvertTile; j += kStep) {
    const int64_t left = column + j < columns ? rows - row - i : 0;
    const Four v =
        load_four(x + (column + j) * rows + row + i, static_cast<int>(smaller(4, larger(0, left))));
#pragma unroll
    for (int k = 0; k < 4; ++k) tile[j * kConvertPitch + i + k] = v.x[k];
  }
  __syncthreads();
  for (int j = first; j < kConvertTile && row + j < rows; j += kStep) {
    Four v;
#pragma unroll
    for (int k = 0; k < 4; ++k) v.x[k] = tile[(i + k) * kConvertPitch + j];
    store_four(y + (row + j) * width + column + i, v,
               static_cast<int>(smaller(4, larger(0, width - column - i))));
  }
}

}  // namespace

void convert_columns(cudaStream_t stream, const void* x, DType from, void* y, DType to,
                     int64_t rows, int64_t columns, int64_t width, int64_t items) {
  with_floats(from, [&](auto a) {
    with_floats(to, [&](auto b) {
      using X = decltype(a);
      using Y = decltype(b);
      const auto tiles =
          static_cast<unsigned>(divide_up(rows, kConvertTile) * divide_up(width, kConvertTile));
      launch({dim3(tiles, static_cast<unsigned>(items)), dim3(kConvertThreads),
              sizeof(float) * kConvertTile * kConvertPitch, stream},
             convert_columns_kernel<X, Y>, static_cast<const X*>(x), static_cast<Y*>(y), rows,
             columns, width);
    });
  });
}

void convert_rows(cudaStream_t stream, const void* x, DType from, void* y, DType to, int64_t rows,
                  int64_t columns, int64_t width) {
  with_floats(from, [&](auto a) {
    with_floats(to, [&](auto b) {
      using X = decltype(a);
      using Y = decltype(b);
      each(stream, rows * divide_up(width, 4),
           ConvertRows<X, Y>{static_cast<const X*>(x), static_cast<Y*>(y), columns, width});
    });
  });
}

void convert(cudaStream_t stream, const void* x, DType from, void* y, DType to, int64_t n) {
  convert_rows(stream, x, from, y, to, 1, n, n);
}

}  // namespace hrsam::cuda
