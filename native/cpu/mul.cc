// a · b, element by element.
#include "../plan/forward_checks.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class Mul : public Op {
 public:
  explicit Mul(const Node& node)
      : a_(node.operand("a")),
        b_(node.operand("b")),
        types_{node.value("a").dtype, node.value("b").dtype, node.result().dtype},
        elements_(node.result().elements()) {}

  void run(const Run& run) const override {
    with_floats(types_[0], [&](auto first) {
      with_floats(types_[1], [&](auto second) {
        with_floats(types_[2], [&](auto result) {
          const auto* a = run.in<decltype(first)>(a_);
          const auto* b = run.in<decltype(second)>(b_);
          auto* y = run.out<decltype(result)>();
          each_piece(run.pool, 1, elements_, 12, [&](int64_t, int64_t begin, int64_t end) {
            map_vectors(
                y + begin, end - begin, [](V v, V w) { return v * w; }, a + begin, b + begin);
          });
        });
      });
    });
  }

 private:
  int a_, b_;
  DType types_[3];
  int64_t elements_;
};

}  // namespace

Op* compile_mul(const Node& node, Compiler&) {
  check_mul(node);
  return new Mul(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA
