// SAM's relative position table as one vector per pair (query, key) of an axis.
#include "../plan/forward_checks.h"
#include "../plan/relative_rows.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class RelPos : public Op {
 public:
  RelPos(int table, int64_t length, int64_t width, int64_t q_size, int64_t k_size)
      : table_(table), width_(width), pairs_(q_size * k_size), rows_(length, q_size, k_size) {}

  void run(const Run& run) const override {
    const float* table = run.in<float>(table_);
    float* out = run.out<float>();
    each_block(run.pool, pairs_, width_ * 8, [&](int64_t begin, int64_t end) {
      for (int64_t pair = begin; pair < end; ++pair) {
        const RelativeRows::Rows rows = rows_.of(pair);
        const float* low = table + rows.low * width_;
        const float* high = table + rows.high * width_;
        float* to = out + pair * width_;
        if (rows.part == 0) {
          memcpy(to, low, static_cast<size_t>(width_) * sizeof(float));
          continue;
        }
        for (int64_t d = 0; d < width_; ++d) to[d] = (1 - rows.part) * low[d] + rows.part * high[d];
      }
    });
  }

 private:
  int table_;
  int64_t width_, pairs_;
  RelativeRows rows_;
};

}  // namespace

Op* compile_rel_pos(const Node& node, Compiler&) {
  check_rel_pos(node);
  const Value& table = node.value("table");
  const int64_t q_size = node.integer("q_size"), k_size = node.integer("k_size");
  return new RelPos(node.operand("table"), table.dim(0), table.dim(1), q_size, k_size);
}

}  // namespace hrsam::cpu::HRSAM_ISA
