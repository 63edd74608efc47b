// Depthwise k×k convolution, channels last, zero padding, stride 1. A thread owns four channels of
// one pixel; neighbouring pixels' threads read the same lines through the L1 cache. Bound by
// memory.
#include "../plan/forward_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

template <class X, class Y>
struct Convolve {
  const X* x;
  const float* weight;  // (C, 1, k, k)
  Y* y;
  int64_t height, width, channels;
  int kernel;
  bool flip;

  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t quads = divide_up(channels, 4), c = i % quads * 4, pixel = i / quads;
    const int n = static_cast<int>(smaller(4, channels - c));
    const int64_t column = pixel % width, row = pixel / width % height;
    const int64_t image = pixel / (width * height) * height * width;
    const int reach = kernel / 2, taps = kernel * kernel;
    Four sums{};
    for (int dy = -reach; dy <= reach; ++dy) {
      if (row + dy < 0 || row + dy >= height) continue;
      for (int dx = -reach; dx <= reach; ++dx) {
        if (column + dx < 0 || column + dx >= width) continue;
        const int tap = (dy + reach) * kernel + dx + reach;
        const Four v = load_four(x + (image + (row + dy) * width + column + dx) * channels + c, n);
#pragma unroll
        for (int k = 0; k < 4; ++k)
          if (k < n)
            sums.x[k] =
                fmaf(v.x[k], weight[(c + k) * taps + (flip ? taps - 1 - tap : tap)], sums.x[k]);
      }
    }
    store_four(y + pixel * channels + c, sums, n);
  }
};

}  // namespace

Op* compile_depthwise_conv(const Node& node, Compiler&) {
  check_depthwise_conv(node);
  const Value& value = node.value("x");
  const DType from = value.dtype, to = node.result().dtype;
  const int64_t height = value.dim(1), width = value.dim(2), channels = value.dim(3);
  const int kernel = static_cast<int>(node.value("weight").dim(3));
  const int64_t count = value.dim(0) * height * width * divide_up(channels, 4);
  return make_op([=, x = node.operand("x"), weight = node.operand("weight"),
                  flip = node.flag("flip")](const Run& run) {
    with_floats(from, [&](auto a) {
      with_floats(to, [&](auto b) {
        using X = decltype(a);
        using Y = decltype(b);
        each(run.stream, count,
             Convolve<X, Y>{run.in<X>(x), run.in<float>(weight), run.out<Y>(), height, width,
                            channels, kernel, flip});
      });
    });
  });
}

}  // namespace hrsam::cuda
