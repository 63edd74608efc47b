// cycle_scan_gradient against reverse-mode differentiation of the literal recurrence (R readings
// one after the other) in double precision.
#include <random>

#include "cycle_scan_case.h"
#include "harness.h"

using namespace hrsam::test;

namespace {

// Gradients by operand, in the order of the result; those the case lacks are empty.
using Gradients = std::vector<std::vector<double>>;
enum { kU, kSsm, kALog, kBias, kD, kGamma };

Gradients expected(const Case& c, const Data& data) {
  const std::vector<float> u = data.u.floats(), ssm = data.ssm.floats();
  const std::vector<float> a_log = data.a_log.floats(), bias = data.bias.floats();
  const std::vector<float> d = data.d.floats(), gamma = data.gamma.floats();
  const std::vector<float> dy = data.dy.floats();
  const int readings = c.gamma ? c.readings : 1;
  Gradients out{std::vector<double>(u.size()), std::vector<double>(ssm.size()),
                std::vector<double>(a_log.size())};
  out.emplace_back(c.bias ? bias.size() : 0);
  out.emplace_back(c.d ? d.size() : 0);
  out.emplace_back(c.gamma ? gamma.size() : 0);
  const auto add = [&](int operand, int64_t at, double x) {
    if (!out[operand].empty()) out[operand][at] += x;
  };
  for (int64_t b = 0; b < c.batch; ++b) {
    int64_t first = b * c.tokens();
    for (const int length : c.segments) {
      const int64_t states = c.states;
      for (int64_t ch = 0; ch < c.channels; ++ch) {
        // h[i + 1]: the states after step i of all readings.
        std::vector<double> h(static_cast<size_t>((readings * length + 1) * states));
        std::vector<double> raw(length), step(length), slope(length);
        for (int64_t t = 0; t < length; ++t) {
          raw[t] = static_cast<double>(ssm[(first + t) * c.width() + ch]) + (c.bias ? bias[ch] : 0);
          const bool bends = c.softplus && raw[t] <= 20;
          step[t] = bends ? std::log1p(std::exp(raw[t])) : raw[t];
          slope[t] = bends ? 1 / (1 + std::exp(-raw[t])) : 1;
        }
        const auto a = [&](int64_t n) {
          return -std::exp(static_cast<double>(a_log[ch * states + n]));
        };
        for (int64_t i = 0; i < int64_t{readings} * length; ++i) {
          const int64_t t = first + i % length;
          for (int64_t n = 0; n < states; ++n)
            h[(i + 1) * states + n] =
                std::exp(step[i % length] * a(n)) * h[i * states + n] +
                step[i % length] * ssm[t * c.width() + c.channels + n] * u[t * c.channels + ch];
        }
        std::vector<double> dh(static_cast<size_t>(states));
        for (int64_t i = int64_t{readings} * length - 1; i >= 0; --i) {
          const int64_t local = i % length, t = first + local, reading = i / length;
          const float* row = ssm.data() + t * c.width();
          const double x = u[t * c.channels + ch], delta = step[local];
          const double weight = c.gamma ? gamma[ch * readings + reading] : 1;
          const double gradient = dy[t * c.channels + ch], dyr = weight * gradient;
          double y = c.d ? d[ch] * x : 0, dstep = 0, du = c.d ? d[ch] * dyr : 0;
          for (int64_t n = 0; n < states; ++n) {
            const double after = h[(i + 1) * states + n], before = h[i * states + n];
            const double in = row[c.channels + n];
            y += row[c.channels + states + n] * after;
            add(kSsm, t * c.width() + c.channels + states + n, after * dyr);
            dh[n] += row[c.channels + states + n] * dyr;
            const double factor = std::exp(delta * a(n)), dz = factor * dh[n] * before;
            add(kALog, ch * states + n, dz * delta * a(n));
            add(kSsm, t * c.width() + c.channels + n, dh[n] * delta * x);
            dstep += dz * a(n) + dh[n] * in * x;
            du += dh[n] * delta * in;
            dh[n] *= factor;
          }
          add(kU, t * c.channels + ch, du);
          add(kSsm, t * c.width() + ch, dstep * slope[local]);
          add(kBias, ch, dstep * slope[local]);
          add(kD, ch, dyr * x);
          add(kGamma, ch * readings + reading, gradient * y);
        }
      }
      first += length;
    }
  }
  return out;
}

Call gradient(const Case& c, const Data& data) {
  Call call("cycle_scan_gradient");
  call.input("u", data.u).input("ssm", data.ssm).constant("a_log", data.a_log);
  call.input("dy", data.dy);
  int64_t size = c.batch * c.tokens() * (c.channels + c.width()) + int64_t{c.channels} * c.states;
  const auto optional = [&](bool present, const char* name, const Tensor& value) {
    if (!present) return;
    call.input(name, value);
    size += elements_of(value.dims);
  };
  optional(c.bias, "dt_bias", data.bias);
  optional(c.d, "d", data.d);
  optional(c.gamma, "gamma", data.gamma);
  return call.attribute("segments", std::vector<double>(c.segments.begin(), c.segments.end()))
      .attribute("softplus", c.softplus ? 1 : 0)
      .attribute("literal", 0)
      .attribute("fast", c.fast ? 1 : 0)
      .result({size});
}

void verify(const Case& c, uint32_t seed = 1, double tolerance = 4e-6) {
  const Data data = make(c, seed);
  const std::vector<float> got = gradient(c, data).run();
  size_t at = 0;
  for (const std::vector<double>& want : expected(c, data)) {
    CHECK_LE(at + want.size(), got.size());
    const std::vector<float> part(got.begin() + static_cast<int64_t>(at),
                                  got.begin() + static_cast<int64_t>(at + want.size()));
    at += want.size();
    CHECK_CLOSE(part, want, tolerance);
  }
  CHECK_EQ(at, got.size());
}

}  // namespace

