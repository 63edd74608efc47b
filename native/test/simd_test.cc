// The vector wrapper's functions in every instruction set, through ops that show them bare.
#include <cstring>

#include "harness.h"

using namespace hrsam::test;

namespace {

std::vector<float> range(double low, double high, int count) {
  std::vector<float> values;
  for (int i = 0; i < count; ++i)
    values.push_back(static_cast<float>(low + (high - low) * i / (count - 1)));
  return values;
}

std::vector<float> activated(const std::vector<float>& x, int activation) {
  const Dims dims{static_cast<int64_t>(x.size())};
  return Call("activation")
      .input("x", tensor(dims, x))
      .attribute("activation", activation)
      .result(dims)
      .run();
}

// Δ of one token through the scan: with A, B, C and u one, y = Δ.
std::vector<float> softplus(const std::vector<float>& x) {
  const int64_t n = static_cast<int64_t>(x.size());
  std::vector<float> ssm = x;
  ssm.insert(ssm.end(), {1, 1});
  return Call("cycle_scan")
      .input("u", tensor({1, 1, n}, std::vector<float>(x.size(), 1)))
      .input("ssm", tensor({1, 1, n + 2}, ssm))
      .constant("a_log", tensor({n, 1}, std::vector<float>(x.size(), 0)))
      .attribute("segments", 1)
      .attribute("softplus", 1)
      .attribute("literal", 0)
      .attribute("fast", 0)
      .result({1, 1, n})
      .run();
}

// e^-x: what is left of a state of one after a step of x.
std::vector<float> decayed(const std::vector<float>& x) {
  const int64_t n = static_cast<int64_t>(x.size());
  std::vector<float> u(x.size(), 1), ssm(x.size(), 1);
  u.resize(2 * x.size(), 0);
  ssm.insert(ssm.end(), {1, 1});
  ssm.insert(ssm.end(), x.begin(), x.end());
  ssm.insert(ssm.end(), {1, 1});
  const std::vector<float> both =
      Call("cycle_scan")
          .input("u", tensor({1, 2, n}, u))
          .input("ssm", tensor({1, 2, n + 2}, ssm))
          .constant("a_log", tensor({n, 1}, std::vector<float>(x.size(), 0)))
          .attribute("segments", 2)
          .attribute("softplus", 0)
          .attribute("literal", 0)
          .attribute("fast", 0)
          .result({1, 2, n})
          .run();
  return std::vector<float>(both.begin() + n, both.end());
}

// The largest error relative to max(floor, |f(x)|).
template <class F>
double worst(const std::vector<float>& x, const std::vector<float>& y, double floor, F f) {
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = f(static_cast<double>(x[i]));
    const double error = std::fabs(y[i] - want) / std::max(floor, std::fabs(want));
    if (!(error <= largest)) largest = std::isnan(error) ? INFINITY : error;
  }
  return largest;
}

double gelu(double x) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

TEST(exponential_behind_sigmoid_and_silu) {
  for (const double reach : {1.0, 10.0, 86.0}) {
    const std::vector<float> x = range(-reach, reach, 20011);
    CHECK_LE(worst(x, activated(x, 4), 0, sigmoid), 4e-7);
    CHECK_LE(worst(x, activated(x, 2), 1e-30, [](double v) { return v * sigmoid(v); }), 5e-7);
  }
}

TEST(exponential_of_the_scan) {
  for (const double reach : {1e-6, 1e-3, 1.0}) {
    const std::vector<float> x = range(0, reach, 5003);
    CHECK_LE(worst(x, decayed(x), 0, [](double v) { return std::exp(-v); }), 3e-7);
  }
  // Farther away the product with log2(e) is rounded: an error in proportion to x.
  const std::vector<float> x = range(0, 80, 5003);
  CHECK_LE(worst(x, decayed(x), 0, [](double v) { return std::exp(-v); }), 1e-5);
  for (const float y : decayed(range(200, 1e30, 33))) CHECK_EQ(y, 0.0f);
}

