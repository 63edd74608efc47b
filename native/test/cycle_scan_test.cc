// cycle_scan, collapsed and literal, against the recurrence in double precision.
#include <random>

#include "cycle_scan_case.h"
#include "harness.h"

using namespace hrsam::test;

namespace {

std::vector<double> expected(const Case& c, const Data& data) {
  const std::vector<float> u = data.u.floats(), ssm = data.ssm.floats();
  const std::vector<float> a_log = data.a_log.floats(), bias = data.bias.floats();
  const std::vector<float> d = data.d.floats(), gamma = data.gamma.floats();
  const int64_t channels = c.channels, width = channels + 2 * c.states;
  std::vector<double> out(u.size());
  for (int64_t b = 0; b < c.batch; ++b) {
    int64_t first = b * c.tokens();
    for (const int length : c.segments) {
      for (int64_t ch = 0; ch < channels; ++ch) {
        std::vector<double> h(static_cast<size_t>(c.states));
        for (int r = 0; r < (c.gamma ? c.readings : 1); ++r)
          for (int64_t t = first; t < first + length; ++t) {
            const float* row = ssm.data() + t * width;
            double step = static_cast<double>(row[ch]) + (c.bias ? bias[ch] : 0);
            if (c.softplus) step = step > 20 ? step : std::log1p(std::exp(step));
            const double x = u[t * channels + ch];
            double y = c.d ? d[ch] * x : 0;
            for (int n = 0; n < c.states; ++n) {
              const double a = -std::exp(static_cast<double>(a_log[ch * c.states + n]));
              h[n] = std::exp(step * a) * h[n] + step * row[channels + n] * x;
              y += row[channels + c.states + n] * h[n];
            }
            out[t * channels + ch] += y * (c.gamma ? gamma[ch * c.readings + r] : 1);
          }
      }
      first += length;
    }
  }
  return out;
}

Call cycle_scan(const Case& c, const Data& data, bool literal) {
  Call call("cycle_scan");
  call.input("u", data.u).input("ssm", data.ssm).constant("a_log", data.a_log);
  if (c.bias) call.constant("dt_bias", data.bias);
  if (c.d) call.constant("d", data.d);
  if (c.gamma) call.input("gamma", data.gamma);
  return call.attribute("segments", std::vector<double>(c.segments.begin(), c.segments.end()))
      .attribute("softplus", c.softplus ? 1 : 0)
      .attribute("literal", literal ? 1 : 0)
      .attribute("fast", c.fast ? 1 : 0)
      .result({c.batch, c.tokens(), c.channels}, c.out);
}

void verify(const Case& c, uint32_t seed = 1, double f32_tolerance = 2e-6) {
  const Data data = make(c, seed);
  const std::vector<double> want = expected(c, data);
  const double tolerance = c.out == HRSAM_BF16 ? 3e-3 : f32_tolerance;
  CHECK_CLOSE(cycle_scan(c, data, false).run(), want, tolerance);
  CHECK_CLOSE(cycle_scan(c, data, true).run(), want, tolerance);
}

}  // namespace

TEST(any_length) {
  for (const int length : {1, 2, 3, 63, 64, 65, 130, 300}) verify({.segments = {length}});
}

TEST(any_number_of_states) {
  for (const int states : {1, 2, 3, 5, 7, 8, 16, 17, 31, 32, 33})
    verify({.segments = {70}, .channels = 5, .states = states});
}

TEST(any_number_of_channels) {
  for (const int channels : {1, 3, 4, 7, 15, 16, 17, 40, 129, 200})
    verify({.segments = {33}, .channels = channels, .batch = 2});
}

TEST(any_number_of_readings) {
  for (const int readings : {1, 2, 3, 6}) verify({.segments = {90}, .readings = readings});
  verify({.segments = {90}, .gamma = false});
}

TEST(optional_operands) {
  for (const bool bias : {false, true})
    for (const bool d : {false, true})
      for (const bool gamma : {false, true})
        verify({.segments = {40, 9}, .channels = 20, .bias = bias, .d = d, .gamma = gamma});
}

TEST(segments_start_from_zero) {
  verify({.segments = {64, 16, 1, 100}, .channels = 24, .batch = 2});
  verify({.segments = {64, 0, 16}, .channels = 24});
  verify({.segments = {1, 1, 1}, .channels = 2});
}

// From states that forget within a token to states that barely change over the whole sequence.
TEST(fast_and_slow_decays) {
  for (const double decay : {-9.0, -5.0, -2.0, 0.0, 2.0, 5.0})
    for (const double step : {-9.0, -6.0, -3.0, 0.0}) {
      verify({.segments = {500}, .channels = 20, .step = step, .decay = decay});
      // Equal steps: every factor's rounding error is the same one, and 2700 of them add up.
      verify({.segments = {900}, .channels = 4, .step = step, .step_spread = 0, .decay = decay}, 1,
             2e-5);
    }
}

TEST(large_steps) {
  verify({.segments = {80}, .step = 30, .step_spread = 15});
  verify({.segments = {80}, .step = 300, .step_spread = 200});
}

// Without softplus Δ may be negative: states grow, and rounding errors with them.
TEST(growing_states) {
  Case c{.segments = {60}, .bias = false, .softplus = false, .step = -0.05, .step_spread = 0.05};
  verify(c, 1, 2e-5);
  c.step = 0.2;
  c.step_spread = 0.3;
  verify(c, 1, 2e-5);
}

