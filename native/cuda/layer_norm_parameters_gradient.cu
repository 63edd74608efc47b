// Gradients of LayerNorm's weight and bias: the sums over rows of dy · x̂ and of dy. The rows'
// moments are taken first, so that the sums can run along columns. Bound by memory.
#include "../plan/gradient_checks.h"
#include "column_sums.h"
#include "moments.h"

namespace hrsam::cuda {

namespace {

constexpr int kRowsPerBlock = 4;

template <class X>
__global__ void __launch_bounds__(kWarp* kRowsPerBlock)
    moments_kernel(const X* x, Moments* out, int64_t rows, int channels, float eps) {
  wait_for_earlier_kernels();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  if (at >= rows) return;  // a whole warp
  const WarpRow<X, false> row(x + at * channels, channels, static_cast<int>(threadIdx.x % kWarp));
  const Moments m = moments(row, eps);
  if (threadIdx.x % kWarp == 0) out[at] = m;
}

// Of weight and of bias.
struct Parameters {
  Numbers x, dy;
  const Moments* moments;
  float* out;
  int64_t channels;
  HRSAM_DEVICE Pair at(int64_t row, int64_t column) const {
    const int64_t i = row * channels + column;
    const float above = dy.at(i);
    return {above * moments[row].normalised(x.at(i)), above};
  }
  HRSAM_DEVICE void put(int64_t column, const Pair& sum) const {
    out[column] = sum.x;
    out[channels + column] = sum.y;
  }
};

}  // namespace

Op* compile_layer_norm_parameters_gradient(const Node& node, Compiler&) {
  check_layer_norm_parameters_gradient(node);
  const Value& value = node.value("x");
  const int64_t rows = value.rows(), channels = value.dim(-1);
  const size_t sums = (sum_workspace<Pair>(rows, channels) + 255) / 256 * 256;
  return make_op(
      sums + sizeof(Moments) * static_cast<size_t>(rows),
      [=, x = node.operand("x"), dy = node.operand("dy"), from = value.dtype,
       above = node.value("dy").dtype,
       eps = static_cast<float>(node.number("eps"))](const Run& run) {
        auto* list = reinterpret_cast<Moments*>(static_cast<char*>(run.workspace) + sums);
        with_floats(from, [&](auto type) {
          using X = decltype(type);
          launch({dim3(static_cast<unsigned>(divide_up(rows, kRowsPerBlock))),
                  dim3(kWarp * kRowsPerBlock), 0, run.stream},
                 moments_kernel<X>, run.in<X>(x), list, rows, static_cast<int>(channels), eps);
        });
        sum_columns(run.stream, rows, channels, run.workspace,
                    Parameters{numbers_of(run.in(x), from), numbers_of(run.in(dy), above), list,
                               run.out<float>(), channels});
      });
}

}  // namespace hrsam::cuda
