// Ops that sum over rows, against sums in double precision: sum_rows, the gradients of linear,
// LayerNorm and the depthwise convolution with respect to their parameters, and that of prompts'
// embeddings.
#include "harness.h"

using namespace hrsam::test;

namespace {

const int kTypes[] = {HRSAM_F32, HRSAM_BF16};

Call sum_rows(const Tensor& x) { return Call("sum_rows").input("x", x).result({x.dims[1]}); }

std::vector<double> column_sums(const Tensor& x) {
  const std::vector<float> values = x.floats();
  std::vector<double> sums(static_cast<size_t>(x.dims[1]));
  for (size_t i = 0; i < values.size(); ++i) sums[i % sums.size()] += values[i];
  return sums;
}

Call weight_gradient(const Tensor& x, const Tensor& dy) {
  return Call("linear_weight_gradient")
      .input("x", x)
      .input("dy", dy)
      .result({dy.dims.back(), x.dims.back()});
}

std::vector<double> product(const Tensor& x, const Tensor& dy) {
  const std::vector<float> a = dy.floats(), b = x.floats();
  const size_t n = static_cast<size_t>(dy.dims.back()), k = static_cast<size_t>(x.dims.back());
  std::vector<double> sums(n * k);
  for (size_t row = 0; row * n < a.size(); ++row)
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < k; ++j)
        sums[i * k + j] +=
            static_cast<double>(a[row * n + i]) * static_cast<double>(b[row * k + j]);
  return sums;
}

void check_weight_gradient(int64_t rows, int64_t n, int64_t k, int dtype) {
  const Tensor x = random_tensor({rows, k}, 1, dtype), dy = random_tensor({rows, n}, 2, dtype);
  CHECK_CLOSE(weight_gradient(x, dy).run(), product(x, dy), 1e-6);
}

Call parameters_gradient(const Tensor& x, const Tensor& dy, double eps = 1e-5) {
  return Call("layer_norm_parameters_gradient")
      .input("x", x)
      .input("dy", dy)
      .attribute("eps", eps)
      .result({2, x.dims.back()});
}

std::vector<double> normalised_sums(const Tensor& x, const Tensor& dy, double eps) {
  const std::vector<float> in = x.floats(), g = dy.floats();
  const size_t channels = static_cast<size_t>(x.dims.back());
  std::vector<double> sums(2 * channels);
  for (size_t row = 0; row < in.size(); row += channels) {
    double mean = 0, variance = 0;
    for (size_t c = 0; c < channels; ++c) mean += in[row + c];
    mean /= static_cast<double>(channels);
    for (size_t c = 0; c < channels; ++c) variance += std::pow(in[row + c] - mean, 2);
    variance /= static_cast<double>(channels);
    for (size_t c = 0; c < channels; ++c) {
      sums[c] += g[row + c] * (in[row + c] - mean) / std::sqrt(variance + eps);
      sums[channels + c] += g[row + c];
    }
  }
  return sums;
}

}  // namespace

TEST(sum_of_any_shape) {
  for (const int dtype : kTypes)
    for (const int64_t rows : {0, 1, 2, 7, 8, 9, 300})
      for (const int64_t columns : {1, 5, 16, 17, 33, 2049}) {
        const Tensor x = random_tensor({rows, columns}, 1, dtype);
        CHECK_CLOSE(sum_rows(x).run(), column_sums(x), 1e-6);
      }
  CHECK_EQ(sum_rows(random_tensor({3, 0}, 1)).run().size(), 0u);
}

