// residual + activation(x·Wᵀ + bias), W as it is or transposed in memory, see gemm/. The weights of
// bf16 products are converted when the program is compiled, those of f32 products are used as they
// are.
#include <stdio.h>

#include "../plan/forward_checks.h"
#include "core/convert.h"
#include "core/runtime.h"
#include "gemm/gemm.h"

namespace hrsam::cuda {

namespace {

// Weights as the product reads them.
void pack(cudaStream_t stream, const void* weights, DType from, void* to, const Gemm& g,
          bool transposed) {
  if (transposed)
    convert_columns(stream, weights, from, to, g.type, g.n, g.k, g.b_stride);
  else
    convert_rows(stream, weights, from, to, g.type, g.n, g.k, g.b_stride);
}

}  // namespace

Op* compile_linear(const Node& node, Compiler& compiler) {
  check_linear(node);
  const Value &value = node.value("x"), &weights = node.value("weight");
  Gemm g;
  g.m = value.rows();
  const bool transposed = node.flag("transposed");
  g.n = weights.dim(transposed ? 1 : 0);
  g.k = weights.dim(transposed ? 0 : 1);
  g.type = value.dtype;
  g.a_stride = g.k;
  g.epilogue.activation = activation_of(node);
  g.epilogue.out_is_bf16 = node.result().dtype == DType::bf16;
  const int residual = node.operand_or("residual");
  if (residual >= 0) {
    g.epilogue.residual_is_bf16 = node.value("residual").dtype == DType::bf16;
    g.epilogue.residual_rows = larger(1, node.value("residual").rows());
  }
  // As the product reads them: f32 in place, else a copy.
  const bool as_is = value.dtype == DType::f32 && weights.dtype == DType::f32 && !transposed;
  const DType from = weights.dtype;
  g.b_stride = value.dtype == DType::bf16 ? gemm_padded(g.k) : g.k;
  const auto bytes = static_cast<size_t>(g.n * g.b_stride * dtype_bytes(value.dtype));
  SharedBlock packed;
  if (!as_is && weights.data != nullptr) {
    char layout[96];
    snprintf(layout, sizeof(layout), "gemm %d %d %lld %lld", static_cast<int>(value.dtype),
             transposed, static_cast<long long>(g.n), static_cast<long long>(g.k));
    bool fresh = false;
    packed = compiler.share(weights, layout, bytes, &fresh);
    if (fresh) {
      pack(compiler.stream(), weights.data, from, packed->as<void>(), g, transposed);
      gpu::wait(compiler.stream());  // the memory may go to others if a later node fails
    }
  }
  const bool convert = !as_is && packed == nullptr;  // in every run
  return make_op(convert ? bytes : 0, [=, x = node.operand("x"), weight = node.operand("weight"),
                                       bias = node.operand_or("bias")](const Run& run) {
    Gemm call = g;
    call.a = run.in(x);
    call.b = packed != nullptr ? packed->as<void>() : convert ? run.workspace : run.in(weight);
    if (convert) pack(run.stream, run.in(weight), from, run.workspace, call, transposed);
    call.epilogue.bias = run.in<float>(bias);
    call.epilogue.residual = run.in(residual);
    call.epilogue.out = run.out();
    gemm(run.stream, call);
  });
}

}  // namespace hrsam::cuda