TEST(nan_stays_nan) {
  const Case c{.segments = {200}};
  Data data = make(c, 6);
  std::vector<float> a_log = data.a_log.floats();
  a_log[static_cast<size_t>(3 * c.states + 1)] = NAN;
  data.a_log = tensor<float>(data.a_log.dims, a_log);
  const std::vector<float> y = cycle_scan(c, data, false).run();
  for (size_t i = 0; i < y.size(); ++i) CHECK_EQ(std::isnan(y[i]), i % 8 == 3);
}

// A state that is no number stays it however fast states decay, into the readings that follow.
TEST(nan_is_carried_through_all_readings) {
  for (const int readings : {1, 3})
    for (const int length : {200, 2100}) {
      const Case c{.segments = {length}, .readings = readings, .decay = 2};
      Data data = make(c, 6);
      std::vector<float> u = data.u.floats();
      u[100 * 8 + 3] = NAN;
      data.u = tensor<float>(data.u.dims, u);
      for (const bool literal : {false, true}) {
        const std::vector<float> y = cycle_scan(c, data, literal).run();
        for (size_t i = 0; i < y.size(); ++i)
          CHECK_EQ(std::isnan(y[i]), i % 8 == 3 && (readings > 1 || i >= 100 * 8));
      }
    }
}

TEST(long_sequences_in_chunks) {
  verify({.segments = {2100}, .channels = 8, .states = 16});
  verify({.segments = {1025, 1024, 3, 2500}, .channels = 3, .batch = 2});
  verify({.segments = {3000}, .channels = 5, .readings = 1, .step = -7});
  verify({.segments = {3000}, .channels = 20, .step = -7, .decay = -2});
  verify({.segments = {2100}, .channels = 130});
}

TEST(types) {
  for (const int u : {HRSAM_F32, HRSAM_BF16})
    for (const int ssm : {HRSAM_F32, HRSAM_BF16})
      for (const int out : {HRSAM_F32, HRSAM_BF16}) {
        verify({.segments = {100, 30}, .channels = 37, .u_type = u, .ssm_type = ssm, .out = out});
        verify({.segments = {1500}, .channels = 37, .u_type = u, .ssm_type = ssm, .out = out});
      }
}

// Each power off by 2^-22 the same way, of which the slow decays multiply thousands. A CPU has
// nothing faster.
TEST(fast_powers) {
  for (const int states : {4, 16, 32, 40, 100}) {
    verify({.segments = {70, 30}, .channels = 37, .states = states, .fast = true}, 1, 1e-5);
    verify({.segments = {500}, .channels = 5, .states = states, .fast = true, .step = -7}, 1, 2e-4);
  }
  verify({.segments = {3000}, .channels = 20, .fast = true, .step = -7, .decay = -2}, 1, 3e-4);
}

TEST(random_calls) {
  std::mt19937 random(3);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int i = 0; i < random_cases(40); ++i)
    verify({.segments = {1 + below(200), below(100)},
            .channels = 1 + below(50),
            .states = 1 + below(40),
            .readings = 1 + below(4),
            .batch = 1 + below(3),
            .step = -8.0 + below(9),
            .decay = -4.0 + below(7)},
           static_cast<uint32_t>(50 + i));
}

TEST(a_batch_equals_its_items) {
  for (const int length : {70, 1300}) {
    const Case c{.segments = {length}, .channels = 20, .batch = 3};
    Case one = c;
    one.batch = 1;
    const Data data = make(c, 9);
    const std::vector<float> all = cycle_scan(c, data, false).run();
    const auto item = [](Tensor t, int64_t i) {
      const int64_t size = static_cast<int64_t>(t.bytes.size()) / 3;
      t.bytes = std::vector<uint8_t>(t.bytes.begin() + i * size, t.bytes.begin() + (i + 1) * size);
      t.dims[0] = 1;
      return t;
    };
    for (int64_t b = 0; b < 3; ++b) {
      Data alone = data;
      alone.u = item(data.u, b);
      alone.ssm = item(data.ssm, b);
      const std::vector<float> got = cycle_scan(one, alone, false).run();
      CHECK(std::equal(got.begin(), got.end(), all.begin() + b * static_cast<int64_t>(got.size())));
    }
  }
}

TEST(wrong_plans) {
  const Case good{.segments = {10}};
  const Data data = make(good, 1);
  CHECK_EQ(cycle_scan(good, data, false).error(), "");
  const auto with = [&](auto change) {
    Data wrong = data;
    change(wrong);
    return cycle_scan(good, wrong, false).error();
  };
  CHECK_EQ(with([](Data& x) { x.ssm = random_tensor({1, 10, 15}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Data& x) { x.ssm = random_tensor({1, 9, 16}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Data& x) { x.a_log = random_tensor({7, 4}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Data& x) { x.bias = random_tensor({9}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Data& x) { x.gamma = random_tensor({8, 3}, 1); }), "ERR_SHAPE");
  Case short_segments = good;
  short_segments.segments = {4, 5};
  CHECK_EQ(cycle_scan(short_segments, data, false).result({1, 10, 8}).error(), "ERR_SHAPE");
}
