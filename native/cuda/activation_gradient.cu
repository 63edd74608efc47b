// dy · act′(x) of every element, x being the activation's argument. Bound by memory.
#include "../plan/gradient_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct Slope {
  Numbers x, dy;
  NumbersOut dx;
  int64_t n;
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
    const int count = static_cast<int>(smaller(4, n - 4 * i));
    Four v = load_four(x, 4 * i, count);
    const Four above = load_four(dy, 4 * i, count);
#pragma unroll
    for (int k = 0; k < 4; ++k) v.x[k] = above.x[k] * slope(v.x[k], activation);
    store_four(dx, 4 * i, v, count);
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
    each(run.stream, divide_up(n, 4),
         Slope{numbers_of(run.in(x), from), numbers_of(run.in(dy), above),
               numbers_to(run.out(), to), n, activation});
  });
}

}  // namespace hrsam::cuda
