// Losses: one number per sample, from sums over its elements.
#pragma once

#include "../plan/expect.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

// sum(begin, end, totals) writes kCount sums over the elements [begin, end) of all samples to
// totals; finish(sample, totals) gets those of a sample. In an order that only the shape decides.
// Uses the pool's scratch memory.
template <int kCount, class Sum, class Finish>
void each_sample(Pool& pool, int64_t samples, int64_t length, Sum&& sum, Finish&& finish) {
  constexpr int64_t kPiece = 8192;
  const int64_t pieces = divide_up(length, kPiece);
  pool.reserve(static_cast<size_t>(samples * pieces) * kCount * sizeof(double));
  double* partial = static_cast<double*>(pool.scratch(0));
  pool.each(samples * pieces, [&](int64_t i, int) {
    const int64_t start = i / pieces * length, at = i % pieces * kPiece;
    sum(start + at, start + smaller(length, at + kPiece), partial + i * kCount);
  });
  for (int64_t sample = 0; sample < samples; ++sample) {
    double totals[kCount] = {};
    for (int64_t i = sample * pieces; i < (sample + 1) * pieces; ++i)
      for (int k = 0; k < kCount; ++k) totals[k] += partial[i * kCount + k];
    finish(sample, totals);
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA
