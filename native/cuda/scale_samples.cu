// x · scale, one number for each sample. Bound by memory.
#include "../plan/forward_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

template <class X, class Y>
struct Scale {
  const X* x;
  const float* scale;
  Y* y;
  int64_t length, quads;  // of a sample
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t sample = i / quads, at = 4 * (i % quads);
    const int count = static_cast<int>(smaller(4, length - at));
    Four v = load_four(x + sample * length + at, count);
#pragma unroll
    for (int k = 0; k < 4; ++k) v.x[k] *= scale[sample];
    store_four(y + sample * length + at, v, count);
  }
};

}  // namespace

Op* compile_scale_samples(const Node& node, Compiler&) {
  check_scale_samples(node);
  const Value& value = node.value("x");
  const DType types[] = {value.dtype, node.result().dtype};
  const int64_t samples = value.dim(0), length = value.elements() / larger(1, samples);
  return make_op([=, x = node.operand("x"), scale = node.operand("scale")](const Run& run) {
    with_floats(types[0], [&](auto from) {
      with_floats(types[1], [&](auto to) {
        using X = decltype(from);
        using Y = decltype(to);
        const int64_t quads = divide_up(length, 4);
        each(run.stream, samples * quads,
             Scale<X, Y>{run.in<X>(x), run.in<float>(scale), run.out<Y>(), length, quads});
      });
    });
  });
}

}  // namespace hrsam::cuda
