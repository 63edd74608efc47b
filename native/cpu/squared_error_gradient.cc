// Gradient of the mean squared error: 2 (x − target) / n · dy of the sample.
#include "../plan/gradient_checks.h"
#include "samples.h"
#include "simd.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class SquaredErrorGradient : public Op {
 public:
  SquaredErrorGradient(const Node& node, const Value& x)
      : x_(node.operand("x")),
        target_(node.operand("target")),
        dy_(node.operand("dy")),
        samples_(x.dim(0)),
        length_(x.elements() / larger(1, samples_)) {}

  void run(const Run& run) const override {
    each_piece(run.pool, samples_, length_, 12, [&](int64_t sample, int64_t begin, int64_t end) {
      const float* x = run.in<float>(x_) + sample * length_;
      const float* target = run.in<float>(target_) + sample * length_;
      float* out = run.out<float>() + sample * length_;
      const V scale = set1(2 * run.in<float>(dy_)[sample] / static_cast<float>(length_));
      for (int64_t i = begin; i < end; i += kWidth) {
        const int n = static_cast<int>(smaller(kWidth, end - i));
        store_lanes(out + i, scale * (load_lanes(x + i, n) - load_lanes(target + i, n)), n);
      }
    });
  }

 private:
  int x_, target_, dy_;
  int64_t samples_, length_;
};

}  // namespace

Op* compile_squared_error_gradient(const Node& node, Compiler&) {
  check_sample_loss_gradient(node, "x", "target");
  const Value& x = node.value("x");
  return new SquaredErrorGradient(node, x);
}

}  // namespace hrsam::cpu::HRSAM_ISA
