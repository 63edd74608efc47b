// Gradient of the depthwise convolution's weight: for each channel and tap the sum over pixels of
// dy times the pixel of x that the tap sees. Bound by memory, once per tap.
#include "../plan/gradient_checks.h"
#include "column_sums.h"

namespace hrsam::cuda {

namespace {

// Rows: pixels; columns: (tap, channel).
struct Taps {
  Numbers x, dy;
  float* out;
  int64_t height, width, channels;
  int kernel;
  HRSAM_DEVICE float at(int64_t pixel, int64_t column) const {
    const int64_t c = column % channels;
    const int tap = static_cast<int>(column / channels), reach = kernel / 2;
    const int64_t i = pixel % width + tap % kernel - reach;
    const int64_t row = pixel / width, j = row % height + tap / kernel - reach;
    if (i < 0 || i >= width || j < 0 || j >= height) return 0;
    const int64_t seen = (row / height * height + j) * width + i;
    return dy.at(pixel * channels + c) * x.at(seen * channels + c);
  }
  HRSAM_DEVICE void put(int64_t column, float sum) const {
    out[column % channels * kernel * kernel + column / channels] = sum;
  }
};

}  // namespace

Op* compile_depthwise_conv_weight_gradient(const Node& node, Compiler&) {
  check_depthwise_conv_weight_gradient(node);
  const Value& value = node.value("x");
  const int kernel = static_cast<int>(node.integer("kernel"));
  const int64_t height = value.dim(1), width = value.dim(2), channels = value.dim(3);
  const int64_t pixels = value.dim(0) * height * width, columns = channels * kernel * kernel;
  return make_op(sum_workspace(pixels, columns),
                 [=, x = node.operand("x"), dy = node.operand("dy"), from = value.dtype,
                  above = node.value("dy").dtype](const Run& run) {
                   sum_columns(run.stream, pixels, columns, run.workspace,
                               Taps{numbers_of(run.in(x), from), numbers_of(run.in(dy), above),
                                    run.out<float>(), height, width, channels, kernel});
                 });
}

}  // namespace hrsam::cuda
