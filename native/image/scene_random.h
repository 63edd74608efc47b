// Numbers that are the same on every machine: integers, and doubles of +, -, *, / and sqrt only.
// Never draw twice within one expression: C++ leaves the order open.
#pragma once

#include <cmath>
#include <cstdint>

namespace hrsam::image::scene {

inline uint64_t mix(uint64_t z) {  // splitmix64's finaliser
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(mix(seed + 0x9e3779b97f4a7c15ull)) {}

  uint64_t bits() { return mix(state_ += 0x9e3779b97f4a7c15ull); }
  // [0, 1)
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  // Small values as likely as large ones: x² of a uniform x.
  double lower(double low, double high) {
    const double x = uniform();
    return low + (high - low) * x * x;
  }
  int below(int count) {
    return static_cast<int>((bits() >> 32) * static_cast<uint64_t>(count) >> 32);
  }
  int between(int low, int high) { return low + below(high - low + 1); }
  bool chance(double probability) { return uniform() < probability; }
  double sign() { return chance(0.5) ? 1 : -1; }

 private:
  uint64_t state_;
};

// sin(2πt); the library's differs between machines in the last bit.
inline double sine(double t) {
  t -= std::floor(t + 0.5);
  if (t > 0.25) t = 0.5 - t;
  if (t < -0.25) t = -0.5 - t;
  const double x = 6.283185307179586 * t, s = x * x;
  return x *
         (1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72 * (1 - s / 110 * (1 - s / 156))))));
}
inline double cosine(double t) { return sine(t + 0.25); }

}  // namespace hrsam::image::scene
