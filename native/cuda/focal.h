// The normalised focal loss of binary masks. With q the distance of sigmoid(logit) from its label,
//
//   loss = normaliser / (n + eps) · Σ −alpha_y · q^gamma · ln(min(1 − q + eps, 1))
//   normaliser = n / (Σ q^gamma + eps),     n = pixels whose label is not `ignore`
//
// where alpha_y is alpha for foreground, 1 − alpha else. The normaliser counts as a constant in the
// gradient. (Sofiiuk, Barinova, Konushin: AdaptIS, ICCV 2019.) Double precision, and q from the
// logit of the wrong class: 1 − q of a saturated pixel would lose all its digits in f32.
#pragma once

#include <math.h>

#include "core/kernel.h"

namespace hrsam::cuda {

struct FocalLoss {
  static constexpr int kSums = 3;
  using Slope = double;  // what a pixel's derivative is multiplied by
  double alpha, gamma, eps;

  static FocalLoss of(const Node& node) {
    return {node.number("alpha"), node.number("gamma"), node.number("eps")};
  }

  HRSAM_DEVICE double power(double q) const { return gamma == 2 ? q * q : ::pow(q, gamma); }

  struct Pixel {
    double sign;  // of the distance's derivative with respect to the logit
    double weight;
    double q, rest;  // the distance, and 1 − q without cancellation
  };
  HRSAM_DEVICE Pixel pixel(float logit, float label) const {
    const bool foreground = label > 0.5f;
    const double sign = foreground ? -1 : 1;
    const double e = ::exp(-sign * static_cast<double>(logit));
    const double q = 1 / (1 + e);
    return {sign, foreground ? alpha : 1 - alpha, q, q > 0 ? e * q : 1};
  }

  // Adds a pixel to the sums: how many count, Σ q^gamma, Σ −alpha_y · q^gamma · ln(…).
  HRSAM_DEVICE void add(float logit, float label, double* sums) const {
    const Pixel p = pixel(logit, label);
    const double beta = power(p.q);
    sums[0] += 1;
    sums[1] += beta;
    if (p.rest + eps < 1) sums[2] -= p.weight * beta * ::log(p.rest + eps);
  }

  HRSAM_DEVICE double loss(const double* sums) const { return factor(sums) * sums[2]; }
  HRSAM_DEVICE Slope slope(const double* sums, double dy) const { return factor(sums) * dy; }

  HRSAM_DEVICE float derivative(float logit, float label, Slope slope) const {
    const Pixel p = pixel(logit, label);
    const double s = p.rest + eps;
    if (!(s < 1)) return 0;
    const double d_power = gamma == 2 ? 2 * p.q : gamma * ::pow(p.q, gamma - 1);
    const double term = p.sign * p.weight * (power(p.q) / s - d_power * ::log(s)) * p.q * p.rest;
    return static_cast<float>(slope * term);
  }

 private:
  // What a sample's sum is multiplied by.
  HRSAM_DEVICE double factor(const double* sums) const {
    return sums[0] / ((sums[1] + eps) * (sums[0] + eps));
  }
};

}  // namespace hrsam::cuda