TEST(softplus_keeps_its_relative_accuracy) {
  for (const auto& [low, high] :
       {std::pair(-85.0, -10.0), {-10.0, 0.0}, {0.0, 20.0}, {-1.0, 1.0}}) {
    const std::vector<float> x = range(low, high, 10007);
    CHECK_LE(worst(x, softplus(x), 0, [](double v) { return std::log1p(std::exp(v)); }), 4e-7);
  }
  const std::vector<float> large = range(20.5, 1e6, 101);
  CHECK(softplus(large) == large);
}

TEST(gelu_by_the_error_function) {
  for (const double reach : {0.1, 1.0, 3.0, 6.0}) {
    const std::vector<float> x = range(-reach, reach, 20011);
    CHECK_LE(worst(x, activated(x, 1), std::max(1.0, reach), gelu), 2e-7);
  }
  const std::vector<float> small = range(-1e-3, 1e-3, 1000);
  CHECK_LE(worst(small, activated(small, 1), 0, gelu), 3e-7);
  const std::vector<float> large = range(6, 1e6, 101);
  CHECK_LE(worst(large, activated(large, 1), 0, gelu), 1e-7);
}

TEST(far_away_and_not_a_number) {
  const std::vector<float> x{1e30f, -1e30f, INFINITY, NAN, 0.0f, -0.0f, 1e-42f, 88.8f, -88.8f};
  const std::vector<float> relu = activated(x, 3), half = activated(x, 4), silu = activated(x, 2);
  CHECK_EQ(relu[0], 1e30f);
  CHECK_EQ(relu[1], 0.0f);
  CHECK_EQ(half[0], 1.0f);
  CHECK_EQ(half[1], 0.0f);
  CHECK_EQ(half[2], 1.0f);
  CHECK(std::isnan(half[3]) && std::isnan(silu[3]) && std::isnan(activated(x, 1)[3]));
  CHECK_EQ(half[4], 0.5f);
  CHECK_EQ(silu[2], INFINITY);
  CHECK_EQ(silu[1], -0.0f);
  CHECK(half[8] >= 0 && half[8] < 1e-38);
}

// Every length takes the tail's way once, and touches nothing beyond it (run() checks the guard
// bytes).
TEST(tails_of_loads_and_stores) {
  for (int64_t n = 1; n <= 40; ++n) {
    const Tensor x = random_tensor({n}, static_cast<uint32_t>(n));
    const std::vector<float> values = x.floats();
    const auto cast = [&](const Tensor& from, int to) {
      return Call("cast").input("x", from).result({n}, to).run_tensor();
    };
    const Tensor narrow = cast(x, HRSAM_BF16);
    const std::vector<float> rounded = narrow.floats();
    for (size_t i = 0; i < values.size(); ++i) CHECK_EQ(rounded[i], rounded_bf16(values[i]));
    CHECK(cast(narrow, HRSAM_F32).floats() == rounded);
  }
}

TEST(bf16_rounds_to_nearest_even) {
  std::vector<float> x;
  for (const uint32_t bits :
       {0x3f800000u, 0x3f808000u, 0x3f808001u, 0x3f818000u, 0x3f817fffu, 0x7f7f7fffu, 0x7f7f8000u,
        0x7f800000u, 0xff800000u, 0x80000000u, 0xbf808000u, 0x00800000u}) {
    float value;
    std::memcpy(&value, &bits, 4);
    x.push_back(value);
  }
  const Dims dims{static_cast<int64_t>(x.size())};
  const std::vector<float> y =
      Call("cast").input("x", tensor(dims, x)).result(dims, HRSAM_BF16).run();
  for (size_t i = 0; i < x.size(); ++i) CHECK_EQ(y[i], rounded_bf16(x[i]));
  const std::vector<float> none = Call("cast")
                                      .input("x", tensor({17}, std::vector<float>(17, NAN)))
                                      .result({17}, HRSAM_BF16)
                                      .run();
  for (const float value : none) CHECK(std::isnan(value));
}
