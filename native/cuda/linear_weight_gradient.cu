// dyᵀ·x: the gradient of a linear's weight, (N, K). Both operands are transposed first, padded with
// zeros to whole chunks of rows; each chunk is a product of its own (see gemm/), and the chunks'
// sums are added up in order.
#include "../plan/gradient_checks.h"
#include "add_parts.h"
#include "carver.h"
#include "core/convert.h"
#include "gemm/gemm.h"

namespace hrsam::cuda {

namespace {

constexpr int64_t kRowChunk = 512;
constexpr int64_t kMostChunks = 16;  // longer ones beyond

struct WeightWorkspace {
  void *dy, *x;
  float* products;
};

}  // namespace

Op* compile_linear_weight_gradient(const Node& node, Compiler&) {
  check_linear_weight_gradient(node);
  const Value &x_value = node.value("x"), &dy_value = node.value("dy");
  const DType type = x_value.dtype;
  const int64_t rows = x_value.rows(), n = dy_value.dim(-1), k = x_value.dim(-1);
  const int64_t chunk =
      gemm_padded(larger(1, larger(smaller(rows, kRowChunk), divide_up(rows, kMostChunks))));
  const int64_t chunks = larger(1, divide_up(rows, chunk)), padded = chunks * chunk;
  const auto plan = [=](void* memory, size_t* bytes) {
    Carver carver(memory);
    WeightWorkspace w{};
    w.dy = carver.take<char>(n * padded * dtype_bytes(type));
    w.x = carver.take<char>(k * padded * dtype_bytes(type));
    w.products = carver.take<float>(chunks > 1 ? chunks * n * k : 0);
    if (bytes != nullptr) *bytes = carver.bytes();
    return w;
  };
  size_t workspace = 0;
  plan(nullptr, &workspace);
  return make_op(workspace, [=, x = node.operand("x"), dy = node.operand("dy")](const Run& run) {
    const WeightWorkspace w = plan(run.workspace, nullptr);
    convert_columns(run.stream, run.in(dy), type, w.dy, type, n, rows, padded);
    convert_columns(run.stream, run.in(x), type, w.x, type, k, rows, padded);
    Gemm g;
    g.m = n;
    g.n = k;
    g.k = chunk;
    g.type = type;
    g.a = w.dy;
    g.b = w.x;
    g.a_stride = g.b_stride = padded;
    g.batch = chunks;
    g.a_batch = g.b_batch = chunk;
    g.epilogue.out = chunks > 1 ? w.products : run.out<float>();
    gemm(run.stream, g);
    if (chunks > 1)
      each(run.stream, n * k, AddParts{w.products, chunks, n * k, {run.out(), false}});
  });
}

}  // namespace hrsam::cuda
