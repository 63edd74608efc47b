// The normalised focal loss of every sample.
#include "../plan/gradient_checks.h"
#include "focal.h"
#include "samples.h"

namespace hrsam::cuda {

namespace {

struct FocalSums {
  FocalLoss loss;
  const float *logits, *labels;
  float* out;
  HRSAM_DEVICE void add(int64_t i, double* sums) const { loss.add(logits[i], labels[i], sums); }
  HRSAM_DEVICE void finish(int64_t sample, const double* sums) const {
    out[sample] = static_cast<float>(loss.factor(sums) * sums[2]);
  }
};

}  // namespace

Op* compile_focal_loss(const Node& node, Compiler&) {
  check_focal_loss(node);
  const Value& value = node.value("logits");
  const int64_t samples = value.dim(0), length = value.elements() / larger(1, samples);
  return make_op(sample_workspace<3>(samples, length),
                 [=, logits = node.operand("logits"), labels = node.operand("labels"),
                  loss = FocalLoss::of(node)](const Run& run) {
                   sum_samples<3>(run.stream, samples, length, run.workspace,
                                  FocalSums{loss, run.in<float>(logits), run.in<float>(labels),
                                            run.out<float>()});
                 });
}

}  // namespace hrsam::cuda
