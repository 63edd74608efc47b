// Gradient of SAM's relative position table: each of its rows gets the sum over the pairs that read
// it.
#include "../plan/gradient_checks.h"
#include "../plan/relative_rows.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct SumPairs {
  const float* dy;
  float* out;
  const RelativeRows::Rows* rows;
  int64_t pairs, width;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t row = i / width, c = i % width;
    float sum = 0;
    for (int64_t pair = 0; pair < pairs; ++pair) {
      const RelativeRows::Rows r = rows[pair];
      if (r.low != row && r.high != row) continue;
      const float share = (r.low == row ? 1 - r.part : 0) + (r.high == row ? r.part : 0);
      sum = fmaf(share, dy[pair * width + c], sum);
    }
    out[i] = sum;
  }
};

}  // namespace

Op* compile_rel_pos_gradient(const Node& node, Compiler& compiler) {
  check_rel_pos_gradient(node);
  const Value& value = node.value("dy");
  const int64_t length = node.integer("length"), pairs = value.dim(0) * value.dim(1);
  const int64_t width = value.dim(2);
  const RelativeRows source(length, value.dim(0), value.dim(1));
  Block list(static_cast<size_t>(pairs) * sizeof(RelativeRows::Rows));
  for (int64_t i = 0; i < pairs; ++i) list.as<RelativeRows::Rows>()[i] = source.of(i);
  return make_op([=, dy = node.operand("dy"), rows = compiler.upload(list)](const Run& run) {
    each(run.stream, length * width,
         SumPairs{run.in<float>(dy), run.out<float>(), rows->as<RelativeRows::Rows>(), pairs,
                  width});
  });
}

}  // namespace hrsam::cuda
