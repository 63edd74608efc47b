// f32 to bf16 and back, rounded to nearest even; or a copy, byte for byte. Bound by memory.
#include "../plan/forward_checks.h"
#include "core/convert.h"
#include "core/strided_copy.h"

namespace hrsam::cuda {

Op* compile_cast(const Node& node, Compiler&) {
  check_cast(node);
  const Value& value = node.value("x");
  return make_op([x = node.operand("x"), n = value.elements(), from = value.dtype,
                  to = node.result().dtype](const Run& run) {
    CopyAxes axes;
    axes.push(n, 1, 1);
    if (from == to) return strided_copy(run.stream, run.in(x), run.out(), axes, dtype_bytes(to));
    convert(run.stream, run.in(x), from, run.out(), to, n);
  });
}

}  // namespace hrsam::cuda
