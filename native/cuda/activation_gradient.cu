// dy · act′(x) of every element, x being the activation's argument. Bound by memory.
#include "../plan/gradient_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct Slope {
  Numbers x, dy;
  NumbersOut dx;
  Activation activation;

  HRSAM_DEVICE static float slope(float x, Activation activation) {
    switch (activation) {
      case Activation::gelu: {
        const float density = 0.398942280f * ::expf(-0.5f * x * x);
        return fmaf(x, density, 0.5f * (1.0f + ::erff(x * 0.707106781f)));
      }
      case Activation::silu: {
        const float s = sigmoid(x);
        return s * fmaf(x, sigmoid(-x), 1.0f);
      }
      case Activation::relu:
        return x > 0 ? 1.0f : 0.0f;
      case Activation::sigmoid:
        return sigmoid(x) * sigmoid(-x);
      default:
        return 1.0f;
    }
  }
  HRSAM_DEVICE void operator()(int64_t i) const {
    dx.put(i, dy.at(i) * slope(x.at(i), activation));
  }
};

}  // namespace

Op* compile_activation_gradient(const Node& node, Compiler&) {
  check_activation_gradient(node);
  const auto activation = activation_of(node);
  const Value& result = node.result();
  return make_op([=, x = node.operand("x"), dy = node.operand("dy"), from = node.value("x").dtype,
                  above = node.value("dy").dtype, to = result.dtype,
                  n = result.elements()](const Run& run) {
    each(run.stream, n,
         Slope{numbers_of(run.in(x), from), numbers_of(run.in(dy), above),
               numbers_to(run.out(), to), activation});
  });
}

}  // namespace hrsam::cuda
