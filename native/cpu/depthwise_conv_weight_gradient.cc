// Gradient of a depthwise convolution's weight: for every tap the sum over pixels of dy times the
// pixel of x that the tap saw.
#include "../plan/gradient_checks.h"
#include "chunked_sum.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int kVectors = 4;

// sums += Σ over `count` pixels of x·dy, for some channels; the last vector has `lanes` of them.
template <int vectors, class X, class Dy>
void add_products(const X* x, const Dy* dy, int64_t count, int64_t channels, int lanes,
                  float* sums) {
  V sum[vectors];
  for (int v = 0; v < vectors; ++v) sum[v] = zero();
  for (int64_t i = 0; i < count; ++i, x += channels, dy += channels)
    for (int v = 0; v < vectors; ++v)
      sum[v] = fma(load_lanes(x + v * kWidth, vectors == 1 ? lanes : kWidth),
                   load_lanes(dy + v * kWidth, vectors == 1 ? lanes : kWidth), sum[v]);
  for (int v = 0; v < vectors; ++v) {
    const int n = vectors == 1 ? lanes : kWidth;
    store_lanes(sums + v * kWidth, load_lanes(sums + v * kWidth, n) + sum[v], n);
  }
}

class DepthwiseConvWeightGradient : public Op {
 public:
  DepthwiseConvWeightGradient(const Node& node, const Value& x, int64_t kernel)
      : x_(node.operand("x")),
        dy_(node.operand("dy")),
        types_{x.dtype, node.value("dy").dtype},
        batch_(x.dim(0)),
        height_(x.dim(1)),
        width_(x.dim(2)),
        channels_(x.dim(3)),
        kernel_(kernel),
        sums_(static_cast<size_t>(kernel * kernel * channels_) * sizeof(float)) {}

  void run(const Run& run) const override {
    with_floats(types_[0], [&](auto x) {
      with_floats(types_[1], [&](auto dy) { sum<decltype(x), decltype(dy)>(run); });
    });
    const float* sums = sums_.as<float>();
    float* out = run.out<float>();
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t tap = 0; tap < kernel_ * kernel_; ++tap) *out++ = sums[tap * channels_ + c];
  }

 private:
  template <class X, class Dy>
  void sum(const Run& run) const {
    const int64_t taps = kernel_ * kernel_;
    const int64_t bytes = width_ * channels_ * static_cast<int64_t>(sizeof(X) + sizeof(Dy));
    const SumShape shape{batch_ * height_, bytes * kernel_, taps * channels_, taps * channels_};
    sum_chunks(run.pool, shape, sums_.as<float>(),
               [&](int64_t begin, int64_t end, int64_t, int64_t, float* sums) {
                 for (int64_t row = begin; row < end; ++row)
                   add_row(run.in<X>(x_), run.in<Dy>(dy_), row, sums);
               });
  }

  // A row of one of the images.
  template <class X, class Dy>
  void add_row(const X* x, const Dy* dy, int64_t row, float* sums) const {
    const int64_t reach = kernel_ / 2, y = row % height_;
    for (int64_t i = larger(0, reach - y); i < smaller(kernel_, height_ + reach - y); ++i) {
      const X* seen = x + (row + i - reach) * width_ * channels_;
      const Dy* result = dy + row * width_ * channels_;
      for (int64_t j = larger(0, reach - width_ + 1); j < smaller(kernel_, width_ + reach); ++j) {
        const int64_t left = larger(0, reach - j);  // columns whose tap lies inside
        const int64_t count = smaller(width_, width_ + reach - j) - left;
        add_tap(seen + (left + j - reach) * channels_, result + left * channels_, count,
                sums + (i * kernel_ + j) * channels_);
      }
    }
  }

  template <class X, class Dy>
  void add_tap(const X* x, const Dy* dy, int64_t count, float* sums) const {
    int64_t c = 0;
    for (; c + kVectors * kWidth <= channels_; c += kVectors * kWidth)
      add_products<kVectors>(x + c, dy + c, count, channels_, kWidth, sums + c);
    for (; c < channels_; c += kWidth)
      add_products<1>(x + c, dy + c, count, channels_,
                      static_cast<int>(smaller(kWidth, channels_ - c)), sums + c);
  }

  int x_, dy_;
  DType types_[2];
  int64_t batch_, height_, width_, channels_, kernel_;
  Block sums_;  // (k·k, C)
};

}  // namespace

Op* compile_depthwise_conv_weight_gradient(const Node& node, Compiler&) {
  check_depthwise_conv_weight_gradient(node);
  const Value& x = node.value("x");
  const int64_t kernel = node.integer("kernel");
  return new DepthwiseConvWeightGradient(node, x, kernel);
}

}  // namespace hrsam::cpu::HRSAM_ISA
