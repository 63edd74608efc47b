// The adjoint of rel_pos: what each pair (query, key) got from rows of the table goes back there.
//
// A task takes some columns of all pairs: they are few, and the order of the sums is theirs.
#include "../plan/gradient_checks.h"
#include "../plan/relative_rows.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class RelPosGradient : public Op {
 public:
  RelPosGradient(int dy, int64_t length, int64_t width, int64_t q_size, int64_t k_size)
      : dy_(dy),
        length_(length),
        width_(width),
        pairs_(q_size * k_size),
        rows_(length, q_size, k_size) {}

  void run(const Run& run) const override {
    const float* dy = run.in<float>(dy_);
    float* out = run.out<float>();
    run.pool.each(divide_up(width_, kWidth), [&](int64_t task, int) {
      const int64_t d = task * kWidth;
      const int n = static_cast<int>(smaller(kWidth, width_ - d));
      for (int64_t row = 0; row < length_; ++row) store_lanes(out + row * width_ + d, zero(), n);
      const auto add = [&](int64_t row, V x) {
        float* to = out + row * width_ + d;
        store_lanes(to, load_lanes(to, n) + x, n);
      };
      for (int64_t pair = 0; pair < pairs_; ++pair) {
        const RelativeRows::Rows rows = rows_.of(pair);
        const V g = load_lanes(dy + pair * width_ + d, n);
        add(rows.low, set1(1 - rows.part) * g);
        if (rows.part > 0) add(rows.high, set1(rows.part) * g);
      }
    });
  }

 private:
  int dy_;
  int64_t length_, width_, pairs_;
  RelativeRows rows_;
};

}  // namespace

Op* compile_rel_pos_gradient(const Node& node, Compiler&) {
  check_rel_pos_gradient(node);
  const Value& dy = node.value("dy");
  const int64_t length = node.integer("length");
  return new RelPosGradient(node.operand("dy"), length, dy.dim(2), dy.dim(0), dy.dim(1));
}

}  // namespace hrsam::cpu::HRSAM_ISA
