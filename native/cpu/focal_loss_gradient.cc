// Gradient of the normalised focal loss with respect to the logits; the normaliser, computed again,
// counts as a constant.
#include "../plan/gradient_checks.h"
#include "focal.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class FocalLossGradient : public Op {
 public:
  FocalLossGradient(const Node& node, const Value& logits)
      : logits_(node.operand("logits")),
        labels_(node.operand("labels")),
        dy_(node.operand("dy")),
        samples_(logits.dim(0)),
        length_(logits.elements() / larger(1, samples_)),
        loss_(node),
        factors_(static_cast<size_t>(samples_) * sizeof(double)) {}

  void run(const Run& run) const override {
    const float* logits = run.in<float>(logits_);
    const float* labels = run.in<float>(labels_);
    const float* dy = run.in<float>(dy_);
    float* out = run.out<float>();
    double* factors = factors_.as<double>();
    each_sample<3>(
        run.pool, samples_, length_,
        [&](int64_t begin, int64_t end, double* sums) {
          loss_.add<false>(logits + begin, labels + begin, end - begin, sums);
        },
        [&](int64_t sample, const double* sums) {
          factors[sample] = loss_.factor(sums) * static_cast<double>(dy[sample]);
        });
    each_piece(run.pool, samples_, length_, 16, [&](int64_t sample, int64_t begin, int64_t end) {
      const int64_t at = sample * length_ + begin;
      loss_.differentiate(logits + at, labels + at, end - begin,
                          static_cast<float>(factors[sample]), out + at);
    });
  }

 private:
  int logits_, labels_, dy_;
  int64_t samples_, length_;
  FocalLoss loss_;
  Block factors_;
};

}  // namespace

Op* compile_focal_loss_gradient(const Node& node, Compiler&) {
  check_focal_loss_gradient(node);
  return new FocalLossGradient(node, node.value("logits"));
}

}  // namespace hrsam::cpu::HRSAM_ISA
