// Operands of cycle_scan and of its gradient.
#pragma once

#include "harness.h"

namespace hrsam::test {

struct Case {
  std::vector<int> segments;
  int channels = 8, states = 4, readings = 3, batch = 1;
  bool bias = true, d = true, gamma = true, softplus = true, fast = false;
  double step = -3;        // mean of Δ before bias and softplus
  double step_spread = 1;  // and its standard deviation
  double decay = 0;        // mean of a_log
  int u_type = HRSAM_F32, ssm_type = HRSAM_F32, dy_type = HRSAM_F32, out = HRSAM_F32;

  int64_t tokens() const {
    int64_t n = 0;
    for (const int length : segments) n += length;
    return n;
  }
  int64_t width() const { return channels + 2 * int64_t{states}; }
};

struct Data {
  Tensor u, ssm, a_log, bias, d, gamma, dy;
};

inline Data make(const Case& c, uint32_t seed) {
  std::vector<float> ssm = random_tensor({c.batch, c.tokens(), c.width()}, seed).floats();
  for (size_t i = 0; i < ssm.size(); ++i)
    if (static_cast<int64_t>(i) % c.width() < c.channels)
      ssm[i] = static_cast<float>(ssm[i] * c.step_spread + c.step);
  std::vector<float> a_log =
      random_tensor({c.channels, c.states}, seed + 2, HRSAM_F32, 0.7).floats();
  for (float& a : a_log) a += static_cast<float>(c.decay);
  return {random_tensor({c.batch, c.tokens(), c.channels}, seed + 1, c.u_type),
          tensor<float>({c.batch, c.tokens(), c.width()}, ssm, c.ssm_type),
          tensor<float>({c.channels, c.states}, a_log),
          random_tensor({c.channels}, seed + 3, HRSAM_F32, 0.5),
          random_tensor({c.channels}, seed + 4),
          random_tensor({c.channels, c.readings, 1}, seed + 5),
          random_tensor({c.batch, c.tokens(), c.channels}, seed + 6, c.dy_type)};
}

}  // namespace hrsam::test
