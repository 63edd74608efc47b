// GELU, SiLU, ReLU or sigmoid of every element. Bound by memory.
#include "../plan/forward_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

template <class X, class Y>
struct Activate {
  const X* x;
  Y* y;
  int64_t n;
  Activation activation;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int count = static_cast<int>(smaller(4, n - 4 * i));
    Four v = load_four(x + 4 * i, count);
#pragma unroll
    for (int k = 0; k < 4; ++k) v.x[k] = activate(v.x[k], activation);
    store_four(y + 4 * i, v, count);
  }
};

}  // namespace

Op* compile_activation(const Node& node, Compiler&) {
  check_activation(node);
  const Value& value = node.value("x");
  const auto activation = activation_of(node);
  return make_op([=, x = node.operand("x"), n = value.elements(), from = value.dtype,
                  to = node.result().dtype](const Run& run) {
    with_floats(from, [&](auto a) {
      with_floats(to, [&](auto b) {
        using X = decltype(a);
        using Y = decltype(b);
        each(run.stream, divide_up(n, 4),
             Activate<X, Y>{run.in<X>(x), run.out<Y>(), n, activation});
      });
    });
  });
}

}  // namespace hrsam::cuda
