// The attribute "activation" in double precision.
#pragma once

#include <cmath>

namespace hrsam::test {

inline double activated(double x, int activation) {
  switch (activation) {
    case 1:
      return 0.5 * x * std::erfc(-x * std::sqrt(0.5));
    case 2:
      return x / (1 + std::exp(-x));
    case 3:
      return x > 0 ? x : 0;
    case 4:
      return 1 / (1 + std::exp(-x));
    default:
      return x;
  }
}

}  // namespace hrsam::test
