// Muon (https://kellerjordan.github.io/posts/muon): a matrix of parameters goes the way of its
// first moments with all singular values made about 1, by five steps of Newton and Schulz:
//   X ← X / (‖X‖ + ε),  then  A = X·Xᵀ,  X ← (a·I + b·A + c·A²)·X
// As published, X, A and that factor may be bf16, and sums f32.
#pragma once

#include <math.h>

#include "expect.h"
#include "integers.h"

namespace HRSAM_OPS {

constexpr int kMuonSteps = 5;
// Matrices whose sides are no multiples of it, a product's steps of k, are f32 all the same: few,
// and small.
constexpr int64_t kMuonBf16Side = 32;
// Beside the norm, as published: what no gradient reaches any more comes to rest.
constexpr double kMuonEps = 1e-7;
constexpr float kMuonA = 3.4445f, kMuonB = -4.775f, kMuonC = 2.0315f;

// Steps about as long as those of AdamW (arXiv 2502.16982), so that both take one learning rate.
inline float muon_scale(int64_t rows, int64_t columns) {
  return 0.2f * ::sqrtf(static_cast<float>(larger(rows, columns)));
}

// A matrix among the parameters that are laid end to end.
struct MuonMatrix {
  int64_t offset, rows, columns;
  float rate, decay;
  bool in_bf16;
  int64_t elements() const { return rows * columns; }
  // Of the products of X, which is turned where it has more rows than columns.
  int64_t shorter() const { return smaller(rows, columns); }
};

struct MuonMatrices {
  int count = 0;
  bool half = false;
  const double *offsets, *rows, *columns, *rates, *decays;
  MuonMatrix operator[](int i) const {
    const auto m = static_cast<int64_t>(rows[i]), n = static_cast<int64_t>(columns[i]);
    return {static_cast<int64_t>(offsets[i]),
            m,
            n,
            static_cast<float>(rates[i]),
            static_cast<float>(decays[i]),
            half && m % kMuonBf16Side == 0 && n % kMuonBf16Side == 0};
  }
};

inline bool whole(double x) {
  return x >= 0 && x < 2147483648.0 && x == static_cast<double>(static_cast<int64_t>(x));
}

inline MuonMatrices read_muon(const Node& node) {
  const Value& state = node.value("state");
  const Value& step = node.value("step");
  expect_f32(node, state, "state");
  expect_f32(node, step, "step");
  expect(node, state.rank == 2 && state.dim(0) == 4, "state: expected (4, P)");
  expect(node, has_shape(step, {5}), "step: expected 5 numbers");
  expect(node, node.result().dtype == DType::f32 && same_shape(state, node.result()),
         "the result's shape is not that of state");
  MuonMatrices all{};
  all.half = node.flag("half");
  int counts[4] = {};
  all.offsets = node.list("offsets", &all.count);
  all.rows = node.list("rows", &counts[0]);
  all.columns = node.list("columns", &counts[1]);
  all.rates = node.list("rates", &counts[2]);
  all.decays = node.list("decays", &counts[3]);
  for (int count : counts)
    expect(node, count == all.count, "as many rows, columns, rates and decays as offsets");
  const double size = static_cast<double>(state.dim(1));
  double end = 0;  // of the matrix before
  for (int i = 0; i < all.count; ++i) {
    const double rows = all.rows[i], columns = all.columns[i];
    expect(node, whole(rows) && whole(columns) && whole(all.offsets[i]),
           "offsets, rows, columns: whole numbers below 2^31");
    expect(node, rows >= 1 && columns >= 1, "rows, columns: at least 1");
    expect(node, all.offsets[i] >= end && all.offsets[i] + rows * columns <= size,
           "offsets: matrices one after the other among the parameters");
    end = all.offsets[i] + rows * columns;
  }
  return all;
}

}  // namespace HRSAM_OPS
