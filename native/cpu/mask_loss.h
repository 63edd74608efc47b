// Losses of masks, logits (B, …) against labels of the same shape, and their gradients with respect
// to the logits. What a loss is, a class Loss says:
//
//   explicit Loss(const Node&)
//   add<kLoss>(logits, labels, n, sums)       writes kSums sums over n pixels; without kLoss those
//                                             that the slope needs
//   loss(sums), slope(sums, dy)               of a sample
//   differentiate(logits, labels, n, slope, out)
#pragma once

#include "samples.h"
#include "simd.h"

namespace hrsam::cpu::HRSAM_ISA {

// f(position, lanes, logits, labels, counts) for [begin, end); counts: 1, or 0 where a label is
// `ignore` or past the end.
template <class F>
HRSAM_INLINE void each_vector(const float* logits, const float* labels, float ignore, int64_t begin,
                              int64_t end, F&& f) {
  for (int64_t i = begin; i < end; i += kWidth) {
    const int lanes = static_cast<int>(smaller(kWidth, end - i));
    V label = load_lanes(labels + i, lanes);
    if (lanes < kWidth) {
      float filled[kWidth];
      store(filled, set1(ignore));
      store_n(filled, label, lanes);
      label = load(filled);
    }
    const V counts = select_greater(abs(label - set1(ignore)), zero(), set1(1), zero());
    f(i, lanes, load_lanes(logits + i, lanes), label, counts);
  }
}

template <class Loss>
class MaskLoss : public Op {
 public:
  explicit MaskLoss(const Node& node)
      : logits_(node.operand("logits")),
        labels_(node.operand("labels")),
        samples_(node.value("logits").dim(0)),
        length_(node.value("logits").elements() / larger(1, samples_)),
        loss_(node) {}

  void run(const Run& run) const override {
    const float* logits = run.in<float>(logits_);
    const float* labels = run.in<float>(labels_);
    each_sample<Loss::kSums>(
        run.pool, samples_, length_,
        [&](int64_t begin, int64_t end, double* sums) {
          loss_.template add<true>(logits + begin, labels + begin, end - begin, sums);
        },
        [&](int64_t sample, const double* sums) {
          run.out<float>()[sample] = static_cast<float>(loss_.loss(sums));
        });
  }

 private:
  int logits_, labels_;
  int64_t samples_, length_;
  Loss loss_;
};

template <class Loss>
class MaskLossGradient : public Op {
 public:
  explicit MaskLossGradient(const Node& node)
      : logits_(node.operand("logits")),
        labels_(node.operand("labels")),
        dy_(node.operand("dy")),
        samples_(node.value("logits").dim(0)),
        length_(node.value("logits").elements() / larger(1, samples_)),
        loss_(node),
        slopes_(static_cast<size_t>(samples_) * sizeof(typename Loss::Slope)) {}

  void run(const Run& run) const override {
    const float* logits = run.in<float>(logits_);
    const float* labels = run.in<float>(labels_);
    const float* dy = run.in<float>(dy_);
    float* out = run.out<float>();
    auto* slopes = slopes_.template as<typename Loss::Slope>();
    each_sample<Loss::kSums>(
        run.pool, samples_, length_,
        [&](int64_t begin, int64_t end, double* sums) {
          loss_.template add<false>(logits + begin, labels + begin, end - begin, sums);
        },
        [&](int64_t sample, const double* sums) {
          slopes[sample] = loss_.slope(sums, static_cast<double>(dy[sample]));
        });
    each_piece(run.pool, samples_, length_, 16, [&](int64_t sample, int64_t begin, int64_t end) {
      const int64_t at = sample * length_ + begin;
      loss_.differentiate(logits + at, labels + at, end - begin, slopes[sample], out + at);
    });
  }

 private:
  int logits_, labels_, dy_;
  int64_t samples_, length_;
  Loss loss_;
  Block slopes_;
};

}  // namespace hrsam::cpu::HRSAM_ISA
