// Depthwise k×k convolution, channels last, zero padding, stride 1. A thread owns four channels of
// one pixel; neighbouring pixels' threads read the same lines through the L1 cache, and weights
// that were turned first: as they are, each of a warp's would lie in a line of its own. Bound by
// memory.
#include "../plan/forward_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

// (C, 1, k, k) → (k, k, C), or from the last tap to the first.
struct TurnWeights {
  const float* weight;
  float* turned;
  int channels, taps;
  bool flip;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int c = static_cast<int>(i) % channels, tap = static_cast<int>(i) / channels;
    turned[i] = weight[static_cast<int64_t>(c) * taps + (flip ? taps - 1 - tap : tap)];
  }
};

template <class X, class Y>
struct Convolve {
  const X* x;
  const float* weight;  // (k, k, C)
  Y* y;
  int64_t height, width, channels;
  int kernel;

  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t quads = divide_up(channels, 4), c = i % quads * 4, pixel = i / quads;
    const int n = static_cast<int>(smaller(4, channels - c));
    const int64_t column = pixel % width, row = pixel / width % height;
    const int64_t image = pixel / (width * height) * height * width;
    const int reach = kernel / 2;
    Four sums{};
    for (int dy = -reach; dy <= reach; ++dy) {
      if (row + dy < 0 || row + dy >= height) continue;
      for (int dx = -reach; dx <= reach; ++dx) {
        if (column + dx < 0 || column + dx >= width) continue;
        const int64_t tap = (dy + reach) * kernel + dx + reach;
        const Four w = load_four(weight + tap * channels + c, n);
        const Four v = load_four(x + (image + (row + dy) * width + column + dx) * channels + c, n);
#pragma unroll
        for (int k = 0; k < 4; ++k) sums.x[k] = fmaf(v.x[k], w.x[k], sums.x[k]);
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
  const int64_t weights = channels * kernel * kernel;
  return make_op(sizeof(float) * static_cast<size_t>(weights),
                 [=, x = node.operand("x"), weight = node.operand("weight"),
                  flip = node.flag("flip")](const Run& run) {
                   auto* turned = static_cast<float*>(run.workspace);
                   each(run.stream, weights,
                        TurnWeights{run.in<float>(weight), turned, static_cast<int>(channels),
                                    kernel * kernel, flip});
                   with_floats(from, [&](auto a) {
                     with_floats(to, [&](auto b) {
                       using X = decltype(a);
                       using Y = decltype(b);
                       each(run.stream, count,
                            Convolve<X, Y>{run.in<X>(x), turned, run.out<Y>(), height, width,
                                           channels, kernel});
                     });
                   });
                 });
}

}  // namespace hrsam::cuda
