// The normalised focal loss of every sample.
#include "../plan/gradient_checks.h"
#include "focal.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class FocalLossOp : public Op {
 public:
  FocalLossOp(const Node& node, const Value& logits)
      : logits_(node.operand("logits")),
        labels_(node.operand("labels")),
        samples_(logits.dim(0)),
        length_(logits.elements() / larger(1, samples_)),
        loss_(node) {}

  void run(const Run& run) const override {
    const float* logits = run.in<float>(logits_);
    const float* labels = run.in<float>(labels_);
    each_sample<3>(
        run.pool, samples_, length_,
        [&](int64_t begin, int64_t end, double* sums) {
          loss_.add<true>(logits + begin, labels + begin, end - begin, sums);
        },
        [&](int64_t sample, const double* sums) {
          run.out<float>()[sample] = static_cast<float>(loss_.factor(sums) * sums[2]);
        });
  }

 private:
  int logits_, labels_;
  int64_t samples_, length_;
  FocalLoss loss_;
};

}  // namespace

Op* compile_focal_loss(const Node& node, Compiler&) {
  check_focal_loss(node);
  return new FocalLossOp(node, node.value("logits"));
}

}  // namespace hrsam::cpu::HRSAM_ISA
