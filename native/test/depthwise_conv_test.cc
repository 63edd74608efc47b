// The depthwise convolution against the sum it stands for, in double precision.
#include "harness.h"

using namespace hrsam::test;

namespace {

std::vector<double> convolve(const Tensor& x, const Tensor& weight) {
  const int64_t b = x.dims[0], h = x.dims[1], w = x.dims[2], c = x.dims[3], k = weight.dims[2];
  const std::vector<float> from = x.floats(), taps = weight.floats();
  std::vector<double> out;
  for (int64_t n = 0; n < b; ++n)
    for (int64_t y = 0; y < h; ++y)
      for (int64_t z = 0; z < w; ++z)
        for (int64_t channel = 0; channel < c; ++channel) {
          double sum = 0;
          for (int64_t i = 0; i < k; ++i)
            for (int64_t j = 0; j < k; ++j) {
              const int64_t row = y + i - k / 2, column = z + j - k / 2;
              if (row < 0 || row >= h || column < 0 || column >= w) continue;
              sum += static_cast<double>(
                         from[static_cast<size_t>(((n * h + row) * w + column) * c + channel)]) *
                     static_cast<double>(taps[static_cast<size_t>((channel * k + i) * k + j)]);
            }
          out.push_back(sum);
        }
  return out;
}

void check_convolution(const Dims& dims, int64_t kernel, int from, int to) {
  const Tensor x = random_tensor(dims, 1, from);
  const Tensor weight = random_tensor({dims[3], 1, kernel, kernel}, 2);
  const std::vector<double> want = convolve(x, weight);
  const double tolerance = to == HRSAM_BF16 ? 4e-3 : 1e-6;
  CHECK_CLOSE(Call("depthwise_conv")
                  .attribute("flip", 0)
                  .input("x", x)
                  .constant("weight", weight)
                  .result(dims, to)
                  .run(),
              want, tolerance);
  // A weight that is known only when it runs.
  CHECK_CLOSE(Call("depthwise_conv")
                  .attribute("flip", 0)
                  .input("x", x)
                  .input("weight", weight)
                  .result(dims, to)
                  .run(),
              want, tolerance);
}

}  // namespace

TEST(every_width_and_height) {
  for (const int64_t height : {1, 2, 3, 5, 9})
    for (const int64_t width : {1, 2, 3, 4, 5, 6, 7, 10, 13})
      check_convolution({2, height, width, 19}, 3, HRSAM_F32, HRSAM_F32);
}

TEST(every_number_of_channels) {
  for (const int64_t channels : {1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64})
    for (const int from : {HRSAM_F32, HRSAM_BF16})
      for (const int to : {HRSAM_F32, HRSAM_BF16})
        check_convolution({1, 5, 7, channels}, 3, from, to);
}

TEST(other_kernels) {
  for (const int64_t kernel : {1, 5, 7})
    for (const int64_t width : {1, 4, 9, 12})
      check_convolution({1, 6, width, 20}, kernel, HRSAM_F32, HRSAM_F32);
}

TEST(many_rows) { check_convolution({1, 70, 33, 48}, 3, HRSAM_F32, HRSAM_F32); }

TEST(empty) {
  check_convolution({0, 4, 4, 3}, 3, HRSAM_F32, HRSAM_F32);
  check_convolution({1, 0, 4, 3}, 3, HRSAM_F32, HRSAM_F32);
}

TEST(wrong_shapes) {
  const Tensor x = random_tensor({1, 4, 5, 6}, 1);
  const auto error = [&](const Dims& weight, const Dims& result, int weight_type = HRSAM_F32) {
    return Call("depthwise_conv")
        .attribute("flip", 0)
        .input("x", x)
        .constant("weight", random_tensor(weight, 2, weight_type))
        .result(result)
        .error();
  };
  CHECK_EQ(error({6, 1, 3, 3}, {1, 4, 5, 6}), "");
  CHECK_EQ(error({5, 1, 3, 3}, {1, 4, 5, 6}), "ERR_SHAPE");
  CHECK_EQ(error({6, 1, 2, 2}, {1, 4, 5, 6}), "ERR_SHAPE");
  CHECK_EQ(error({6, 1, 3, 5}, {1, 4, 5, 6}), "ERR_SHAPE");
  CHECK_EQ(error({6, 3, 3}, {1, 4, 5, 6}), "ERR_SHAPE");
  CHECK_EQ(error({6, 1, 3, 3}, {1, 4, 5, 7}), "ERR_SHAPE");
  CHECK_EQ(error({6, 1, 3, 3}, {1, 4, 5, 6}, HRSAM_BF16), "ERR_SHAPE");
}
