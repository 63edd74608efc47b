// a·bᵀ of f32 batches: the decoder's product of its mask weights with the upscaled map. See gemm/.
#include "../plan/forward_checks.h"
#include "gemm/gemm.h"

namespace hrsam::cuda {

Op* compile_matmul(const Node& node, Compiler&) {
  check_matmul(node);
  const Value& result = node.result();
  Gemm g;
  g.batch = result.dims[0];
  g.m = result.dims[1];
  g.n = result.dims[2];
  g.k = node.value("a").dims[2];
  g.a_stride = g.b_stride = g.k;
  g.a_batch = g.m * g.k;
  g.b_batch = node.value("b").dims[0] == 1 ? 0 : g.n * g.k;
  if (g.batch > 65535) node.fail("ERR_SHAPE", "a: at most 65535 items");
  return make_op([=, a = node.operand("a"), b = node.operand("b")](const Run& run) {
    Gemm call = g;
    call.a = run.in(a);
    call.b = run.in(b);
    call.epilogue.out = run.out();
    gemm(run.stream, call);
  });
}

}  // namespace hrsam::cuda