TEST(any_length) {
  for (const int length : {1, 2, 3, 31, 32, 33, 64, 65, 130, 300}) verify({.segments = {length}});
}

TEST(any_number_of_states) {
  for (const int states : {1, 2, 3, 5, 7, 8, 16, 17, 31, 32, 33})
    verify({.segments = {70}, .channels = 5, .states = states});
}

TEST(any_number_of_channels) {
  for (const int channels : {1, 3, 4, 7, 15, 16, 17, 40, 129, 300})
    verify({.segments = {33}, .channels = channels, .batch = 2});
}

TEST(any_number_of_readings) {
  for (const int readings : {1, 2, 3, 4, 6}) {
    verify({.segments = {90}, .readings = readings});
    // States that have decayed little by the end.
    verify({.segments = {90}, .readings = readings, .step = -7});
    verify({.segments = {4}, .readings = readings, .step = -6});
  }
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

// Past 20 softplus is its argument; far below, Δ is its exponential.
TEST(steps_of_all_sizes) {
  verify({.segments = {80}, .step = -12, .step_spread = 3});
  verify({.segments = {80}, .step = 0, .step_spread = 3});
  verify({.segments = {80}, .step = 20, .step_spread = 3}, 1, 1e-5);
  verify({.segments = {80}, .step = 300, .step_spread = 200}, 1, 1e-5);
}

TEST(fast_and_slow_decay) {
  for (const double decay : {-6.0, -3.0, 3.0, 6.0}) verify({.segments = {150}, .decay = decay});
}

// Without softplus Δ may be negative: states grow, and rounding errors with them.
TEST(growing_states) {
  Case c{.segments = {60}, .bias = false, .softplus = false, .step = -0.05, .step_spread = 0.05};
  verify(c, 1, 4e-5);
  c.step = 0.2;
  c.step_spread = 0.3;
  verify(c, 1, 4e-5);
}

TEST(long_sequences) {
  verify({.segments = {2100}, .channels = 8, .states = 16}, 1, 1e-5);
  verify({.segments = {3000}, .channels = 5, .readings = 1, .step = -7}, 1, 1e-5);
  verify({.segments = {3000}, .channels = 20, .step = -7, .decay = -2}, 1, 1e-5);
}

TEST(types) {
  for (const int type : {HRSAM_F32, HRSAM_BF16})
    for (const int dy : {HRSAM_F32, HRSAM_BF16})
      verify(
          {.segments = {100, 30}, .channels = 37, .u_type = type, .ssm_type = type, .dy_type = dy});
}

// Each power off by 2^-22 the same way. A CPU has nothing faster.
TEST(fast_powers) {
  for (const int states : {4, 16, 32, 40, 100}) {
    verify({.segments = {70, 30}, .channels = 37, .states = states, .fast = true}, 1, 2e-5);
    verify({.segments = {300}, .channels = 5, .states = states, .fast = true, .step = -7}, 1, 3e-4);
  }
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
           static_cast<uint32_t>(50 + i), 1e-5);
}

TEST(no_tokens) {
  const Case c{.segments = {}, .bias = false};
  const std::vector<float> got = gradient(c, make(c, 1)).run();
  for (const float x : got) CHECK_EQ(x, 0.0f);
}

TEST(wrong_plans) {
  const Case good{.segments = {10}};
  const Data data = make(good, 1);
  CHECK_EQ(gradient(good, data).error(), "");
  const auto with = [&](auto change) {
    Data wrong = data;
    change(wrong);
    return gradient(good, wrong).error();
  };
  CHECK_EQ(with([](Data& x) { x.ssm = random_tensor({1, 10, 15}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Data& x) { x.dy = random_tensor({1, 9, 8}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Data& x) { x.a_log = random_tensor({7, 4}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Data& x) { x.bias = random_tensor({9}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Data& x) { x.gamma = random_tensor({8, 3}, 1); }), "ERR_SHAPE");
  Case other = good;
  other.segments = {4, 5};
  CHECK_EQ(gradient(other, data).result({1}).error(), "ERR_SHAPE");
}
