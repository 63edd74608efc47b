// residual + activation(x·Wᵀ + bias) of e4m3 products on Hopper: rows of x are rounded in every
// run, those of W when the program is compiled, each with a scale of its own. See hopper/.
#include <stdio.h>

#include "../plan/forward_checks.h"
#include "core/hopper.h"
#include "core/runtime.h"
#include "hopper/launch.h"

namespace hrsam::cuda {

Op* compile_linear_fp8(const Node& node, Compiler& compiler) {
  check_linear(node);
  if (hopper_use() == HopperUse::never)
    node.fail("ERR_DEVICE",
              "fp8 products need a GPU of compute capability 9.0, and HRSAM_CUDA_WGMMA not 0");
  const Value &value = node.value("x"), &weights = node.value("weight");
  const int64_t m = value.rows(), n = weights.dim(0), k = weights.dim(1);
  if (node.flag("transposed") || weights.data == nullptr)
    node.fail("ERR_ARGUMENT", "weight: expected a constant, not transposed");
  if (m > INT32_MAX / 2 || n > INT32_MAX / 2 || k > INT32_MAX / 2)
    node.fail("ERR_SHAPE", "a product too large");
  Epilogue epilogue;
  epilogue.activation = activation_of(node);
  epilogue.out_is_bf16 = node.result().dtype == DType::bf16;
  const int residual = node.operand_or("residual");
  if (residual >= 0) {
    epilogue.residual_is_bf16 = node.value("residual").dtype == DType::bf16;
    epilogue.residual_rows = larger(1, node.value("residual").rows());
  }
  char layout[64];
  snprintf(layout, sizeof(layout), "fp8 %lld %lld", static_cast<long long>(n),
           static_cast<long long>(k));
  bool fresh = false;
  const SharedBlock packed = compiler.share(weights, layout, fp8_bytes(n, k), &fresh);
  const Fp8Rows right = fp8_rows(packed->as<void>(), n, k);
  if (fresh) {
    hopper_quantise(compiler.stream(), weights.data, weights.dtype, n, k, right);
    gpu::wait(compiler.stream());  // the memory may go to others if a later node fails
  }
  const DType type = value.dtype;
  return make_op(fp8_bytes(m, k),
                 [=, x = node.operand("x"), bias = node.operand_or("bias")](const Run& run) {
                   if (m == 0 || n == 0) return;
                   (void)packed;  // kept as long as the op
                   const Fp8Rows left = fp8_rows(run.workspace, m, k);
                   hopper_quantise(run.stream, run.in(x), type, m, k, left);
                   Fp8Gemm call{m, n, fp8_width(k), left, right, epilogue};
                   call.epilogue.bias = run.in<float>(bias);
                   call.epilogue.residual = run.in(residual);
                   call.epilogue.out = run.out();
                   hopper_fp8_gemm(run.stream, call);
                 });
}

}  // namespace hrsam::cuda
