// mul, and the gradients of activations and of LayerNorm's argument, against formulas in double
// precision.
#include "harness.h"

using namespace hrsam::test;

namespace {

const int kTypes[] = {HRSAM_F32, HRSAM_BF16};

double slope(double x, int activation) {
  const double s = 1 / (1 + std::exp(-x));
  switch (activation) {
    case 1:
      return 0.5 * std::erfc(-x * std::sqrt(0.5)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
    case 2:
      return s + x * s / (1 + std::exp(x));
    case 3:
      return x > 0 ? 1 : 0;
    case 4:
      return s / (1 + std::exp(x));
    default:
      return 1;
  }
}

Call activation_gradient(const Tensor& x, int activation, int dtype = HRSAM_F32) {
  return Call("activation_gradient")
      .input("x", x)
      .attribute("activation", activation)
      .result(x.dims, dtype);
}

std::vector<double> norm_gradient(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                  double eps) {
  const std::vector<float> in = x.floats(), w = weight.floats(), g = dy.floats();
  const size_t channels = w.size();
  const double n = static_cast<double>(channels);
  std::vector<double> out(in.size());
  for (size_t row = 0; row < in.size(); row += channels) {
    double mean = 0, variance = 0, sum = 0, product = 0;
    for (size_t c = 0; c < channels; ++c) mean += in[row + c] / n;
    for (size_t c = 0; c < channels; ++c) variance += std::pow(in[row + c] - mean, 2) / n;
    const double factor = 1 / std::sqrt(variance + eps);
    for (size_t c = 0; c < channels; ++c) {
      const double above = static_cast<double>(g[row + c]) * static_cast<double>(w[c]);
      sum += above / n;
      product += above * (in[row + c] - mean) * factor / n;
    }
    for (size_t c = 0; c < channels; ++c)
      out[row + c] = factor * (static_cast<double>(g[row + c]) * static_cast<double>(w[c]) - sum -
                               (in[row + c] - mean) * factor * product);
  }
  return out;
}

Call layer_norm_gradient(const Tensor& x, const Tensor& weight, double eps, int dtype = HRSAM_F32) {
  return Call("layer_norm_gradient")
      .input("x", x)
      .input("weight", weight)
      .attribute("eps", eps)
      .result(x.dims, dtype);
}

}  // namespace

TEST(products_in_every_type) {
  for (const int a_type : kTypes)
    for (const int b_type : kTypes)
      for (const int y_type : kTypes)
        for (const int64_t n : {0, 1, 15, 16, 33, 70001}) {
          const Tensor a = random_tensor({n}, 1, a_type), b = random_tensor({n}, 2, b_type);
          const std::vector<float> left = a.floats(), right = b.floats();
          std::vector<double> want;
          for (size_t i = 0; i < left.size(); ++i)
            want.push_back(static_cast<double>(left[i]) * static_cast<double>(right[i]));
          CHECK_CLOSE(Call("mul").input("a", a).input("b", b).result({n}, y_type).run(), want,
                      y_type == HRSAM_F32 ? 1e-7 : 3e-3);
        }
}

TEST(product_in_place_and_with_itself) {
  const Tensor a = random_tensor({100}, 1), b = random_tensor({100}, 2);
  const std::vector<float> want = Call("mul").input("a", a).input("b", b).result({100}).run();
  CHECK_MAX(Call("mul").in_place("a", a).input("b", b).result({100}).run(), want, 0);
}

TEST(product_rejects_wrong_shapes) {
  const Tensor a = random_tensor({2, 3}, 1);
  CHECK_EQ(Call("mul").input("a", a).input("b", random_tensor({3}, 1)).result({2, 3}).error(),
           "ERR_SHAPE");
  CHECK_EQ(Call("mul").input("a", a).input("b", a).result({3, 2}).error(), "ERR_SHAPE");
  CHECK_EQ(Call("mul").input("a", a).input("b", a).result({2, 3}, HRSAM_I32).error(), "ERR_SHAPE");
}

TEST(slopes_of_all_activations) {
  std::vector<float> values{0, -0.0f, 1e-30f, -1e-30f, 30, -30, 87, -87, 200, -200};
  for (int i = -4000; i <= 4000; ++i) values.push_back(static_cast<float>(i) * 2.5e-3f);
  const int64_t n = static_cast<int64_t>(values.size());
  const Tensor x = tensor<float>({n}, values),
               ones = tensor<float>({n}, std::vector<float>(values.size(), 1));
  for (int activation = 0; activation <= 4; ++activation) {
    std::vector<double> want;
    for (const float value : values) want.push_back(slope(value, activation));
    CHECK_MAX(activation_gradient(x, activation).input("dy", ones).run(), want, 5e-7);
  }
}

TEST(slopes_in_every_type_and_in_place) {
  for (const int x_type : kTypes)
    for (const int dy_type : kTypes)
      for (int activation = 0; activation <= 4; ++activation) {
        const Tensor x = random_tensor({3, 77}, 1, x_type), dy = random_tensor({3, 77}, 2, dy_type);
        const std::vector<float> at = x.floats(), g = dy.floats();
        std::vector<double> want;
        for (size_t i = 0; i < at.size(); ++i) want.push_back(g[i] * slope(at[i], activation));
        const double tolerance = dy_type == HRSAM_F32 ? 1e-6 : 3e-3;
        CHECK_CLOSE(activation_gradient(x, activation, dy_type).input("dy", dy).run(), want,
                    tolerance);
        CHECK_CLOSE(
            activation_gradient(x, activation, dy_type).in_place("dy", dy).run_tensor().floats(),
            want, tolerance);
      }
}

TEST(slopes_reject_wrong_shapes) {
  const Tensor x = random_tensor({2, 3}, 1);
  CHECK_EQ(activation_gradient(x, 1).input("dy", random_tensor({3, 2}, 1)).error(), "ERR_SHAPE");
  CHECK_EQ(activation_gradient(x, 5).input("dy", x).error(), "ERR_ARGUMENT");
  CHECK_EQ(activation_gradient(x, -1).input("dy", x).error(), "ERR_ARGUMENT");
}

TEST(norm_of_any_number_of_channels) {
  for (const int64_t channels : {1, 2, 3, 15, 16, 17, 33, 96, 768, 1281}) {
    const Tensor x = random_tensor({3, 5, channels}, 1, HRSAM_F32, 2);
    const Tensor w = random_tensor({channels}, 2), dy = random_tensor({3, 5, channels}, 3);
    const std::vector<double> want = norm_gradient(x, w, dy, 1e-3);
    // Of one channel nothing is left but the difference of two equal numbers.
    if (channels == 1)
      CHECK_MAX(layer_norm_gradient(x, w, 1e-3).input("dy", dy).run(), want, 1e-6);
    else
      CHECK_CLOSE(layer_norm_gradient(x, w, 1e-3).input("dy", dy).run(), want, 3e-6);
  }
}

TEST(norm_in_every_type_and_in_place) {
  const Tensor w = random_tensor({77}, 2);
  for (const int x_type : kTypes)
    for (const int dy_type : kTypes)
      for (const int dx_type : kTypes) {
        const Tensor x = random_tensor({9, 77}, 1, x_type), dy = random_tensor({9, 77}, 3, dy_type);
        const std::vector<double> want = norm_gradient(x, w, dy, 1e-6);
        const double tolerance = dx_type == HRSAM_F32 ? 2e-6 : 3e-3;
        CHECK_CLOSE(layer_norm_gradient(x, w, 1e-6, dx_type).input("dy", dy).run(), want,
                    tolerance);
        if (dx_type == dy_type)
          CHECK_CLOSE(layer_norm_gradient(x, w, 1e-6, dx_type).in_place("dy", dy).run(), want,
                      tolerance);
      }
}

TEST(norm_with_large_mean) {
  std::vector<float> values = random_tensor({6, 513}, 1).floats();
  for (float& value : values) value += 1e4f;
  const Tensor x = tensor<float>({6, 513}, values), w = random_tensor({513}, 2);
  const Tensor dy = random_tensor({6, 513}, 3);
  CHECK_CLOSE(layer_norm_gradient(x, w, 1e-5).input("dy", dy).run(), norm_gradient(x, w, dy, 1e-5),
              3e-6);
}

TEST(norm_of_many_rows_and_none) {
  const Tensor w = random_tensor({40}, 2), x = random_tensor({4099, 40}, 1);
  const Tensor dy = random_tensor({4099, 40}, 3);
  CHECK_CLOSE(layer_norm_gradient(x, w, 1e-5).input("dy", dy).run(), norm_gradient(x, w, dy, 1e-5),
              2e-6);
  const Tensor none = random_tensor({0, 40}, 1);
  CHECK_EQ(layer_norm_gradient(none, w, 1e-5).input("dy", none).run().size(), 0u);
}

TEST(norm_rejects_wrong_shapes) {
  const Tensor x = random_tensor({4, 8}, 1), w = random_tensor({8}, 2);
  CHECK_EQ(layer_norm_gradient(x, w, 1e-5).input("dy", x).error(), "");
  CHECK_EQ(layer_norm_gradient(x, random_tensor({7}, 2), 1e-5).input("dy", x).error(), "ERR_SHAPE");
  CHECK_EQ(layer_norm_gradient(x, w, 1e-5).input("dy", random_tensor({8, 4}, 1)).error(),
           "ERR_SHAPE");
  CHECK_EQ(layer_norm_gradient(x, w, 1e-5).input("dy", x).result({4, 7}).error(), "ERR_SHAPE");
}
