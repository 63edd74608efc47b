// dy · act′(x) of every element, x being the activation's argument.
#include "../plan/gradient_checks.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

HRSAM_INLINE V slope(V x, Activation activation) {
  switch (activation) {
    case Activation::gelu: {
      const V density = set1(0.398942280f) * exp(set1(-0.5f) * x * x);
      return fma(x, density, normal_cdf(x));
    }
    case Activation::silu: {
      const V s = sigmoid(x);
      return s * fma(x, sigmoid(-x), set1(1));
    }
    case Activation::relu:
      return select_greater(x, zero(), set1(1), zero());
    case Activation::sigmoid:
      return sigmoid(x) * sigmoid(-x);
    default:
      return set1(1);
  }
}

class ActivationGradient : public Op {
 public:
  ActivationGradient(const Node& node, Activation activation)
      : x_(node.operand("x")),
        dy_(node.operand("dy")),
        types_{node.value("x").dtype, node.value("dy").dtype, node.result().dtype},
        elements_(node.result().elements()),
        activation_(activation) {}

  void run(const Run& run) const override {
    with_floats(types_[0], [&](auto from) {
      with_floats(types_[1], [&](auto above) {
        with_floats(types_[2], [&](auto to) {
          const auto* x = run.in<decltype(from)>(x_);
          const auto* dy = run.in<decltype(above)>(dy_);
          auto* dx = run.out<decltype(to)>();
          each_piece(run.pool, 1, elements_, 12, [&](int64_t, int64_t begin, int64_t end) {
            map_vectors(
                dx + begin, end - begin,
                [activation = activation_](V v, V d) { return d * slope(v, activation); },
                x + begin, dy + begin);
          });
        });
      });
    });
  }

 private:
  int x_, dy_;
  DType types_[3];
  int64_t elements_;
  Activation activation_;
};

}  // namespace

Op* compile_activation_gradient(const Node& node, Compiler&) {
  check_activation_gradient(node);
  return new ActivationGradient(node, activation_of(node));
}

}  // namespace hrsam::cpu::HRSAM_ISA
