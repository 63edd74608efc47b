// Gradient of the normalised focal loss: the samples' sums again, then pixel by pixel.
#include "../plan/gradient_checks.h"
#include "focal.h"
#include "samples.h"

namespace hrsam::cuda {

namespace {

struct FocalFactors {
  FocalLoss loss;
  const float *logits, *labels, *dy;
  double* factors;
  HRSAM_DEVICE void add(int64_t i, double* sums) const { loss.add(logits[i], labels[i], sums); }
  HRSAM_DEVICE void finish(int64_t sample, const double* sums) const {
    factors[sample] = loss.factor(sums) * static_cast<double>(dy[sample]);
  }
};

struct FocalSlopes {
  FocalLoss loss;
  const float *logits, *labels;
  const double* factors;
  float* out;
  int64_t length;
  HRSAM_DEVICE void operator()(int64_t i) const {
    out[i] = loss.counts(labels[i])
                 ? static_cast<float>(factors[i / length] * loss.slope(logits[i], labels[i]))
                 : 0;
  }
};

}  // namespace

Op* compile_focal_loss_gradient(const Node& node, Compiler&) {
  check_focal_loss_gradient(node);
  const Value& value = node.value("logits");
  const int64_t samples = value.dim(0), n = value.elements(), length = n / larger(1, samples);
  const size_t sums = sample_workspace<3>(samples, length);
  return make_op(
      sums + sizeof(double) * static_cast<size_t>(samples),
      [=, logits = node.operand("logits"), labels = node.operand("labels"), dy = node.operand("dy"),
       loss = FocalLoss::of(node)](const Run& run) {
        auto* factors = reinterpret_cast<double*>(static_cast<char*>(run.workspace) + sums);
        const auto* x = run.in<float>(logits);
        const auto* y = run.in<float>(labels);
        sum_samples<3>(run.stream, samples, length, run.workspace,
                       FocalFactors{loss, x, y, run.in<float>(dy), factors});
        each(run.stream, n, FocalSlopes{loss, x, y, factors, run.out<float>(), larger(1, length)});
      });
}

}  // namespace hrsam::cuda
