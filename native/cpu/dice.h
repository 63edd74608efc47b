// The dice loss of binary masks. With p = sigmoid(logit), y the label (1 above 0.5), over the
// pixels whose label is not `ignore`:
//
//   loss = 1 − (2 Σ p·y + 1) / (Σ p + Σ y + 1)
//
// (Milletari, Navab, Ahmadi: V-Net, 3DV 2016; the 1s as in MaskFormer, arXiv 2107.06278.)
#pragma once

#include "mask_loss.h"

namespace hrsam::cpu::HRSAM_ISA {

class DiceLoss {
 public:
  static constexpr int kSums = 2;

  explicit DiceLoss(const Node& node) : ignore_(static_cast<float>(node.number("ignore"))) {}

  // Sums over pixels: p·y, and p + y.
  template <bool kLoss>
  void add(const float* logits, const float* labels, int64_t n, double* sums) const {
    constexpr int64_t kBlock = 16 * kWidth;  // summed in f32
    sums[0] = sums[1] = 0;
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      V both = zero(), either = zero();
      each_vector(logits, labels, ignore_, begin, smaller(n, begin + kBlock),
                  [&](int64_t, int, V logit, V label, V counts) {
                    const V p = sigmoid(logit), y = counts * foreground(label);
                    both = fma(p, y, both);
                    either = either + counts * (p + y);
                  });
      sums[0] += static_cast<double>(reduce_add(both));
      sums[1] += static_cast<double>(reduce_add(either));
    }
  }

  static double loss(const double* sums) { return 1 - (2 * sums[0] + 1) / (sums[1] + 1); }

  // The derivative with respect to p: a + b·y.
  struct Slope {
    float a, b;
  };
  static Slope slope(const double* sums, double dy) {
    const double total = sums[1] + 1;
    return {static_cast<float>(dy * (2 * sums[0] + 1) / (total * total)),
            static_cast<float>(-2 * dy / total)};
  }

  void differentiate(const float* logits, const float* labels, int64_t n, Slope slope,
                     float* out) const {
    each_vector(logits, labels, ignore_, 0, n,
                [&](int64_t i, int lanes, V logit, V label, V counts) {
                  const V p = sigmoid(logit);
                  const V d = fma(set1(slope.b), foreground(label), set1(slope.a));
                  store_lanes(out + i, counts * d * p * (set1(1) - p), lanes);
                });
  }

 private:
  static V foreground(V label) { return select_greater(label, set1(0.5f), set1(1), zero()); }

  float ignore_;
};

}  // namespace hrsam::cpu::HRSAM_ISA
