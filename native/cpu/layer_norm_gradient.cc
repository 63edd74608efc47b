// Gradient of LayerNorm's argument. With n = (x − mean)·factor and g = dy·weight:
// factor · (g − mean(g) − n·mean(g·n)).
#include "../plan/gradient_checks.h"
#include "moments.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class LayerNormGradient : public Op {
 public:
  explicit LayerNormGradient(const Node& node)
      : x_(node.operand("x")),
        weight_(node.operand("weight")),
        dy_(node.operand("dy")),
        types_{node.value("x").dtype, node.value("dy").dtype, node.result().dtype},
        rows_(node.value("x").rows()),
        channels_(static_cast<int>(node.value("x").dim(-1))),
        eps_(static_cast<float>(node.number("eps"))) {}

  void run(const Run& run) const override {
    with_floats(types_[0], [&](auto x) {
      with_floats(types_[1], [&](auto dy) {
        with_floats(types_[2],
                    [&](auto dx) { all_rows<decltype(x), decltype(dy), decltype(dx)>(run); });
      });
    });
  }

 private:
  template <class X, class Dy, class Dx>
  void all_rows(const Run& run) const {
    const X* x = run.in<X>(x_);
    const Dy* dy = run.in<Dy>(dy_);
    Dx* dx = run.out<Dx>();
    const int64_t bytes = channels_ * static_cast<int64_t>(sizeof(X) + sizeof(Dy) + sizeof(Dx));
    each_block(run.pool, rows_, bytes, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * channels_; i < end * channels_; i += channels_)
        row(x + i, run.in<float>(weight_), dy + i, dx + i);
    });
  }

  // dx may be dy: each vector is read for the last time before it is written.
  template <class X, class Dy, class Dx>
  void row(const X* x, const float* weight, const Dy* dy, Dx* dx) const {
    const Moments m = moments(x, channels_, eps_);
    V sum = zero(), product = zero();
    for_all([&](int c, int n) {
      const V g = load_lanes(dy + c, n) * load_lanes(weight + c, n);  // 0 past the end
      sum = sum + g;
      product = fma(g, normalised(load_lanes(x + c, n), m), product);
    });
    const V mean = set1(reduce_add(sum) / static_cast<float>(channels_));
    const V slope = set1(reduce_add(product) / static_cast<float>(channels_));
    const V factor = set1(m.factor);
    for_all([&](int c, int n) {
      const V g = load_lanes(dy + c, n) * load_lanes(weight + c, n);
      store_lanes(dx + c, factor * (g - fma(normalised(load_lanes(x + c, n), m), slope, mean)), n);
    });
  }

  template <class F>
  void for_all(F&& f) const {
    each_vector(channels_, f, [&](int c) { f(c, kWidth); });
  }

  int x_, weight_, dy_;
  DType types_[3];
  int64_t rows_;
  int channels_;
  float eps_;
};

}  // namespace

Op* compile_layer_norm_gradient(const Node& node, Compiler&) {
  check_layer_norm_gradient(node);
  return new LayerNormGradient(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA
