// f32 to bf16 and back, rounded to nearest even. Bound by memory.
#include "../plan/forward_checks.h"
#include "convert.h"

namespace hrsam::cuda {

Op* compile_cast(const Node& node, Compiler&) {
  check_cast(node);
  const Value& value = node.value("x");
  return make_op([x = node.operand("x"), n = value.elements(), from = value.dtype,
                  to = node.result().dtype](const Run& run) {
    convert(run.stream, run.in(x), from, run.out(), to, n);
  });
}

}  // namespace hrsam::cuda
