// linear_fp8 against a product of rounded rows in double precision, the rounding by search among
// all numbers of e4m3. Only Hopper has it; everyone else says so.
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "activation.h"
#include "harness.h"

using namespace hrsam::test;

namespace {

double e4m3(int bits) {
  const int exponent = bits >> 3, fraction = bits & 7;
  return exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
}

// The nearest one, of two as near the one with an even fraction.
double rounded(double x) {
  int best = 0;
  for (int bits = 1; bits < 127; ++bits) {
    const double nearer =
        std::fabs(e4m3(bits) - std::fabs(x)) - std::fabs(e4m3(best) - std::fabs(x));
    if (nearer < 0 || (nearer == 0 && bits % 2 == 0)) best = bits;
  }
  return std::copysign(e4m3(best), x);
}

// Rows as their e4m3 numbers stand for.
std::vector<double> quantised(const std::vector<float>& x, size_t columns) {
  std::vector<double> out(x.size());
  for (size_t row = 0; row < x.size(); row += columns) {
    float largest = 0;
    for (size_t i = row; i < row + columns; ++i) largest = std::max(largest, std::fabs(x[i]));
    const float scale = std::max(largest / 448.0f, 1e-30f);
    const float inverse = 1.0f / scale;
    for (size_t i = row; i < row + columns; ++i)
      out[i] = rounded(static_cast<double>(x[i] * inverse)) * static_cast<double>(scale);
  }
  return out;
}

struct Case {
  int64_t m, n, k;
  int x = HRSAM_BF16, weight = HRSAM_F32, out = HRSAM_F32;
  bool bias = false, residual = false;
  int activation = 0;
};

struct Fp8 {
  explicit Fp8(const Case& given)
      : c(given),
        x(random_tensor({c.m, c.k}, 1, c.x)),
        weight(random_tensor({c.n, c.k}, 2, c.weight)),
        bias(random_tensor({c.n}, 3)),
        residual(random_tensor({c.m, c.n}, 4, c.out)) {}

  Call call() const {
    Call made("linear_fp8");
    made.input("x", x).constant("weight", weight);
    if (c.bias) made.constant("bias", bias);
    if (c.residual) made.in_place("residual", residual);
    return made.attribute("activation", c.activation)
        .attribute("transposed", 0)
        .result({c.m, c.n}, c.out);
  }

  std::vector<double> product(const std::vector<double>& a, const std::vector<double>& w) const {
    const std::vector<float> b = bias.floats(), r = residual.floats();
    const auto columns = static_cast<size_t>(c.n), depth = static_cast<size_t>(c.k);
    std::vector<double> out(static_cast<size_t>(c.m) * columns);
    for (size_t at = 0; at < out.size(); ++at) {
      const size_t i = at / columns, j = at % columns;
      double sum = c.bias ? b[j] : 0;
      for (size_t l = 0; l < depth; ++l) sum += a[i * depth + l] * w[j * depth + l];
      out[at] = activated(sum, c.activation) + (c.residual ? r[at] : 0);
    }
    return out;
  }

  Case c;
  Tensor x, weight, bias, residual;
};

bool has_fp8() {
  if (std::string(backend().name) != "cuda") {
    CHECK(Fp8({1, 1, 1}).call().error() == "ERR_INTERNAL");  // an op of CUDA's alone
    return false;
  }
  const std::string error = Fp8({1, 1, 1}).call().error();
  CHECK(error.empty() || error == "ERR_DEVICE");
  // Where Hopper's instructions are asked for they must be there.
  const char* wgmma = std::getenv("HRSAM_CUDA_WGMMA");
  if (wgmma != nullptr && std::string(wgmma) == "1") CHECK(error.empty());
  return error.empty();
}

void verify(const Case& c) {
  if (!has_fp8()) return;
  const Fp8 fp8(c);
  const auto depth = static_cast<size_t>(c.k);
  const std::vector<float> got = fp8.call().run(), a = fp8.x.floats(), w = fp8.weight.floats();
  const std::vector<double> want = fp8.product(quantised(a, depth), quantised(w, depth));
  // Hopper's tensor cores keep some 14 bits of sums of e4m3 products.
  CHECK_CLOSE(got, want, c.out == HRSAM_BF16 ? 4e-3 : 1e-3);
  const std::vector<double> exact =
      fp8.product(std::vector<double>(a.begin(), a.end()), std::vector<double>(w.begin(), w.end()));
  CHECK_CLOSE(got, exact, 8e-2);  // both factors are off by 2.6 % (rms)
}

}  // namespace

TEST(fp8_is_a_product_of_rounded_rows) { verify({128, 128, 128}); }
TEST(fp8_several_tiles) { verify({200, 264, 384}); }
// More steps of k than are brought ahead.
TEST(fp8_many_steps) { verify({200, 264, 1040}); }
TEST(fp8_ragged_sizes) { verify({5, 3, 70}); }
TEST(fp8_one_of_each) { verify({1, 1, 1}); }
TEST(fp8_a_step_and_a_bit) { verify({130, 136, 136}); }
TEST(fp8_of_f32_rows_and_bf16_weights) { verify({40, 72, 96, HRSAM_F32, HRSAM_BF16}); }
TEST(fp8_with_everything_after_it) {
  verify({70, 136, 64, HRSAM_BF16, HRSAM_F32, HRSAM_BF16, true, true, 1});
}
TEST(fp8_with_every_activation) {
  for (int activation = 0; activation <= 4; ++activation)
    verify({70, 136, 64, HRSAM_BF16, HRSAM_F32, HRSAM_F32, true, false, activation});
}
TEST(fp8_without_rows) {
  if (!has_fp8()) return;
  CHECK(Fp8({0, 8, 16}).call().run().empty());
}
TEST(fp8_rows_of_zeros_and_of_hardly_more) {
  if (!has_fp8()) return;
  for (const float first : {0.0f, 1e-39f, 1e-37f}) {
    Fp8 small({3, 4, 32, HRSAM_F32});
    std::fill(small.x.bytes.begin(), small.x.bytes.end(), static_cast<unsigned char>(0));
    std::memcpy(small.x.bytes.data(), &first, sizeof(first));
    for (const float x : small.call().run()) CHECK(std::fabs(x) <= (first == 0 ? 0 : 1e-30f));
  }
}
