#include "convert.h"

#include <type_traits>

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

constexpr int kConvertTile = 64, kConvertFours = kConvertTile / 4;
constexpr int kConvertThreads = kConvertFours * kConvertFours;

// Four numbers side by side, one of each row.
HRSAM_DEVICE void gather_column(const Four (&rows)[4], int column, float4* to) {
  *to = make_float4(rows[0].x[column], rows[1].x[column], rows[2].x[column], rows[3].x[column]);
}
HRSAM_DEVICE void gather_column(const Four (&rows)[4], int column, uint2* to) {
  *to = make_uint2(pack_bf16(rows[0].x[column], rows[1].x[column]),
                   pack_bf16(rows[2].x[column], rows[3].x[column]));
}

// Threads turn squares of four by four numbers; tiles of them go through shared memory, so that x
// and y are both read and written in runs. A row of the tile in shared memory is kConvertFours
// fours, in another order for each four rows: neither writing nor reading them meets in a bank.
template <class X, class Y>
__global__ void __launch_bounds__(kConvertThreads)
    convert_columns_kernel(const X* x, Y* y, int64_t rows, int64_t columns, int64_t width) {
  using Unit = std::conditional_t<sizeof(Y) == 4, float4, uint2>;
  x += blockIdx.y * rows * columns;
  y += blockIdx.y * rows * width;
  auto* tile = static_cast<Unit*>(shared_memory());
  const int64_t row_tiles = divide_up(rows, kConvertTile);
  const int64_t row = blockIdx.x % row_tiles * kConvertTile,
                column = blockIdx.x / row_tiles * kConvertTile;
  const int i = static_cast<int>(threadIdx.x) % kConvertFours,
            j = static_cast<int>(threadIdx.x) / kConvertFours;
  const auto place = [&](int r, int four) {
    return tile + r * kConvertFours + (four ^ (r / 4 % kConvertFours));
  };
  {
    const int across = static_cast<int>(smaller(4, larger(0, rows - row - 4 * i))),
              down = static_cast<int>(smaller(4, larger(0, columns - column - 4 * j)));
    const X* from = x + (column + 4 * j) * rows + row + 4 * i;
    Four square[4];
#pragma unroll
    for (int k = 0; k < 4; ++k, from += rows) square[k] = load_four(from, k < down ? across : 0);
#pragma unroll
    for (int k = 0; k < 4; ++k) gather_column(square, k, place(4 * i + k, j));
  }
  __syncthreads();
  const int left = static_cast<int>(smaller(4, width - column - 4 * i));
  Y* to = y + (row + j) * width + column + 4 * i;
  for (int r = j; r < kConvertTile && row + r < rows; r += kConvertFours) {
    const Unit four = *place(r, i);
    if (left == 4 && is_aligned(to, sizeof(Unit))) {
      *reinterpret_cast<Unit*>(to) = four;
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < left) to[k] = reinterpret_cast<const Y*>(&four)[k];
    }
    to += kConvertFours * width;
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
              sizeof(Y) * kConvertTile * kConvertTile, stream},
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
