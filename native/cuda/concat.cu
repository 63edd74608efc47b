// Operands x0, x1, … joined along one axis.
#include <string>
#include <vector>

#include "../plan/joins.h"
#include "core/strided_copy.h"

namespace hrsam::cuda {

Op* compile_concat(const Node& node, Compiler&) {
  const int64_t bytes = dtype_bytes(node.result().dtype);
  struct Part {
    int operand;
    int64_t offset;
    CopyAxes axes;
  };
  std::vector<Part> parts;
  each_part(node, [&](const JoinedPart& part) {
    CopyAxes axes;
    axes.push(part.run, 1, 1);
    axes.push(part.outer, part.run, part.result_run);
    parts.push_back({part.operand, part.offset, axes});
  });
  return make_op([=](const Run& run) {
    for (const Part& part : parts) {
      const char* from = run.in<char>(part.operand);
      char* to = run.out<char>() + part.offset * bytes;
      if (from != to)  // or it was computed in its place
        strided_copy(run.stream, from, to, part.axes, bytes);
    }
  });
}

}  // namespace hrsam::cuda
