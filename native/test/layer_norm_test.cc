// layer_norm against double precision.
#include "activation.h"
#include "harness.h"

using namespace hrsam::test;

namespace {

std::vector<double> expected(const Tensor& x, const Tensor& weight, const Tensor& bias,
                             const Tensor* gate, double eps, int activation) {
  const std::vector<float> in = x.floats(), w = weight.floats(), b = bias.floats();
  const std::vector<float> g = gate != nullptr ? gate->floats() : std::vector<float>();
  const size_t channels = w.size();
  std::vector<double> out(in.size());
  for (size_t row = 0; row < in.size(); row += channels) {
    double mean = 0, variance = 0;
    for (size_t c = 0; c < channels; ++c) mean += in[row + c];
    mean /= static_cast<double>(channels);
    for (size_t c = 0; c < channels; ++c) variance += std::pow(in[row + c] - mean, 2);
    variance /= static_cast<double>(channels);
    for (size_t c = 0; c < channels; ++c) {
      const double z = (in[row + c] - mean) / std::sqrt(variance + eps) * w[c] + b[c];
      out[row + c] = activated(z, activation) * (g.empty() ? 1 : g[row + c]);
    }
  }
  return out;
}

Call layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps = 1e-5,
                int activation = 0, int dtype = HRSAM_F32) {
  return Call("layer_norm")
      .input("x", x)
      .constant("weight", weight)
      .constant("bias", bias)
      .attribute("eps", eps)
      .attribute("activation", activation)
      .result(x.dims, dtype);
}

}  // namespace

TEST(any_number_of_channels) {
  for (const int64_t channels : {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 48, 256, 768, 1281}) {
    const Tensor x = random_tensor({3, 5, channels}, 1, HRSAM_F32, 2);
    const Tensor w = random_tensor({channels}, 2), b = random_tensor({channels}, 3);
    CHECK_CLOSE(layer_norm(x, w, b).run(), expected(x, w, b, nullptr, 1e-5, 0), 1e-6);
  }
}

TEST(many_rows_and_no_row) {
  const Tensor w = random_tensor({40}, 2), b = random_tensor({40}, 3);
  const Tensor x = random_tensor({4099, 40}, 1);
  CHECK_CLOSE(layer_norm(x, w, b).run(), expected(x, w, b, nullptr, 1e-5, 0), 1e-6);
  CHECK_EQ(layer_norm(random_tensor({0, 40}, 1), w, b).run().size(), 0u);
}

TEST(activations_and_gate_in_every_type) {
  const Tensor w = random_tensor({77}, 2), b = random_tensor({77}, 3);
  for (const int x_type : {HRSAM_F32, HRSAM_BF16})
    for (const int y_type : {HRSAM_F32, HRSAM_BF16})
      for (int activation = 0; activation <= 4; ++activation) {
        const Tensor x = random_tensor({9, 77}, 1, x_type);
        const Tensor gate = random_tensor({9, 77}, 4, activation % 2 == 0 ? HRSAM_F32 : HRSAM_BF16);
        const double tolerance = y_type == HRSAM_F32 ? 1e-6 : 3e-3;
        CHECK_CLOSE(layer_norm(x, w, b, 1e-6, activation, y_type).run(),
                    expected(x, w, b, nullptr, 1e-6, activation), tolerance);
        CHECK_CLOSE(layer_norm(x, w, b, 1e-6, activation, y_type).input("gate", gate).run(),
                    expected(x, w, b, &gate, 1e-6, activation), tolerance);
      }
}

// What the input's own rounding leaves is all that may be lost.
TEST(large_mean_small_spread) {
  const Tensor w = tensor<float>({513}, std::vector<float>(513, 1)), b = random_tensor({513}, 3);
  for (const double mean : {100.0, 1e4, -3e5})
    for (const double spread : {1.0, 1e-2}) {
      std::vector<float> values = random_tensor({6, 513}, 1, HRSAM_F32, spread).floats();
      for (float& value : values) value += static_cast<float>(mean);
      const Tensor x = tensor<float>({6, 513}, values);
      CHECK_CLOSE(layer_norm(x, w, b).run(), expected(x, w, b, nullptr, 1e-5, 0), 2e-6);
    }
}

TEST(constant_row) {
  const Tensor x = tensor<float>({2, 37}, std::vector<float>(74, 1234.567f));
  const Tensor w = random_tensor({37}, 2), b = random_tensor({37}, 3);
  CHECK_MAX(layer_norm(x, w, b).run(), expected(x, w, b, nullptr, 1e-5, 0), 1e-6);
}

TEST(not_a_number_stays_in_its_row) {
  std::vector<float> values(80, 1);
  for (size_t i = 0; i < 80; ++i) values[i] = static_cast<float>(i % 7);
  values[45] = NAN;
  const Tensor w = random_tensor({40}, 2), b = random_tensor({40}, 3);
  const std::vector<float> out = layer_norm(tensor<float>({2, 40}, values), w, b).run();
  for (size_t i = 0; i < 40; ++i) CHECK(std::isfinite(out[i]) && std::isnan(out[40 + i]));
}

TEST(wrong_shapes) {
  const Tensor x = random_tensor({4, 8}, 1), w = random_tensor({8}, 2), b = random_tensor({8}, 3);
  const Tensor seven = random_tensor({7}, 2);
  CHECK_EQ(layer_norm(x, seven, b).error(), "ERR_SHAPE");
  CHECK_EQ(layer_norm(x, w, seven).error(), "ERR_SHAPE");
  CHECK_EQ(layer_norm(x, w, b).result({4, 7}).error(), "ERR_SHAPE");
  CHECK_EQ(layer_norm(x, w, b).input("gate", seven).error(), "ERR_SHAPE");
  CHECK_EQ(layer_norm(x, w, b, 1e-5, 9).error(), "ERR_ARGUMENT");
}
