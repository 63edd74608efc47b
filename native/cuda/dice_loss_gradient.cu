// Gradient of the dice loss with respect to the logits: the samples' sums again, then pixel by
// pixel.
#include "../plan/gradient_checks.h"
#include "dice.h"

namespace hrsam::cuda {

namespace {

struct DiceSlopes {
  DiceLoss loss;
  const float *logits, *labels, *dy;
  float2* slopes;
  HRSAM_DEVICE void add(int64_t i, double* sums) const { loss.add(logits[i], labels[i], sums); }
  HRSAM_DEVICE void finish(int64_t sample, const double* sums) const {
    slopes[sample] = DiceLoss::slope(sums, static_cast<double>(dy[sample]));
  }
};

struct DiceDerivatives {
  DiceLoss loss;
  const float *logits, *labels;
  const float2* slopes;
  float* out;
  int64_t length;
  HRSAM_DEVICE void operator()(int64_t i) const {
    out[i] = loss.derivative(logits[i], labels[i], slopes[i / length]);
  }
};

}  // namespace

Op* compile_dice_loss_gradient(const Node& node, Compiler&) {
  check_dice_loss_gradient(node);
  const Value& value = node.value("logits");
  const int64_t samples = value.dim(0), n = value.elements(), length = n / larger(1, samples);
  const DiceLoss loss{static_cast<float>(node.number("ignore"))};
  const size_t sums = sample_workspace<2>(samples, length);
  return make_op(sums + sizeof(float2) * static_cast<size_t>(samples), [=,
                                                                        logits =
                                                                            node.operand("logits"),
                                                                        labels =
                                                                            node.operand("labels"),
                                                                        dy = node.operand("dy")](
                                                                           const Run& run) {
    auto* slopes = reinterpret_cast<float2*>(static_cast<char*>(run.workspace) + sums);
    const auto* x = run.in<float>(logits);
    const auto* y = run.in<float>(labels);
    sum_samples<2>(run.stream, samples, length, run.workspace,
                   DiceSlopes{loss, x, y, run.in<float>(dy), slopes});
    each(run.stream, n, DiceDerivatives{loss, x, y, slopes, run.out<float>(), larger(1, length)});
  });
}

}  // namespace hrsam::cuda
