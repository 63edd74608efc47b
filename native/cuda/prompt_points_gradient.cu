// Gradients of the embeddings that prompt_points adds to, or puts in place of, the position codes:
// the sums of dy over the points with each label.
#include "../plan/gradient_checks.h"
#include "column_sums.h"

namespace hrsam::cuda {

namespace {

// Columns: five rows of the result, for labels 0 to 3 and for "not a point".
struct ByLabel {
  const float *labels, *dy;
  float* out;
  int64_t width;
  HRSAM_DEVICE float at(int64_t point, int64_t column) const {
    const int64_t row = column / width;
    const float wanted = row == 4 ? -1.0f : static_cast<float>(row);
    return labels[point] == wanted ? dy[point * width + column % width] : 0;
  }
  HRSAM_DEVICE void put(int64_t column, float sum) const { out[column] = sum; }
};

}  // namespace

Op* compile_prompt_points_gradient(const Node& node, Compiler&) {
  check_prompt_points_gradient(node);
  const int64_t points = node.value("labels").elements(), width = node.result().dim(1);
  return make_op(sum_workspace(points, 5 * width), [=, labels = node.operand("labels"),
                                                    dy = node.operand("dy")](const Run& run) {
    sum_columns(run.stream, points, 5 * width, run.workspace,
                ByLabel{run.in<float>(labels), run.in<float>(dy), run.out<float>(), width});
  });
}

}  // namespace hrsam::cuda
