// x[start:end] along one axis.
#include "../plan/joins.h"
#include "core/strided_copy.h"

namespace hrsam::cuda {

Op* compile_slice(const Node& node, Compiler&) {
  const SliceShape s = read_slice(node);
  CopyAxes axes;
  axes.push(s.run, 1, 1);
  axes.push(s.outer, s.x_run, s.run);
  return make_op(
      [=, x = node.operand("x"), bytes = dtype_bytes(node.result().dtype)](const Run& run) {
        strided_copy(run.stream, run.in<char>(x) + s.start * bytes, run.out(), axes, bytes);
      });
}

}  // namespace hrsam::cuda
