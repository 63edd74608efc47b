// Losses of masks, logits (B, …) against labels of the same shape, and their gradients with respect
// to the logits: the samples' sums, then for the gradient pixel by pixel. What a loss is, a struct
// Loss says:
//
//   of(node)
//   add(logit, label, sums)               adds a pixel that counts to kSums sums
//   loss(sums), slope(sums, dy)           of a sample
//   derivative(logit, label, slope)       of a pixel
#pragma once

#include "samples.h"

namespace hrsam::cuda {

template <class Loss>
struct MaskLossPixels {
  Loss loss;
  float ignore;
  const float *logits, *labels;
  HRSAM_DEVICE bool counts(int64_t i) const { return labels[i] != ignore; }
  HRSAM_DEVICE void add(int64_t i, double* sums) const {
    if (counts(i)) loss.add(logits[i], labels[i], sums);
  }
};

template <class Loss>
struct MaskLossSums : MaskLossPixels<Loss> {
  float* out;
  HRSAM_DEVICE void finish(int64_t sample, const double* sums) const {
    out[sample] = static_cast<float>(this->loss.loss(sums));
  }
};

template <class Loss>
struct MaskLossSlopes : MaskLossPixels<Loss> {
  const float* dy;
  typename Loss::Slope* slopes;
  HRSAM_DEVICE void finish(int64_t sample, const double* sums) const {
    slopes[sample] = this->loss.slope(sums, static_cast<double>(dy[sample]));
  }
};

template <class Loss>
struct MaskLossDerivatives : MaskLossPixels<Loss> {
  const typename Loss::Slope* slopes;
  float* out;
  int64_t length;
  HRSAM_DEVICE void operator()(int64_t i) const {
    out[i] = this->counts(i)
                 ? this->loss.derivative(this->logits[i], this->labels[i], slopes[i / length])
                 : 0;
  }
};

template <class Loss>
Op* mask_loss(const Node& node) {
  const Value& value = node.value("logits");
  const int64_t samples = value.dim(0), length = value.elements() / larger(1, samples);
  return make_op(sample_workspace<Loss::kSums>(samples, length),
                 [=, logits = node.operand("logits"), labels = node.operand("labels"),
                  loss = Loss::of(node), ignore = node.number("ignore")](const Run& run) {
                   sum_samples<Loss::kSums>(
                       run.stream, samples, length, run.workspace,
                       MaskLossSums<Loss>{{loss, static_cast<float>(ignore), run.in<float>(logits),
                                           run.in<float>(labels)},
                                          run.out<float>()});
                 });
}

template <class Loss>
Op* mask_loss_gradient(const Node& node) {
  using Slope = typename Loss::Slope;
  const Value& value = node.value("logits");
  const int64_t samples = value.dim(0), n = value.elements(), length = n / larger(1, samples);
  const size_t sums = sample_workspace<Loss::kSums>(samples, length);
  return make_op(
      sums + sizeof(Slope) * static_cast<size_t>(samples),
      [=, logits = node.operand("logits"), labels = node.operand("labels"), dy = node.operand("dy"),
       loss = Loss::of(node), ignore = node.number("ignore")](const Run& run) {
        auto* slopes = reinterpret_cast<Slope*>(static_cast<char*>(run.workspace) + sums);
        const MaskLossPixels<Loss> pixels{loss, static_cast<float>(ignore), run.in<float>(logits),
                                          run.in<float>(labels)};
        sum_samples<Loss::kSums>(run.stream, samples, length, run.workspace,
                                 MaskLossSlopes<Loss>{pixels, run.in<float>(dy), slopes});
        each(run.stream, n,
             MaskLossDerivatives<Loss>{pixels, slopes, run.out<float>(), larger(1, length)});
      });
}

}  // namespace hrsam::cuda
