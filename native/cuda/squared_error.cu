// The mean squared error of every sample. Bound by memory.
#include "../plan/gradient_checks.h"
#include "samples.h"

namespace hrsam::cuda {

namespace {

struct Squares {
  const float *x, *target;
  float* out;
  int64_t length;
  HRSAM_DEVICE void add(int64_t i, double* sums) const {
    const double d = static_cast<double>(x[i]) - static_cast<double>(target[i]);
    sums[0] += d * d;
  }
  HRSAM_DEVICE void finish(int64_t sample, const double* sums) const {
    out[sample] = static_cast<float>(sums[0] / static_cast<double>(length > 0 ? length : 1));
  }
};

}  // namespace

Op* compile_squared_error(const Node& node, Compiler&) {
  check_sample_loss(node, "x", "target");
  const Value& value = node.value("x");
  const int64_t samples = value.dim(0), length = value.elements() / larger(1, samples);
  return make_op(sample_workspace<1>(samples, length),
                 [=, x = node.operand("x"), target = node.operand("target")](const Run& run) {
                   sum_samples<1>(
                       run.stream, samples, length, run.workspace,
                       Squares{run.in<float>(x), run.in<float>(target), run.out<float>(), length});
                 });
}

}  // namespace hrsam::cuda
