#include "convert.h"

#include <type_traits>

#include "kernel.h"

namespace hrsam::cuda {

namespace {

template <class X, class Y>
struct ConvertAll {
  const X* x;
  Y* y;
  int64_t n;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int count = static_cast<int>(smaller(4, n - 4 * i));
    store_four(y + 4 * i, load_four(x + 4 * i, count), count);
  }
};

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

// A row's four numbers as they are read, and four numbers side by side, one of each row.
HRSAM_DEVICE void read_row(const float* from, int n, Four* row) { *row = load_four(from, n); }
HRSAM_DEVICE void read_row(const bf16* from, int n, Four* row) { *row = load_four(from, n); }
HRSAM_DEVICE void read_row(const bf16* from, int n, uint2* row) {
  if (n == 4 && is_aligned(from, sizeof(uint2))) {
    *row = *reinterpret_cast<const uint2*>(from);
    return;
  }
  const auto at = [&](int i) { return i < n ? uint32_t{from[i]} : 0u; };
  *row = make_uint2(at(0) | at(1) << 16, at(2) | at(3) << 16);
}
HRSAM_DEVICE float4 gather_column(const Four (&rows)[4], int column, float4) {
  return make_float4(rows[0].x[column], rows[1].x[column], rows[2].x[column], rows[3].x[column]);
}
HRSAM_DEVICE uint2 gather_column(const Four (&rows)[4], int column, uint2) {
  return make_uint2(pack_bf16(rows[0].x[column], rows[1].x[column]),
                    pack_bf16(rows[2].x[column], rows[3].x[column]));
}
HRSAM_DEVICE uint2 gather_column(const uint2 (&rows)[4], int column, uint2) {
  const auto pair = [&](const uint2& above, const uint2& below) {
    const uint32_t x = column < 2 ? above.x : above.y, y = column < 2 ? below.x : below.y;
    return column % 2 == 0 ? (x & 0xffff) | y << 16 : x >> 16 | (y & 0xffff0000u);
  };
  return make_uint2(pair(rows[0], rows[1]), pair(rows[2], rows[3]));
}

// Threads turn squares of four by four numbers; tiles of them go through shared memory, so that x
// and y are both read and written in runs. A row of the tile in shared memory is kConvertFours
// fours, in another order for each four rows: neither writing nor reading them meets in a bank.
template <class X, class Y>
__global__ void __launch_bounds__(kConvertThreads)
    convert_columns_kernel(const X* x, Y* y, int64_t rows, int64_t columns, int64_t width) {
  wait_for_earlier_kernels();
  using Row = std::conditional_t<sizeof(X) + sizeof(Y) == 4, uint2, Four>;
  using Unit = std::conditional_t<sizeof(Y) == 4, float4, uint2>;
  x += blockIdx.y * rows * columns;
  y += blockIdx.y * rows * width;
  auto* tile = static_cast<Unit*>(shared_memory());
  const auto row_tiles = static_cast<uint32_t>(divide_up(rows, kConvertTile));
  const int64_t row = int64_t{blockIdx.x % row_tiles} * kConvertTile,
                column = int64_t{blockIdx.x / row_tiles} * kConvertTile;
  const uint32_t i = threadIdx.x % kConvertFours, j = threadIdx.x / kConvertFours;
  // Of what is left of x's rows and columns, and of y's width.
  const auto few = [](int64_t left) { return static_cast<int>(smaller(4, larger(0, left))); };
  {
    const int across = few(rows - row - 4 * i), down = few(columns - column - 4 * j);
    const X* from = x + (column + 4 * j) * rows + row + 4 * i;
    Row square[4];
#pragma unroll
    for (int k = 0; k < 4; ++k, from += rows) read_row(from, k < down ? across : 0, &square[k]);
    Unit* to = tile + 4 * i * kConvertFours + (i ^ j);
#pragma unroll
    for (int k = 0; k < 4; ++k) to[k * kConvertFours] = gather_column(square, k, Unit{});
  }
  __syncthreads();
  const int across = few(width - column - 4 * i);
  Y* to = y + (row + j) * width + column + 4 * i;
#pragma unroll
  for (uint32_t r = 0; r < kConvertTile; r += kConvertFours, to += kConvertFours * width) {
    if (row + j + r >= rows) return;
    const Unit four = tile[(j + r) * kConvertFours + (i ^ (j + r) / 4)];
    if (across == 4 && is_aligned(to, sizeof(Unit))) {
      *reinterpret_cast<Unit*>(to) = four;
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < across) to[k] = reinterpret_cast<const Y*>(&four)[k];
    }
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
      const auto* in = static_cast<const X*>(x);
      auto* out = static_cast<Y*>(y);
      if (columns == width)
        each(stream, divide_up(rows * columns, 4), ConvertAll<X, Y>{in, out, rows * columns});
      else
        each(stream, rows * divide_up(width, 4), ConvertRows<X, Y>{in, out, columns, width});
    });
  });
}

void convert(cudaStream_t stream, const void* x, DType from, void* y, DType to, int64_t n) {
  convert_rows(stream, x, from, y, to, 1, n, n);
}

}  // namespace hrsam::cuda
