// One step of Muon for the matrices among the parameters, see native/plan/muon.h; `adamw` has
// brought the first moments up to date before. Bound by the products: ten of n³ for a square.
#include "../plan/muon.h"

#include <string.h>

#include "gemm.h"
#include "squared_norm.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class Muon : public Op {
 public:
  Muon(const Node& node, const MuonMatrices& given)
      : state_(node.operand("state")),
        step_(node.operand("step")),
        size_(node.value("state").dims[1]),
        count_(given.count),
        list_(sizeof(MuonMatrix) * static_cast<size_t>(given.count)) {
    int64_t elements = 0, square = 0;
    size_t packed = 0;
    for (int i = 0; i < count_; ++i) {
      const MuonMatrix matrix = list_.as<MuonMatrix>()[i] = given[i];
      const int64_t m = matrix.shorter(), n = matrix.longer();
      elements = larger(elements, m * n);
      square = larger(square, m * m);
      const size_t needed[] = {gemm_packed_bytes(m, n, DType::f32),
                               gemm_packed_bytes(m, m, DType::f32),
                               gemm_packed_bytes(n, m, DType::f32)};
      for (const size_t bytes : needed) packed = bytes > packed ? bytes : packed;
    }
    x_ = Block(sizeof(float) * static_cast<size_t>(elements));
    gram_ = Block(sizeof(float) * static_cast<size_t>(square));
    factor_ = Block(sizeof(float) * static_cast<size_t>(square));
    packed_ = Block(packed);
  }

  void run(const Run& run) const override {
    const float* from = run.in<float>(state_);
    float* to = run.out<float>();
    if (to != from) memcpy(to, from, sizeof(float) * 4 * static_cast<size_t>(size_));
    const float* step = run.in<float>(step_);
    for (int i = 0; i < count_; ++i) {
      const MuonMatrix& matrix = list_.as<MuonMatrix>()[i];
      const bool turned = matrix.rows > matrix.columns;
      if (!load(run.pool, matrix, turned, to + size_ + matrix.offset)) continue;
      for (int k = 0; k < kMuonSteps; ++k) iterate(run.pool, matrix.shorter(), matrix.longer());
      apply(run.pool, matrix, turned, step[0] * matrix.rate, step[4], to + matrix.offset);
    }
  }

 private:
  // x = moments / ‖moments‖, turned if need be; false where there is no direction.
  bool load(Pool& pool, const MuonMatrix& matrix, bool turned, const float* moments) const {
    const double norm = ::sqrt(squared_norm(moments, matrix.elements()));
    if (!(norm > 0)) return false;
    const float factor = static_cast<float>(1 / norm);
    float* x = x_.as<float>();
    each_block(pool, matrix.rows, 8 * matrix.columns, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        for (int64_t c = 0; c < matrix.columns; ++c)
          x[turned ? c * matrix.rows + r : r * matrix.columns + c] =
              moments[r * matrix.columns + c] * factor;
    });
    return true;
  }

  // left (m, k) · wᵀ -> out.
  void multiply(Pool& pool, int64_t m, const float* left, const Weights& w, float* out) const {
    gemm_pack(pool, w, DType::f32, packed_.as<void>());
    Gemm call;
    call.m = m;
    call.n = w.n;
    call.k = w.k;
    call.a = left;
    call.packed = packed_.as<void>();
    call.out = out;
    gemm(pool, call);
  }

  void iterate(Pool& pool, int64_t m, int64_t n) const {
    float *x = x_.as<float>(), *gram = gram_.as<float>(), *factor = factor_.as<float>();
    multiply(pool, m, x, {x, DType::f32, m, n, false}, gram);
    multiply(pool, m, gram, {gram, DType::f32, m, m, false}, factor);  // it is symmetric
    each_block(pool, m, 12 * m, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * m; i < end * m; ++i)
        factor[i] = kMuonB * gram[i] + kMuonC * factor[i] + (i / m == i % m ? kMuonA : 0);
    });
    multiply(pool, m, factor, {x, DType::f32, n, m, true}, x);  // which is packed by then
  }

  void apply(Pool& pool, const MuonMatrix& matrix, bool turned, float rate, float kept,
             float* parameters) const {
    const float* x = x_.as<float>();
    const float scale = muon_scale(matrix.rows, matrix.columns);
    float* averages = parameters + 3 * size_;
    each_block(pool, matrix.rows, 20 * matrix.columns, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        for (int64_t c = 0; c < matrix.columns; ++c) {
          const int64_t at = r * matrix.columns + c;
          const float direction = scale * x[turned ? c * matrix.rows + r : at];
          const float change = -rate * (direction + matrix.decay * parameters[at]);
          parameters[at] += change;
          averages[at] += (1 - kept) * change;
        }
    });
  }

  int state_, step_;
  int64_t size_;
  int count_;
  Block list_, x_, gram_, factor_, packed_;
};

}  // namespace

Op* compile_muon(const Node& node, Compiler&) { return new Muon(node, read_muon(node)); }

}  // namespace hrsam::cpu::HRSAM_ISA
