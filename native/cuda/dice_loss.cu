// The dice loss of every sample.
#include "../plan/gradient_checks.h"
#include "dice.h"

namespace hrsam::cuda {

namespace {

struct DiceSums {
  DiceLoss loss;
  const float *logits, *labels;
  float* out;
  HRSAM_DEVICE void add(int64_t i, double* sums) const { loss.add(logits[i], labels[i], sums); }
  HRSAM_DEVICE void finish(int64_t sample, const double* sums) const {
    out[sample] = static_cast<float>(DiceLoss::loss(sums));
  }
};

}  // namespace

Op* compile_dice_loss(const Node& node, Compiler&) {
  check_dice_loss(node);
  const Value& value = node.value("logits");
  const int64_t samples = value.dim(0), length = value.elements() / larger(1, samples);
  const DiceLoss loss{static_cast<float>(node.number("ignore"))};
  return make_op(
      sample_workspace<2>(samples, length),
      [=, logits = node.operand("logits"), labels = node.operand("labels")](const Run& run) {
        sum_samples<2>(
            run.stream, samples, length, run.workspace,
            DiceSums{loss, run.in<float>(logits), run.in<float>(labels), run.out<float>()});
      });
}

}  // namespace hrsam::cuda
