// The dice loss of binary masks. With p = sigmoid(logit), y the label (1 above 0.5), over the
// pixels whose label is not `ignore`:
//
//   loss = 1 − (2 Σ p·y + 1) / (Σ p + Σ y + 1)
//
// (Milletari, Navab, Ahmadi: V-Net, 3DV 2016; the 1s as in MaskFormer, arXiv 2107.06278.)
#pragma once

#include "core/kernel.h"

namespace hrsam::cuda {

struct DiceLoss {
  static constexpr int kSums = 2;

  static DiceLoss of(const Node&) { return {}; }

  // Adds a pixel to the sums: p·y, and p + y.
  HRSAM_DEVICE void add(float logit, float label, double* sums) const {
    const double p = static_cast<double>(sigmoid(logit));
    const double y = label > 0.5f ? 1 : 0;
    sums[0] += p * y;
    sums[1] += p + y;
  }
  HRSAM_DEVICE static double loss(const double* sums) {
    return 1 - (2 * sums[0] + 1) / (sums[1] + 1);
  }
  using Slope = float2;  // the derivative with respect to p is x + y·label
  HRSAM_DEVICE static Slope slope(const double* sums, double dy) {
    const double total = sums[1] + 1;
    return make_float2(static_cast<float>(dy * (2 * sums[0] + 1) / (total * total)),
                       static_cast<float>(-2 * dy / total));
  }
  HRSAM_DEVICE float derivative(float logit, float label, Slope slope) const {
    return fmaf(slope.y, label > 0.5f ? 1.0f : 0.0f, slope.x) * sigmoid(logit) * sigmoid(-logit);
  }
};

}  // namespace hrsam::cuda
