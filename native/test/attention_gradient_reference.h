// Reverse-mode differentiation of one query's attention, in double precision.
#pragma once

#include "attention_reference.h"

namespace hrsam::test {

struct QueryGradient {
  Row p, ds;  // probabilities, and gradients of the logits
};

// logits of -INFINITY do not take part; dout: gradient of the query's output.
inline QueryGradient query_gradient(const Row& logits, const Rows& values, const Row& dout) {
  QueryGradient g{logits, logits};
  const double largest = *std::max_element(logits.begin(), logits.end());
  double total = 0, mean = 0;
  for (double& p : g.p) total += p = std::exp(p - largest);
  for (size_t j = 0; j < logits.size(); ++j) {
    g.p[j] /= total;
    g.ds[j] = dot(dout, values[j]);
    mean += g.p[j] * g.ds[j];
  }
  for (size_t j = 0; j < logits.size(); ++j) g.ds[j] = g.p[j] * (g.ds[j] - mean);
  return g;
}

// to[at ...] += factor · row.
template <class To>
void add_row(To& to, int64_t at, const Row& row, double factor = 1) {
  for (size_t c = 0; c < row.size(); ++c) to[at + static_cast<int64_t>(c)] += factor * row[c];
}

}  // namespace hrsam::test
