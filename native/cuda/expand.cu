// One item repeated over the leading axis.
#include "../plan/forward_checks.h"
#include "core/strided_copy.h"

namespace hrsam::cuda {

Op* compile_expand(const Node& node, Compiler&) {
  check_expand(node);
  const Value& x = node.value("x");
  CopyAxes axes;
  axes.push(x.elements(), 1, 1);
  axes.push(node.result().dims[0], 0, x.elements());
  return make_op([=, x = node.operand("x"), bytes = dtype_bytes(x.dtype)](const Run& run) {
    strided_copy(run.stream, run.in(x), run.out(), axes, bytes);
  });
}

}  // namespace hrsam::cuda
