// Gradient of the mean squared error: 2 (x − target) / n · dy of the sample.
#include "../plan/gradient_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct Difference {
  const float *x, *target, *dy;
  float* out;
  int64_t length;
  HRSAM_DEVICE void operator()(int64_t i) const {
    out[i] = 2 * dy[i / length] / static_cast<float>(length) * (x[i] - target[i]);
  }
};

}  // namespace

Op* compile_squared_error_gradient(const Node& node, Compiler&) {
  check_sample_loss_gradient(node, "x", "target");
  const Value& value = node.value("x");
  return make_op([=, x = node.operand("x"), target = node.operand("target"),
                  dy = node.operand("dy"), n = value.elements(),
                  length = larger(1, value.elements() / larger(1, value.dim(0)))](const Run& run) {
    each(run.stream, n,
         Difference{run.in<float>(x), run.in<float>(target), run.in<float>(dy), run.out<float>(),
                    length});
  });
}

}  // namespace hrsam::cuda
