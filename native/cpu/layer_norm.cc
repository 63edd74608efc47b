// LayerNorm over the last axis with what follows it: y = act((x − mean) / sqrt(variance + eps) ·
// weight + bias) · gate.
//
// A row is read three times (mean; variance around it; result), the second and third time from the
// L1 cache, so memory is the bound.
#include "../plan/forward_checks.h"
#include "moments.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class LayerNorm : public Op {
 public:
  LayerNorm(const Node& node)
      : x_(node.operand("x")),
        weight_(node.operand("weight")),
        bias_(node.operand("bias")),
        gate_(node.operand_or("gate")),
        rows_(node.value("x").rows()),
        channels_(static_cast<int>(node.value("x").dim(-1))),
        x_type_(node.value("x").dtype),
        y_type_(node.result().dtype),
        gate_type_(gate_ < 0 ? DType::f32 : node.value("gate").dtype),
        eps_(static_cast<float>(node.number("eps"))),
        activation_(activation_of(node)) {}

  void run(const Run& run) const override {
    if (x_type_ == DType::f32)
      y_type_ == DType::f32 ? all_rows<float, float>(run) : all_rows<float, bf16>(run);
    else
      y_type_ == DType::f32 ? all_rows<bf16, float>(run) : all_rows<bf16, bf16>(run);
  }

 private:
  template <class X, class Y>
  void all_rows(const Run& run) const {
    const X* x = run.in<X>(x_);
    Y* y = run.out<Y>();
    each_block(run.pool, rows_, channels_ * static_cast<int64_t>(sizeof(X) + sizeof(Y)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i)
                   row(x + i * channels_, y + i * channels_, i * channels_, run);
               });
  }

  template <class X, class Y>
  void row(const X* x, Y* y, int64_t offset, const Run& run) const {
    const Moments m = moments(x, channels_, eps_);
    const float* weight = run.in<float>(weight_);
    const float* bias = run.in<float>(bias_);
    each_vector(
        channels_,
        [&](int c, int n) {
          const V z =
              fma(normalised(load_n(x + c, n), m), load_n(weight + c, n), load_n(bias + c, n));
          store_n(y + c, gated(activate(z, activation_), offset + c, n, run), n);
        },
        [&](int c) {
          const V z = fma(normalised(load(x + c), m), load(weight + c), load(bias + c));
          store(y + c, gated(activate(z, activation_), offset + c, kWidth, run));
        });
  }

  V gated(V z, int64_t at, int n, const Run& run) const {
    if (gate_ < 0) return z;
    return z * (gate_type_ == DType::f32 ? load_n(run.in<float>(gate_) + at, n)
                                         : load_n(run.in<bf16>(gate_) + at, n));
  }

  int x_, weight_, bias_, gate_;
  int64_t rows_;
  int channels_;
  DType x_type_, y_type_, gate_type_;
  float eps_;
  Activation activation_;
};

}  // namespace

Op* compile_layer_norm(const Node& node, Compiler&) {
  check_layer_norm(node);
  return new LayerNorm(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA
