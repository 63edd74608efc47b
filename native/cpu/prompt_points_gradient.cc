// Gradients of the embeddings that prompt_points adds to, or puts in place of, the position codes:
// the sums of dy over the points with each label.
#include "../plan/gradient_checks.h"
#include "chunked_sum.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class PromptPointsGradient : public Op {
 public:
  explicit PromptPointsGradient(const Node& node)
      : labels_(node.operand("labels")),
        dy_(node.operand("dy")),
        count_(node.value("labels").elements()),
        width_(node.result().dim(1)) {}

  void run(const Run& run) const override {
    const float* labels = run.in<float>(labels_);
    const float* dy = run.in<float>(dy_);
    const SumShape shape{count_, width_ * 4, 5 * width_, 5 * width_};
    sum_chunks(run.pool, shape, run.out<float>(),
               [&](int64_t begin, int64_t end, int64_t, int64_t, float* sums) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int row = row_of(labels[i]);
                   if (row >= 0) add(dy + i * width_, sums + row * width_);
                 }
               });
  }

 private:
  // Rows 0 … 3: the labels of that number; 4: not a point; none for other labels.
  static int row_of(float label) {
    if (label == -1) return 4;
    for (int k = 0; k < 4; ++k)
      if (label == static_cast<float>(k)) return k;
    return -1;
  }

  void add(const float* dy, float* sums) const {
    for (int64_t e = 0; e < width_; e += kWidth) {
      const int n = static_cast<int>(smaller(kWidth, width_ - e));
      store_lanes(sums + e, load_lanes(sums + e, n) + load_lanes(dy + e, n), n);
    }
  }

  int labels_, dy_;
  int64_t count_, width_;
};

}  // namespace

Op* compile_prompt_points_gradient(const Node& node, Compiler&) {
  check_prompt_points_gradient(node);
  return new PromptPointsGradient(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA
