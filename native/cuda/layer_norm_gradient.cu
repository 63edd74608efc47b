// Gradient of LayerNorm's argument: with x̂ the normalised row and g = dy · weight,
//   dx = (g − mean(g) − x̂ · mean(g · x̂)) / deviation.
// A warp owns a row. Bound by memory.
#include "../plan/gradient_checks.h"
#include "moments.h"

namespace hrsam::cuda {

namespace {

constexpr int kRowsPerBlock = 4;

template <class X, bool kHeld>
__global__ void __launch_bounds__(kWarp* kRowsPerBlock)
    layer_norm_gradient_kernel(const X* x, Numbers dy, const float* weight, NumbersOut dx,
                               int64_t rows, int channels, float eps) {
  wait_for_earlier_kernels();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  if (at >= rows) return;  // a whole warp
  const int64_t first = at * channels;
  const WarpRow<X, kHeld> row(x + first, channels, static_cast<int>(threadIdx.x % kWarp));
  const Moments m = moments(row, eps);
  float sum = 0, product = 0;
  row.each([&](int column, int n, const Four& v) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k >= n) break;
      const float g = dy.at(first + column + k) * weight[column + k];
      sum += g;
      product = fmaf(g, m.normalised(v.x[k]), product);
    }
  });
  const float scale = 1.0f / static_cast<float>(channels);
  const float mean = warp_sum(sum) * scale, slope = warp_sum(product) * scale;
  row.each([&](int column, int n, const Four& v) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k >= n) break;
      const float g = dy.at(first + column + k) * weight[column + k];
      dx.put(first + column + k, (g - mean - m.normalised(v.x[k]) * slope) * m.factor);
    }
  });
}

}  // namespace

Op* compile_layer_norm_gradient(const Node& node, Compiler&) {
  check_layer_norm_gradient(node);
  const Value& value = node.value("x");
  const int64_t rows = value.rows();
  const int channels = static_cast<int>(value.dim(-1));
  return make_op([=, x = node.operand("x"), weight = node.operand("weight"),
                  dy = node.operand("dy"), from = value.dtype, above = node.value("dy").dtype,
                  to = node.result().dtype,
                  eps = static_cast<float>(node.number("eps"))](const Run& run) {
    with_floats(from, [&](auto type) {
      using X = decltype(type);
      launch({dim3(static_cast<unsigned>(divide_up(rows, kRowsPerBlock))),
              dim3(kWarp * kRowsPerBlock), 0, run.stream},
             channels <= 4 * kWarp * kRowFours ? layer_norm_gradient_kernel<X, true>
                                               : layer_norm_gradient_kernel<X, false>,
             run.in<X>(x), numbers_of(run.in(dy), above), run.in<float>(weight),
             numbers_to(run.out(), to), rows, channels, eps);
    });
  });
}

}  // namespace hrsam::cuda
