// SAM's relative position table as one vector per pair (query, key) of an axis.
#include "../plan/forward_checks.h"
#include "../plan/relative_rows.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct LookUp {
  const float* table;
  float* out;
  const RelativeRows::Rows* rows;
  int64_t width;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const RelativeRows::Rows r = rows[i / width];
    const float low = table[r.low * width + i % width];
    out[i] = r.part == 0 ? low : (1 - r.part) * low + r.part * table[r.high * width + i % width];
  }
};

}  // namespace

Op* compile_rel_pos(const Node& node, Compiler& compiler) {
  check_rel_pos(node);
  const Value& value = node.value("table");
  const int64_t q_size = node.integer("q_size"), k_size = node.integer("k_size");
  const RelativeRows source(value.dim(0), q_size, k_size);
  const int64_t pairs = q_size * k_size, width = value.dim(1);
  Block list(static_cast<size_t>(pairs) * sizeof(RelativeRows::Rows));
  for (int64_t i = 0; i < pairs; ++i) list.as<RelativeRows::Rows>()[i] = source.of(i);
  return make_op([=, table = node.operand("table"), rows = compiler.upload(list)](const Run& run) {
    each(run.stream, pairs * width,
         LookUp{run.in<float>(table), run.out<float>(), rows->as<RelativeRows::Rows>(), width});
  });
}

}  // namespace hrsam::cuda
