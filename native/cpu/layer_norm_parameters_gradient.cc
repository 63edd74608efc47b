// Gradients of LayerNorm's weight, the sum over rows of dy · (x − mean) / sqrt(variance + eps), and
// of its bias, the sum of dy.
#include "../plan/gradient_checks.h"
#include "chunked_sum.h"
#include "moments.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class LayerNormParametersGradient : public Op {
 public:
  explicit LayerNormParametersGradient(const Node& node)
      : x_(node.operand("x")),
        dy_(node.operand("dy")),
        types_{node.value("x").dtype, node.value("dy").dtype},
        rows_(node.value("x").rows()),
        channels_(static_cast<int>(node.value("x").dim(-1))),
        eps_(static_cast<float>(node.number("eps"))) {}

  void run(const Run& run) const override {
    with_floats(types_[0], [&](auto x) {
      with_floats(types_[1], [&](auto dy) { sum<decltype(x), decltype(dy)>(run); });
    });
  }

 private:
  static constexpr int kGroup = 8;  // rows that share a load and a store of the sums

  template <class X, class Dy>
  void sum(const Run& run) const {
    const X* x = run.in<X>(x_);
    const Dy* dy = run.in<Dy>(dy_);
    const SumShape shape{rows_, channels_ * static_cast<int64_t>(sizeof(X) + sizeof(Dy)),
                         2 * channels_, 2 * channels_};
    sum_chunks(run.pool, shape, run.out<float>(),
               [&](int64_t row, int64_t end, int64_t, int64_t, float* sums) {
                 for (; row + kGroup <= end; row += kGroup)
                   add_rows<kGroup>(x + row * channels_, dy + row * channels_, sums);
                 for (; row < end; ++row)
                   add_rows<1>(x + row * channels_, dy + row * channels_, sums);
               });
  }

  template <int kCount, class X, class Dy>
  void add_rows(const X* x, const Dy* dy, float* sums) const {
    Moments m[kCount];
    for (int i = 0; i < kCount; ++i) m[i] = moments(x + i * channels_, channels_, eps_);
    const auto add = [&](int c, int n) {
      V weight = zero(), bias = zero();
      for (int i = 0; i < kCount; ++i) {
        const V g = load_lanes(dy + i * channels_ + c, n);
        weight = fma(g, normalised(load_lanes(x + i * channels_ + c, n), m[i]), weight);
        bias = bias + g;
      }
      store_lanes(sums + c, load_lanes(sums + c, n) + weight, n);
      store_lanes(sums + channels_ + c, load_lanes(sums + channels_ + c, n) + bias, n);
    };
    each_vector(channels_, add, [&](int c) { add(c, kWidth); });
  }

  int x_, dy_;
  DType types_[2];
  int64_t rows_;
  int channels_;
  float eps_;
};

}  // namespace

Op* compile_layer_norm_parameters_gradient(const Node& node, Compiler&) {
  check_layer_norm_parameters_gradient(node);
  return new LayerNormParametersGradient(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA
