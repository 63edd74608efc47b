// The normalised focal loss of binary masks. With x the logit of the wrong class and q = sigmoid(x)
// the distance of the prediction from its label,
//
//   loss = normaliser / (n + eps) · Σ −alpha_y · q^gamma · ln(min(1 − q + eps, 1))
//   normaliser = n / (Σ q^gamma + eps),     n = pixels whose label is not `ignore`
//
// where alpha_y is alpha for foreground, 1 − alpha else. The normaliser counts as a constant in the
// gradient. (Sofiiuk, Barinova, Konushin: AdaptIS, ICCV 2019.)
//
// In f32 1 − q would lose all its digits at saturated pixels, hence softplus:
// ln(1 − q) = −softplus(x) and ln(1 − q + eps) = softplus(softplus(x) + ln(eps)) − softplus(x).
#pragma once

#include <math.h>

#include "mask_loss.h"

namespace hrsam::cpu::HRSAM_ISA {

class FocalLoss {
 public:
  static constexpr int kSums = 3;
  using Slope = float;  // what a pixel's derivative is multiplied by

  explicit FocalLoss(const Node& node)
      : alpha_(static_cast<float>(node.number("alpha"))),
        gamma_(static_cast<float>(node.number("gamma"))),
        eps_(node.number("eps")),
        log_eps_(static_cast<float>(::log(node.number("eps")))),
        ignore_(static_cast<float>(node.number("ignore"))) {}

  // Sums over pixels: how many count, Σ q^gamma and, if kLoss, Σ −alpha_y · q^gamma · ln(…).
  template <bool kLoss>
  void add(const float* logits, const float* labels, int64_t n, double* sums) const {
    constexpr int64_t kBlock = 16 * kWidth;  // summed in f32
    sums[0] = sums[1] = sums[2] = 0;
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      V counts = zero(), powers = zero(), losses = zero();
      each_vector(logits, labels, ignore_, begin, smaller(n, begin + kBlock),
                  [&](int64_t, int, V logit, V label, V counted) {
                    const Pixels p = pixels(logit, label);
                    const V power = counted * power_of(p, gamma_);
                    counts = counts + counted;
                    powers = powers + power;
                    if constexpr (kLoss) losses = fma(p.weight * power, loss_of(p), losses);
                  });
      sums[0] += static_cast<double>(reduce_add(counts));
      sums[1] += static_cast<double>(reduce_add(powers));
      sums[2] += static_cast<double>(reduce_add(losses));
    }
  }

  double loss(const double* sums) const { return factor(sums) * sums[2]; }
  Slope slope(const double* sums, double dy) const { return static_cast<Slope>(factor(sums) * dy); }

  // out = slope times the derivative of each pixel's term.
  void differentiate(const float* logits, const float* labels, int64_t n, Slope slope,
                     float* out) const {
    const V eps = set1(static_cast<float>(eps_));
    each_vector(logits, labels, ignore_, 0, n,
                [&](int64_t i, int lanes, V logit, V label, V counts) {
                  const Pixels p = pixels(logit, label);
                  const V rest = sigmoid(-p.x);
                  V term = power_of(p, gamma_) / (rest + eps);
                  if (gamma_ != 0)
                    term = fma(set1(gamma_) * power_of(p, gamma_ - 1), loss_of(p), term);
                  const V scale = set1(slope) * p.sign * p.weight * counts * p.q * rest;
                  store_lanes(out + i, select_greater(p.q, eps, scale * term, zero()), lanes);
                });
  }

 private:
  // What a sample's sum is multiplied by.
  double factor(const double* sums) const {
    return sums[0] / ((sums[1] + eps_) * (sums[0] + eps_));
  }

  struct Pixels {
    V x, q;
    V weight, sign;  // alpha_y; of the derivative of x with respect to the logit
  };

  Pixels pixels(V logit, V label) const {
    Pixels p;
    const V half = set1(0.5f);
    p.sign = select_greater(label, half, set1(-1), set1(1));
    p.weight = select_greater(label, half, set1(alpha_), set1(1 - alpha_));
    // Beyond 80 nothing changes but the rounding of what cancels below.
    p.x = max(set1(-80), min(set1(80), p.sign * logit));
    p.q = sigmoid(p.x);
    return p;
  }

  V power_of(const Pixels& p, float gamma) const {
    if (gamma == 0) return set1(1);
    if (gamma == 1) return p.q;
    if (gamma == 2) return p.q * p.q;
    return exp(set1(-gamma) * softplus(-p.x));
  }

  // −ln(min(1 − q + eps, 1))
  V loss_of(const Pixels& p) const {
    const V y = softplus(p.x);
    return max(zero(), y - softplus(y + set1(log_eps_)));
  }

  float alpha_, gamma_;
  double eps_;
  float log_eps_, ignore_;
};

}  // namespace hrsam::cpu::HRSAM_ISA
