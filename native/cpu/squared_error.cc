// The mean squared error of every sample.
#include "../plan/gradient_checks.h"
#include "samples.h"
#include "simd.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

float sum_of_squares(const float* x, const float* target, int64_t n) {
  V sum = zero();
  for (int64_t i = 0; i < n; i += kWidth) {
    const int lanes = static_cast<int>(smaller(kWidth, n - i));
    const V d = load_lanes(x + i, lanes) - load_lanes(target + i, lanes);
    sum = fma(d, d, sum);
  }
  return reduce_add(sum);
}

class SquaredError : public Op {
 public:
  SquaredError(const Node& node, const Value& x)
      : x_(node.operand("x")),
        target_(node.operand("target")),
        samples_(x.dim(0)),
        length_(x.elements() / larger(1, samples_)) {}

  void run(const Run& run) const override {
    const float* x = run.in<float>(x_);
    const float* target = run.in<float>(target_);
    each_sample<1>(
        run.pool, samples_, length_,
        [&](int64_t begin, int64_t end, double* sums) {
          constexpr int64_t kRun = 256;  // as much as f32 sums up without loss
          *sums = 0;
          for (int64_t i = begin; i < end; i += kRun)
            *sums += static_cast<double>(sum_of_squares(x + i, target + i, smaller(kRun, end - i)));
        },
        [&](int64_t sample, const double* sums) {
          run.out<float>()[sample] =
              static_cast<float>(*sums / static_cast<double>(larger(1, length_)));
        });
  }

 private:
  int x_, target_;
  int64_t samples_, length_;
};

}  // namespace

Op* compile_squared_error(const Node& node, Compiler&) {
  check_sample_loss(node, "x", "target");
  const Value& x = node.value("x");
  return new SquaredError(node, x);
}

}  // namespace hrsam::cpu::HRSAM_ISA
