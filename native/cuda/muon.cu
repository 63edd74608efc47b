// One step of Muon for the matrices among the parameters, see native/plan/muon.h; `adamw` has
// brought the first moments up to date before. Many small products one after the other: bound by
// their launches, which a captured graph makes cheap.
#include "../plan/muon.h"

#include <utility>
#include <vector>

#include "carver.h"
#include "gemm/gemm.h"
#include "samples.h"

namespace hrsam::cuda {

namespace {

struct MomentNorm {
  const float* moments;
  float* inverse;  // 0 where there is no direction
  HRSAM_DEVICE void add(int64_t i, double* sums) const {
    const double m = moments[i];
    sums[0] += m * m;
  }
  HRSAM_DEVICE void finish(int64_t, const double* sums) const {
    *inverse = sums[0] > 0 ? static_cast<float>(1 / ::sqrt(sums[0])) : 0.0f;
  }
};

// Element i of a matrix with so many columns, in its transpose.
HRSAM_DEVICE int64_t transposed(int64_t i, int64_t rows, int64_t columns) {
  return i % columns * rows + i / columns;
}

struct Copy {
  const float* from;
  float* to;
  HRSAM_DEVICE void operator()(int64_t i) const { to[i] = from[i]; }
};

struct Load {
  const float *moments, *inverse;
  float* x;
  int64_t rows, columns;
  HRSAM_DEVICE void operator()(int64_t i) const {
    x[rows > columns ? transposed(i, rows, columns) : i] = moments[i] * *inverse;
  }
};

struct Turn {
  const float* x;
  float* to;
  int64_t rows, columns;
  HRSAM_DEVICE void operator()(int64_t i) const { to[transposed(i, rows, columns)] = x[i]; }
};

struct Blend {
  const float* gram;
  float* factor;
  int64_t side;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const float own = i / side == i % side ? kMuonA : 0.0f;
    factor[i] = kMuonB * gram[i] + kMuonC * factor[i] + own;
  }
};

struct Apply {
  const float *x, *inverse, *step;
  float *parameters, *averages;
  int64_t rows, columns;
  float rate, decay, scale;
  HRSAM_DEVICE void operator()(int64_t i) const {
    if (*inverse == 0) return;
    const float direction = scale * x[rows > columns ? transposed(i, rows, columns) : i];
    const float change = -step[0] * rate * (direction + decay * parameters[i]);
    parameters[i] += change;
    averages[i] += (1 - step[4]) * change;
  }
};

struct Workspace {
  float *x, *turned, *gram, *factor, *inverse;
  void* sums;
};

// a (m, k) · b (n, k)ᵀ -> out.
void multiply(cudaStream_t stream, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
              float* out) {
  Gemm call;
  call.m = m;
  call.n = n;
  call.k = k;
  call.a = a;
  call.b = b;
  call.a_stride = call.b_stride = k;
  call.epilogue.out = out;
  gemm(stream, call);
}

void advance(cudaStream_t stream, const MuonMatrix& matrix, const float* step, int64_t size,
             float* state, const Workspace& w) {
  const int64_t m = matrix.shorter(), n = matrix.longer(), elements = matrix.elements();
  float* parameters = state + matrix.offset;
  const float* moments = parameters + size;
  sum_samples<1>(stream, 1, elements, w.sums, MomentNorm{moments, w.inverse});
  each(stream, elements, Load{moments, w.inverse, w.x, matrix.rows, matrix.columns});
  for (int i = 0; i < kMuonSteps; ++i) {
    each(stream, elements, Turn{w.x, w.turned, m, n});
    multiply(stream, m, m, n, w.x, w.x, w.gram);
    multiply(stream, m, m, m, w.gram, w.gram, w.factor);  // it is symmetric
    each(stream, m * m, Blend{w.gram, w.factor, m});
    multiply(stream, m, n, m, w.factor, w.turned, w.x);
  }
  each(stream, elements,
       Apply{w.x, w.inverse, step, parameters, parameters + 3 * size, matrix.rows, matrix.columns,
             matrix.rate, matrix.decay, muon_scale(matrix.rows, matrix.columns)});
}

}  // namespace

Op* compile_muon(const Node& node, Compiler&) {
  const MuonMatrices given = read_muon(node);
  const int64_t size = node.value("state").dim(1);
  std::vector<MuonMatrix> matrices;
  int64_t elements = 0, square = 0;
  for (int i = 0; i < given.count; ++i) {
    matrices.push_back(given[i]);
    elements = larger(elements, given[i].elements());
    square = larger(square, given[i].shorter() * given[i].shorter());
  }
  const auto carve = [=](void* memory) {
    Carver carver(memory);
    Workspace w{};
    w.x = carver.take<float>(elements);
    w.turned = carver.take<float>(elements);
    w.gram = carver.take<float>(square);
    w.factor = carver.take<float>(square);
    w.inverse = carver.take<float>(1);
    w.sums = carver.take<char>(static_cast<int64_t>(sample_workspace<1>(1, elements)));
    return std::pair(w, carver.bytes());
  };
  return make_op(carve(nullptr).second,
                 [=, state = node.operand("state"), step = node.operand("step")](const Run& run) {
                   const float* from = run.in<float>(state);
                   float* to = run.out<float>();
                   if (to != from) each(run.stream, 4 * size, Copy{from, to});
                   const Workspace w = carve(run.workspace).first;
                   for (const MuonMatrix& matrix : matrices)
                     advance(run.stream, matrix, run.in<float>(step), size, to, w);
                 });
}

}  // namespace hrsam::cuda
