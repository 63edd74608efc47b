// (B, h, w, k·k·C), last axis ordered (row in the block, column, channel) → (B, k·h, k·w, C): the
// second half of a transposed convolution whose stride is its kernel's size.
#include "../plan/forward_checks.h"
#include "core/strided_copy.h"

namespace hrsam::cuda {

Op* compile_depth_to_space(const Node& node, Compiler&) {
  check_depth_to_space(node);
  const Value& x = node.value("x");
  const int64_t block = node.integer("block"), width = x.dim(2), run_length = x.dim(3) / block;
  CopyAxes axes;  // a row of k·C values stays together
  axes.push(run_length, 1, 1);
  axes.push(width, x.dim(3), run_length);
  axes.push(block, run_length, width * run_length);
  axes.push(x.dim(0) * x.dim(1), width * x.dim(3), width * x.dim(3));
  return make_op([=, x = node.operand("x"), bytes = dtype_bytes(x.dtype)](const Run& run) {
    strided_copy(run.stream, run.in(x), run.out(), axes, bytes);
  });
}

}  // namespace hrsam::cuda
