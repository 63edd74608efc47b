// Points and box corners as SAM's sparse prompt embeddings: the position code of the pixel's centre
// plus what the label stands for.
#include "expect.h"
#include "position_code.h"
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
  int64_t size[2];
  integers(node, "size", 2, size);
  if (size[0] < 1 || size[1] < 1) node.fail("ERR_ARGUMENT", "size: expected at least one pixel");
  const char* const names[] = {"points", "labels", "gaussian", "embeddings", "not_a_point"};
  for (const char* name : names) expect_f32(node, node.value(name), name);
  expect_f32(node, node.result(), "the result");
  const Value& labels = node.value("labels");
  const Value& gaussian = node.value("gaussian");
  expect_rank(node, labels, "labels", 2);
  expect_rank(node, gaussian, "gaussian", 2);
  const int64_t width = 2 * gaussian.dim(1);
  expect(node, gaussian.dim(0) == 2, "gaussian: expected (2, E / 2)");
  expect(node, has_shape(node.value("points"), {labels.dim(0), labels.dim(1), 2}),
         "points: expected (B, n, 2)");
  expect(node, has_shape(node.value("embeddings"), {4, width}), "embeddings: expected (4, E)");
  expect(node, has_shape(node.value("not_a_point"), {1, width}), "not_a_point: expected (1, E)");
  expect(node, has_shape(node.result(), {labels.dim(0), labels.dim(1), width}),
         "the result's shape is not (B, n, E)");
  return new PromptPoints(node, size);
}

}  // namespace hrsam::cpu::HRSAM_ISA
