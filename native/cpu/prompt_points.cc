// Points and box corners as SAM's sparse prompt embeddings: the position code of the pixel's centre
// plus what the label stands for.
#include <math.h>

#include "../plan/forward_checks.h"
#include "../plan/position_code.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class PromptPoints : public Op {
 public:
  PromptPoints(const Node& node, const int64_t* size)
      : points_(node.operand("points")),
        labels_(node.operand("labels")),
        gaussian_(node.operand("gaussian")),
        embeddings_(node.operand("embeddings")),
        not_a_point_(node.operand("not_a_point")),
        count_(node.value("labels").elements()),
        half_(node.value("gaussian").dim(1)),
        height_(static_cast<double>(size[0])),
        width_(static_cast<double>(size[1])) {}

  void run(const Run& run) const override {
    const float* points = run.in<float>(points_);
    const float* labels = run.in<float>(labels_);
    each_block(run.pool, count_, half_ * 128, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        embed(run, points + 2 * i, labels[i], run.out<float>() + i * 2 * half_);
    });
  }

 private:
  void embed(const Run& run, const float* point, float label, float* out) const {
    if (label == -1) {
      memcpy(out, run.in<float>(not_a_point_), static_cast<size_t>(2 * half_) * sizeof(float));
      return;
    }
    const float* gaussian = run.in<float>(gaussian_);
    const double x = (static_cast<double>(point[0]) + 0.5) / width_;
    const double y = (static_cast<double>(point[1]) + 0.5) / height_;
    for (int64_t e = 0; e < half_; ++e) {
      const double angle = position_angle(x, gaussian[e]) + position_angle(y, gaussian[half_ + e]);
      out[e] = static_cast<float>(sin(angle));
      out[half_ + e] = static_cast<float>(cos(angle));
    }
    for (int k = 0; k < 4; ++k) {
      if (label != static_cast<float>(k)) continue;
      const float* embedding = run.in<float>(embeddings_) + k * 2 * half_;
      for (int64_t e = 0; e < 2 * half_; ++e) out[e] += embedding[e];
    }
  }

  int points_, labels_, gaussian_, embeddings_, not_a_point_;
  int64_t count_, half_;
  double height_, width_;
};

}  // namespace

Op* compile_prompt_points(const Node& node, Compiler&) {
  check_prompt_points(node);
  int64_t size[2];
  integers(node, "size", 2, size);
  return new PromptPoints(node, size);
}

}  // namespace hrsam::cpu::HRSAM_ISA