TEST(sum_of_very_many_rows_stays_accurate) {
  std::vector<float> values(65536 * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 1 + 1e-3f * static_cast<float>(i % 7);
  const Tensor x = tensor<float>({65536, 3}, values);
  CHECK_CLOSE(sum_rows(x).run(), column_sums(x), 3e-7);
}

TEST(sum_of_few_very_long_rows) {
  const Tensor x = random_tensor({3, 200000}, 1);
  CHECK_CLOSE(sum_rows(x).run(), column_sums(x), 1e-6);
}

TEST(sum_rejects_wrong_shapes) {
  const Tensor x = random_tensor({4, 8}, 1);
  CHECK_EQ(sum_rows(x).result({7}).error(), "ERR_SHAPE");
  CHECK_EQ(sum_rows(x).result({8}, HRSAM_BF16).error(), "ERR_SHAPE");
  CHECK_EQ(sum_rows(random_tensor({2, 4, 8}, 1)).result({8}).error(), "ERR_SHAPE");
}

TEST(weight_gradient_of_any_shape) {
  for (const int dtype : kTypes) {
    for (const int64_t rows : {0, 1, 2, 3, 31, 32, 33, 100})
      check_weight_gradient(rows, 9, 11, dtype);
    for (const int64_t n : {1, 7, 8, 16, 17, 65, 130}) check_weight_gradient(21, n, 20, dtype);
    for (const int64_t k : {1, 15, 16, 47, 48, 49, 100, 145})
      check_weight_gradient(21, 20, k, dtype);
  }
  CHECK_EQ(weight_gradient(random_tensor({5, 0}, 1), random_tensor({5, 3}, 2)).run().size(), 0u);
  CHECK_EQ(weight_gradient(random_tensor({5, 3}, 1), random_tensor({5, 0}, 2)).run().size(), 0u);
}

TEST(weight_gradient_in_several_chunks) {
  for (const int dtype : kTypes) {
    check_weight_gradient(4001, 24, 40, dtype);
    check_weight_gradient(333, 900, 300, dtype);
    check_weight_gradient(1100, 9, 2100, dtype);  // x is packed in parts
  }
}

TEST(weight_gradient_of_all_leading_axes) {
  const Tensor x = random_tensor({2, 3, 5, 7}, 1), dy = random_tensor({2, 3, 5, 4}, 2);
  CHECK_CLOSE(weight_gradient(x, dy).run(), product(x, dy), 1e-6);
}

TEST(weight_gradient_rejects_wrong_shapes) {
  const Tensor x = random_tensor({4, 8}, 1), dy = random_tensor({4, 3}, 2);
  CHECK_EQ(weight_gradient(x, dy).error(), "");
  CHECK_EQ(weight_gradient(x, dy).result({8, 3}).error(), "ERR_SHAPE");
  CHECK_EQ(weight_gradient(x, random_tensor({5, 3}, 2)).error(), "ERR_SHAPE");
  CHECK_EQ(weight_gradient(x, random_tensor({2, 2, 3}, 2)).error(), "ERR_SHAPE");
  CHECK_EQ(weight_gradient(x, random_tensor({4, 3}, 2, HRSAM_BF16)).error(), "ERR_SHAPE");
}

TEST(norm_parameters_of_any_shape) {
  for (const int64_t channels : {1, 2, 15, 16, 17, 48, 257})
    for (const int64_t rows : {0, 1, 3, 4, 5, 700}) {
      const Tensor x = random_tensor({rows, channels}, 1, HRSAM_F32, 2);
      const Tensor dy = random_tensor({rows, channels}, 2);
      CHECK_CLOSE(parameters_gradient(x, dy).run(), normalised_sums(x, dy, 1e-5), 2e-6);
    }
}

TEST(norm_parameters_in_every_type) {
  for (const int x_type : kTypes)
    for (const int dy_type : kTypes) {
      const Tensor x = random_tensor({2, 9, 40}, 1, x_type);
      const Tensor dy = random_tensor({2, 9, 40}, 2, dy_type);
      CHECK_CLOSE(parameters_gradient(x, dy, 1e-6).run(), normalised_sums(x, dy, 1e-6), 2e-6);
    }
}

TEST(norm_parameters_reject_wrong_shapes) {
  const Tensor x = random_tensor({4, 8}, 1), dy = random_tensor({4, 8}, 2);
  CHECK_EQ(parameters_gradient(x, dy).result({8}).error(), "ERR_SHAPE");
  CHECK_EQ(parameters_gradient(x, random_tensor({4, 7}, 2)).error(), "ERR_SHAPE");
  CHECK_EQ(parameters_gradient(random_tensor({4, 0}, 1), random_tensor({4, 0}, 1)).error(),
           "ERR_SHAPE");
}

TEST(depthwise_weights) {
  const auto check = [](const Dims& dims, int64_t kernel, int x_type, int dy_type) {
    const Tensor x = random_tensor(dims, 1, x_type), dy = random_tensor(dims, 2, dy_type);
    const std::vector<float> in = x.floats(), g = dy.floats();
    const int64_t h = dims[1], w = dims[2], c = dims[3];
    std::vector<double> want;
    for (int64_t channel = 0; channel < c; ++channel)
      for (int64_t i = -kernel / 2; i <= kernel / 2; ++i)
        for (int64_t j = -kernel / 2; j <= kernel / 2; ++j) {
          double sum = 0;
          for (int64_t pixel = 0; pixel < dims[0] * h * w; ++pixel) {
            const int64_t row = pixel / w % h + i, column = pixel % w + j;
            if (row < 0 || row >= h || column < 0 || column >= w) continue;
            sum += static_cast<double>(g[static_cast<size_t>(pixel * c + channel)]) *
                   static_cast<double>(in[static_cast<size_t>((pixel + i * w + j) * c + channel)]);
          }
          want.push_back(sum);
        }
    CHECK_CLOSE(Call("depthwise_conv_weight_gradient")
                    .input("x", x)
                    .input("dy", dy)
                    .attribute("kernel", static_cast<double>(kernel))
                    .result({c, 1, kernel, kernel})
                    .run(),
                want, 1e-6);
  };
  for (const int64_t channels : {1, 16, 17, 64, 83})
    check({2, 5, 7, channels}, 3, HRSAM_F32, HRSAM_F32);
  for (const int64_t kernel : {1, 5, 9}) check({1, 4, 3, 20}, kernel, HRSAM_F32, HRSAM_F32);
  for (const int x_type : kTypes)
    for (const int dy_type : kTypes) check({1, 6, 5, 19}, 3, x_type, dy_type);
  check({3, 40, 33, 48}, 3, HRSAM_F32, HRSAM_F32);
  check({0, 4, 4, 3}, 3, HRSAM_F32, HRSAM_F32);
}

TEST(depthwise_weights_reject_wrong_shapes) {
  const auto error = [](const Dims& x, const Dims& dy, double kernel, const Dims& result) {
    return Call("depthwise_conv_weight_gradient")
        .input("x", random_tensor(x, 1))
        .input("dy", random_tensor(dy, 2))
        .attribute("kernel", kernel)
        .result(result)
        .error();
  };
  CHECK_EQ(error({1, 4, 5, 6}, {1, 4, 5, 6}, 3, {6, 1, 3, 3}), "");
  CHECK_EQ(error({1, 4, 5, 6}, {1, 5, 4, 6}, 3, {6, 1, 3, 3}), "ERR_SHAPE");
  CHECK_EQ(error({1, 4, 5, 6}, {1, 4, 5, 6}, 4, {6, 1, 4, 4}), "ERR_SHAPE");
  CHECK_EQ(error({1, 4, 5, 6}, {1, 4, 5, 6}, 3, {6, 1, 5, 5}), "ERR_SHAPE");
  CHECK_EQ(error({4, 5, 6}, {4, 5, 6}, 3, {6, 1, 3, 3}), "ERR_SHAPE");
}

TEST(prompt_embeddings) {
  constexpr int64_t kWidth = 37;
  std::vector<float> labels;
  const float each[] = {-1, 0, 1, 2, 3, 4, 0.5f, NAN};
  for (size_t i = 0; i < 600; ++i) labels.push_back(each[(i * 5 + i / 7) % 8]);
  const Tensor dy = random_tensor({4, 150, kWidth}, 2);
  const std::vector<float> g = dy.floats();
  std::vector<double> want(5 * kWidth);
  for (size_t i = 0; i < g.size(); ++i) {
    const float label = labels[i / kWidth];
    const size_t row = label == -1 ? 4 : static_cast<size_t>(label);
    if (label != -1 && label != 0 && label != 1 && label != 2 && label != 3) continue;
    want[row * kWidth + i % kWidth] += g[i];
  }
  Call call("prompt_points_gradient");
  call.input("labels", tensor<float>({4, 150}, labels)).input("dy", dy);
  CHECK_CLOSE(call.result({5, kWidth}).run(), want, 1e-6);
  CHECK_EQ(call.result({4, kWidth}).error(), "ERR_SHAPE");
  CHECK_EQ(Call("prompt_points_gradient")
               .input("labels", random_tensor({150, 4}, 1))
               .input("dy", dy)
               .result({5, kWidth})
               .error(),
           "ERR_SHAPE");
}

TEST(prompt_embeddings_without_points) {
  CHECK_MAX(Call("prompt_points_gradient")
                .input("labels", random_tensor({2, 0}, 1))
                .input("dy", random_tensor({2, 0, 3}, 1))
                .result({5, 3})
                .run(),
            std::vector<float>(15), 0);
}
