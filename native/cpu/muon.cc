// One step of Muon for the matrices among the parameters, see native/plan/muon.h; `adamw` has
// brought the first moments up to date before. Bound by the products: ten of n³ for a square. They
// are many and small, so that each thread takes whole matrices, the largest ones first.
#include "../plan/muon.h"

#include <string.h>

#include "carver.h"
#include "gemm.h"
#include "squared_norm.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

struct Workspace {
  float *x, *next, *gram, *factor;
  void *packed, *scratch;
};

// a·bᵀ or aᵀ·b, as the engine's product wants it.
struct Multiplication {
  Gemm call;
  Weights right;

  Multiplication(int64_t m, int64_t n, int64_t k, const float* a, bool turned, Weights b,
                 float* out)
      : right(b) {
    call.m = m;
    call.n = n;
    call.k = k;
    call.a = a;
    call.a_turned = turned;
    call.out = out;
  }
  void run(const Workspace& w) {
    gemm_pack(right, DType::f32, w.packed);
    call.packed = w.packed;
    gemm(w.scratch, call);
  }
};

// The products of one step: the shorter side's Gram matrix, its square, and x's next value.
struct Products {
  Multiplication gram, square, next;
};
Products products(const MuonMatrix& matrix, const Workspace& w) {
  const int64_t rows = matrix.rows, columns = matrix.columns, side = matrix.shorter();
  const bool tall = rows > columns;
  const Weights gram{w.gram, DType::f32, side, side, false};
  const Multiplication square(side, side, side, w.gram, false, gram, w.factor);
  const Weights x{w.x, DType::f32, columns, rows, true};
  if (tall)
    return {{side, side, rows, w.x, true, x, w.gram},
            square,
            {rows, side, side, w.x, false, {w.factor, DType::f32, side, side, false}, w.next}};
  return {{side, side, columns, w.x, false, {w.x, DType::f32, rows, columns, false}, w.gram},
          square,
          {side, columns, side, w.factor, false, x, w.next}};
}

class Muon : public Op {
 public:
  Muon(const Node& node, const MuonMatrices& given)
      : state_(node.operand("state")),
        step_(node.operand("step")),
        size_(node.value("state").dims[1]),
        count_(given.count),
        list_(sizeof(MuonMatrix) * static_cast<size_t>(given.count)) {
    MuonMatrix* list = list_.as<MuonMatrix>();
    for (int i = 0; i < count_; ++i) {
      int at = i;
      for (; at > 0 && cost(list[at - 1]) < cost(given[i]); --at) list[at] = list[at - 1];
      list[at] = given[i];
      measure(given[i]);
    }
  }

  void run(const Run& run) const override {
    const float* from = run.in<float>(state_);
    float* to = run.out<float>();
    if (to != from) memcpy(to, from, sizeof(float) * 4 * static_cast<size_t>(size_));
    const float* step = run.in<float>(step_);
    Carver sizes(nullptr);
    carve(sizes);
    run.pool.reserve(sizes.bytes());
    run.pool.each(count_, [&](int64_t i, int thread) {
      Carver carver(run.pool.scratch(thread));
      advance(list_.as<MuonMatrix>()[i], step, to, carve(carver));
    });
  }

 private:
  static int64_t cost(const MuonMatrix& matrix) { return matrix.elements() * matrix.shorter(); }

  void measure(const MuonMatrix& matrix) {
    elements_ = larger(elements_, matrix.elements());
    square_ = larger(square_, matrix.shorter() * matrix.shorter());
    const auto [gram, square, next] = products(matrix, {});
    const Multiplication* all[] = {&gram, &square, &next};
    for (const Multiplication* product : all) {
      const size_t packed = gemm_packed_bytes(product->call.n, product->call.k, DType::f32);
      const size_t scratch = gemm_scratch_bytes(product->call, 1);
      if (packed > packed_) packed_ = packed;
      if (scratch > scratch_) scratch_ = scratch;
    }
  }

  Workspace carve(Carver& carver) const {
    Workspace w{};
    w.x = carver.take<float>(elements_);
    w.next = carver.take<float>(elements_);
    w.gram = carver.take<float>(square_);
    w.factor = carver.take<float>(square_);
    w.packed = carver.take<char>(static_cast<int64_t>(packed_));
    w.scratch = carver.take<char>(static_cast<int64_t>(scratch_));
    return w;
  }

  void advance(const MuonMatrix& matrix, const float* step, float* state, Workspace w) const {
    const int64_t count = matrix.elements(), side = matrix.shorter();
    float* parameters = state + matrix.offset;
    const float* moments = parameters + size_;
    const double norm = ::sqrt(squared_norm(moments, count));
    if (!(norm > 0)) return;  // there is no direction
    const float factor = static_cast<float>(1 / norm);
    for (int64_t i = 0; i < count; ++i) w.x[i] = moments[i] * factor;
    for (int k = 0; k < kMuonSteps; ++k) {
      auto [gram, square, next] = products(matrix, w);
      gram.run(w);
      square.run(w);  // the Gram matrix is symmetric
      for (int64_t i = 0; i < side * side; ++i)
        w.factor[i] = kMuonB * w.gram[i] + kMuonC * w.factor[i];
      for (int64_t i = 0; i < side; ++i) w.factor[i * side + i] += kMuonA;
      next.run(w);
      float* before = w.x;
      w.x = w.next;
      w.next = before;
    }
    move(matrix, step, parameters, w.x);
  }

  void move(const MuonMatrix& matrix, const float* step, float* parameters, const float* x) const {
    const float scale = muon_scale(matrix.rows, matrix.columns), rate = step[0] * matrix.rate;
    const float forgotten = 1 - step[4];
    float* averages = parameters + 3 * size_;
    for (int64_t i = 0; i < matrix.elements(); ++i) {
      const float change = -rate * (scale * x[i] + matrix.decay * parameters[i]);
      parameters[i] += change;
      averages[i] += forgotten * change;
    }
  }

  int state_, step_;
  int64_t size_;
  int count_;
  Block list_;
  // Of the largest matrix.
  int64_t elements_ = 0, square_ = 0;
  size_t packed_ = 0, scratch_ = 0;
};

}  // namespace

Op* compile_muon(const Node& node, Compiler&) { return new Muon(node, read_muon(node)); }

}  // namespace hrsam::cpu::HRSAM_ISA
