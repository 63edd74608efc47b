// a·bᵀ of f32 batches: the decoder's product of its mask weights with the upscaled map. See gemm/.
//
// The gradient of those weights sums over all of the map's pixels for a few results, which one
// block would do alone: such depths are cut.
#include "../plan/forward_checks.h"
#include "add_parts.h"
#include "gemm/gemm.h"

namespace hrsam::cuda {

namespace {

constexpr int64_t kFewResults = 16384, kDeep = 2048, kChunk = 1024;

void multiply_in_chunks(cudaStream_t stream, const Gemm& whole, float* products, int64_t chunk) {
  const int64_t size = whole.m * whole.n, full = whole.k / chunk;
  const int64_t chunks = divide_up(whole.k, chunk);
  for (int64_t item = 0; item < whole.batch; ++item) {
    Gemm part = whole;
    part.a = static_cast<const float*>(whole.a) + item * whole.a_batch;
    part.b = static_cast<const float*>(whole.b) + item * whole.b_batch;
    part.epilogue.out = products + item * chunks * size;
    part.batch = full;
    part.k = part.a_batch = part.b_batch = chunk;
    gemm(stream, part);
    if (full == chunks) continue;
    part.a = static_cast<const float*>(part.a) + full * chunk;
    part.b = static_cast<const float*>(part.b) + full * chunk;
    part.epilogue.out = products + (item * chunks + full) * size;
    part.batch = 1;
    part.k = whole.k % chunk;
    gemm(stream, part);
  }
  each(stream, whole.batch * size, AddParts{products, chunks, size, {whole.epilogue.out, false}});
}

}  // namespace

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
  if (g.batch > 65535)
    node.fail("ERR_SHAPE", "a: at most 65535 items on a GPU, not %lld",
              static_cast<long long>(g.batch));
  const bool cut = g.m * g.n <= kFewResults && g.k >= kDeep;
  const int64_t chunk = part_length(g.k, kChunk), chunks = cut ? divide_up(g.k, chunk) : 0;
  const size_t workspace = sizeof(float) * static_cast<size_t>(g.batch * chunks * g.m * g.n);
  return make_op(workspace, [=, a = node.operand("a"), b = node.operand("b")](const Run& run) {
    Gemm call = g;
    call.a = run.in(a);
    call.b = run.in(b);
    call.epilogue.out = run.out();
    if (cut)
      multiply_in_chunks(run.stream, call, static_cast<float*>(run.workspace), chunk);
    else
      gemm(run.stream, call);
  });
}

}  // namespace hrsam::cuda
