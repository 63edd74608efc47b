// Attention the plain way, in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace hrsam::test {

using Row = std::vector<double>;

// Axial rotation of one head's query or key, as the paper's code has it.
inline Row rotated(const Row& x, double row, double column, double theta) {
  const size_t half = x.size() / 2;
  Row y(x.size());
  for (size_t c = 0; c < x.size(); c += 2) {
    const double position = c < half ? row : column;
    const double j = static_cast<double>(c % half) / 2;
    const double angle = position * std::pow(theta, -2 * j / static_cast<double>(half));
    y[c] = x[c] * std::cos(angle) + x[c + 1] * std::sin(angle);
    y[c + 1] = x[c + 1] * std::cos(angle) - x[c] * std::sin(angle);
  }
  return y;
}

inline double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// softmax(logits) · values; logits of -INFINITY do not take part.
inline Row weighted(const Row& logits, const std::vector<Row>& values) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  Row sum(values[0].size());
  double total = 0;
  for (size_t k = 0; k < logits.size(); ++k) {
    const double p = std::exp(logits[k] - largest);
    total += p;
    for (size_t c = 0; c < sum.size(); ++c) sum[c] += p * values[k][c];
  }
  for (double& x : sum) x /= total;
  return sum;
}

// `count` numbers of a tensor's floats.
inline Row cut(const std::vector<float>& from, int64_t at, int64_t count) {
  return Row(from.begin() + at, from.begin() + at + count);
}

}  // namespace hrsam::test
