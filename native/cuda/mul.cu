// a · b, element by element. Bound by memory.
#include "../plan/forward_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

template <class A, class B, class Y>
struct Multiply {
  const A* a;
  const B* b;
  Y* y;
  int64_t n;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int count = static_cast<int>(smaller(4, n - 4 * i));
    Four v = load_four(a + 4 * i, count);
    const Four w = load_four(b + 4 * i, count);
#pragma unroll
    for (int k = 0; k < 4; ++k) v.x[k] *= w.x[k];
    store_four(y + 4 * i, v, count);
  }
};

}  // namespace

Op* compile_mul(const Node& node, Compiler&) {
  check_mul(node);
  const DType types[] = {node.value("a").dtype, node.value("b").dtype, node.result().dtype};
  return make_op([=, a = node.operand("a"), b = node.operand("b"),
                  n = node.result().elements()](const Run& run) {
    with_floats(types[0], [&](auto first) {
      with_floats(types[1], [&](auto second) {
        with_floats(types[2], [&](auto result) {
          using A = decltype(first);
          using B = decltype(second);
          using Y = decltype(result);
          each(run.stream, divide_up(n, 4),
               Multiply<A, B, Y>{run.in<A>(a), run.in<B>(b), run.out<Y>(), n});
        });
      });
    });
  });
}

}  // namespace hrsam::cuda
