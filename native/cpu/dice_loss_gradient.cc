// Gradient of the dice loss with respect to the logits.
#include "../plan/gradient_checks.h"
#include "dice.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class DiceLossGradient : public Op {
 public:
  DiceLossGradient(const Node& node, const Value& logits)
      : logits_(node.operand("logits")),
        labels_(node.operand("labels")),
        dy_(node.operand("dy")),
        samples_(logits.dim(0)),
        length_(logits.elements() / larger(1, samples_)),
        loss_(node),
        slopes_(static_cast<size_t>(samples_) * sizeof(DiceLoss::Slope)) {}

  void run(const Run& run) const override {
    const float* logits = run.in<float>(logits_);
    const float* labels = run.in<float>(labels_);
    const float* dy = run.in<float>(dy_);
    float* out = run.out<float>();
    DiceLoss::Slope* slopes = slopes_.as<DiceLoss::Slope>();
    each_sample<2>(
        run.pool, samples_, length_,
        [&](int64_t begin, int64_t end, double* sums) {
          loss_.add(logits + begin, labels + begin, end - begin, sums);
        },
        [&](int64_t sample, const double* sums) {
          slopes[sample] = DiceLoss::slope(sums, static_cast<double>(dy[sample]));
        });
    each_piece(run.pool, samples_, length_, 16, [&](int64_t sample, int64_t begin, int64_t end) {
      const int64_t at = sample * length_ + begin;
      loss_.differentiate(logits + at, labels + at, end - begin, slopes[sample], out + at);
    });
  }

 private:
  int logits_, labels_, dy_;
  int64_t samples_, length_;
  DiceLoss loss_;
  Block slopes_;
};

}  // namespace

Op* compile_dice_loss_gradient(const Node& node, Compiler&) {
  check_dice_loss_gradient(node);
  return new DiceLossGradient(node, node.value("logits"));
}

}  // namespace hrsam::cpu::HRSAM_ISA
