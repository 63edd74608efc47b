// LayerNorm over the last axis with what follows it: y = act((x − mean) / sqrt(variance + eps) ·
// weight + bias) · gate. A warp owns a row and keeps it in registers up to 1024 channels. Bound by
// memory.
#include "../plan/forward_checks.h"
#include "moments.h"

namespace hrsam::cuda {

namespace {

constexpr int kRowsPerBlock = 4;

struct NormAfter {
  const float *weight, *bias;
  const void* gate;  // or null
  bool gate_is_bf16;
  Activation activation;
  float eps;
};

template <class X, class Y, bool kHeld>
__global__ void __launch_bounds__(kWarp* kRowsPerBlock)
    layer_norm_kernel(const X* x, Y* y, const __grid_constant__ NormAfter after, int64_t rows,
                      int channels) {
  wait_for_earlier_kernels();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  if (at >= rows) return;  // a whole warp
  const WarpRow<X, kHeld> row(x + at * channels, channels, static_cast<int>(threadIdx.x % kWarp));
  const Moments m = moments(row, after.eps);
  row.each([&](int column, int n, const Four& v) {
    const Four weight = load_four(after.weight + column, n),
               bias = load_four(after.bias + column, n);
    Four gate{{1, 1, 1, 1}};
    const int64_t first = at * channels + column;
    if (after.gate != nullptr)
      gate = after.gate_is_bf16 ? load_four(static_cast<const bf16*>(after.gate) + first, n)
                                : load_four(static_cast<const float*>(after.gate) + first, n);
    Four out;
#pragma unroll
    for (int k = 0; k < 4; ++k)
      out.x[k] = activate(fmaf(m.normalised(v.x[k]), weight.x[k], bias.x[k]), after.activation) *
                 gate.x[k];
    store_four(y + first, out, n);
  });
}

}  // namespace

Op* compile_layer_norm(const Node& node, Compiler&) {
  check_layer_norm(node);
  const Value& value = node.value("x");
  const DType from = value.dtype, to = node.result().dtype;
  const int64_t rows = value.rows();
  const int channels = static_cast<int>(value.dim(-1));
  const int x = node.operand("x"), weight = node.operand("weight"), bias = node.operand("bias");
  const int gate = node.operand_or("gate");
  NormAfter after{};
  after.gate_is_bf16 = gate >= 0 && node.value("gate").dtype == DType::bf16;
  after.activation = activation_of(node);
  after.eps = static_cast<float>(node.number("eps"));
  return make_op([=](const Run& run) {
    NormAfter call = after;
    call.weight = run.in<float>(weight);
    call.bias = run.in<float>(bias);
    call.gate = run.in(gate);
    const Launch at{dim3(static_cast<unsigned>(divide_up(rows, kRowsPerBlock))),
                    dim3(kWarp * kRowsPerBlock), 0, run.stream};
    with_floats(from, [&](auto a) {
      with_floats(to, [&](auto b) {
        using X = decltype(a);
        using Y = decltype(b);
        launch(at,
               channels <= 4 * kWarp * kRowFours ? layer_norm_kernel<X, Y, true>
                                                 : layer_norm_kernel<X, Y, false>,
               run.in<X>(x), run.out<Y>(), call, rows, channels);
      });
    });
  });
}

}  // namespace hrsam::cuda
