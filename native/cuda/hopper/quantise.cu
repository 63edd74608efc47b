// Rows of numbers to e4m3, a warp for each. Bound by memory.
#include "../core/ptx_hopper.h"
#include "launch.h"

namespace hrsam::cuda {

namespace {

constexpr float kLargest = 448.0f;  // of e4m3
constexpr float kSmallestScale = 1e-30f;
constexpr int kRowsOfBlock = 8;

HRSAM_DEVICE float largest_of_warp(float x) {
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, mask));
  return x;
}

template <class X>
__global__ void __launch_bounds__(kRowsOfBlock* kWarp)
    quantise_kernel(const X* x, int64_t rows, int64_t columns, int64_t width, const Fp8Rows to) {
  wait_for_earlier_kernels();
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t row = blockIdx.x * int64_t{kRowsOfBlock} + threadIdx.x / kWarp;
  if (row >= rows) return;  // the whole warp
  const X* from = x + row * columns;
  float largest = 0;
  for (int64_t i = 4 * lane; i < columns; i += 4 * kWarp) {
    const Four v = load_four(from + i, static_cast<int>(smaller(4, columns - i)));
#pragma unroll
    for (int k = 0; k < 4; ++k) largest = fmaxf(largest, fabsf(v.x[k]));
  }
  largest = largest_of_warp(largest);
  // Not so small that its inverse is infinite. Infinities make NaN of their row, as a sum with them
  // would.
  const float scale = fmaxf(largest / kLargest, kSmallestScale);
  const float inverse = 1.0f / scale;
  auto* pairs = reinterpret_cast<uint16_t*>(to.numbers + row * width);
  for (int64_t i = 4 * lane; i < width; i += 4 * kWarp) {
    const auto count = static_cast<int>(larger(0, smaller(4, columns - i)));
    const Four v = load_four(from + (count > 0 ? i : 0), count);
    pairs[i / 2] = pack_e4m3(v.x[0] * inverse, v.x[1] * inverse);
    pairs[i / 2 + 1] = pack_e4m3(v.x[2] * inverse, v.x[3] * inverse);
  }
  if (lane == 0) to.scales[row] = scale;
}

}  // namespace

void hopper_quantise(cudaStream_t stream, const void* x, DType type, int64_t rows, int64_t columns,
                     const Fp8Rows& to) {
  if (rows == 0) return;
  const dim3 blocks(static_cast<unsigned>(divide_up(rows, kRowsOfBlock)));
  with_floats(type, [&](auto number) {
    using X = decltype(number);
    launch({blocks, dim3(kRowsOfBlock * kWarp), 0, stream}, quantise_kernel<X>,
           static_cast<const X*>(x), rows, columns, fp8_width(columns), to);
  });
}

}  // namespace hrsam::cuda
