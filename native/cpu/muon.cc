// One step of Muon for the matrices among the parameters, see native/plan/muon.h; `adamw` has
// brought the first moments up to date before. Bound by the products: ten of n³ for a square. They
// are many and small, so that each thread takes whole matrices, the largest ones first.
#include "../plan/muon.h"

#include <string.h>

#include "carver.h"
#include "gemm.h"
#include "squared_norm.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// T: of the matrices between products, float or bf16.
template <class T>
constexpr DType kType = sizeof(T) == sizeof(float) ? DType::f32 : DType::bf16;
HRSAM_INLINE void put(float* to, float x) { *to = x; }
HRSAM_INLINE void put(bf16* to, float x) { *to = to_bf16(x); }

template <class T>
struct Workspace {
  T *x, *next, *gram, *factor;
  float* square;
  void *packed, *scratch;
};

// a·bᵀ or aᵀ·b, as the engine's product wants it.
template <class T>
struct Multiplication {
  Gemm call;
  Weights right;

  template <class Out>
  Multiplication(int64_t m, int64_t n, int64_t k, const T* a, bool turned, Weights b, Out* out)
      : right(b) {
    call.m = m;
    call.n = n;
    call.k = k;
    call.a = a;
    call.a_type = kType<T>;
    call.a_turned = turned;
    call.out = out;
    call.out_type = kType<Out>;
  }
  void run(const Workspace<T>& w) {
    gemm_pack(right, kType<T>, w.packed);
    call.packed = w.packed;
    gemm(w.scratch, call);
  }
};

// The products of one step: the shorter side's Gram matrix, its square, and x's next value.
template <class T>
struct Products {
  Multiplication<T> gram, square, next;
};
template <class T>
Products<T> products(const MuonMatrix& matrix, const Workspace<T>& w) {
  const int64_t rows = matrix.rows, columns = matrix.columns, side = matrix.shorter();
  const bool tall = rows > columns;
  const auto weights = [](const T* data, int64_t n, int64_t k, bool turned) {
    return Weights{data, kType<T>, n, k, turned};
  };
  const Weights gram = weights(w.gram, side, side, false);  // it is symmetric, as is the factor
  const Multiplication<T> square(side, side, side, w.gram, false, gram, w.square);
  const Weights x = weights(w.x, columns, rows, true);
  if (tall)
    return {{side, side, rows, w.x, true, x, w.gram},
            square,
            {rows, side, side, w.x, false, weights(w.factor, side, side, false), w.next}};
  return {{side, side, columns, w.x, false, weights(w.x, rows, columns, false), w.gram},
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
      with_floats(type_of(given[i]), [&](auto number) {
        Carver sizes(nullptr);
        carve<decltype(number)>(given[i], sizes);
        if (sizes.bytes() > scratch_) scratch_ = sizes.bytes();
      });
    }
  }

  void run(const Run& run) const override {
    const float* from = run.in<float>(state_);
    float* to = run.out<float>();
    if (to != from) memcpy(to, from, sizeof(float) * 4 * static_cast<size_t>(size_));
    const float* step = run.in<float>(step_);
    run.pool.reserve(scratch_);
    run.pool.each(count_, [&](int64_t i, int thread) {
      const MuonMatrix& matrix = list_.as<MuonMatrix>()[i];
      with_floats(type_of(matrix), [&](auto number) {
        Carver carver(run.pool.scratch(thread));
        advance(matrix, step, to, carve<decltype(number)>(matrix, carver));
      });
    });
  }

 private:
  static int64_t cost(const MuonMatrix& matrix) { return matrix.elements() * matrix.shorter(); }
  static DType type_of(const MuonMatrix& matrix) {
    return matrix.in_bf16 ? DType::bf16 : DType::f32;
  }

  template <class T>
  static Workspace<T> carve(const MuonMatrix& matrix, Carver& carver) {
    const int64_t elements = matrix.elements(), side = matrix.shorter();
    Workspace<T> w{};
    w.x = carver.take<T>(elements);
    w.next = carver.take<T>(elements);
    w.gram = carver.take<T>(side * side);
    w.factor = carver.take<T>(side * side);
    w.square = carver.take<float>(side * side);
    size_t packed = 0, scratch = 0;
    const auto [gram, square, next] = products(matrix, w);
    const Multiplication<T>* all[] = {&gram, &square, &next};
    for (const Multiplication<T>* product : all) {
      const size_t own = gemm_packed_bytes(product->call.n, product->call.k, kType<T>);
      if (own > packed) packed = own;
      const size_t beside = gemm_scratch_bytes(product->call, 1);
      if (beside > scratch) scratch = beside;
    }
    w.packed = carver.take<char>(static_cast<int64_t>(packed));
    w.scratch = carver.take<char>(static_cast<int64_t>(scratch));
    return w;
  }

  template <class T>
  void advance(const MuonMatrix& matrix, const float* step, float* state, Workspace<T> w) const {
    const int64_t count = matrix.elements(), side = matrix.shorter();
    float* parameters = state + matrix.offset;
    const float* moments = parameters + size_;
    const auto factor = static_cast<float>(1 / (::sqrt(squared_norm(moments, count)) + kMuonEps));
    for (int64_t i = 0; i < count; ++i) put(w.x + i, moments[i] * factor);
    for (int k = 0; k < kMuonSteps; ++k) {
      auto [gram, square, next] = products(matrix, w);
      gram.run(w);
      square.run(w);
      const auto blend = [&](int64_t at, float own) {
        put(w.factor + at, kMuonB * to_f32(w.gram[at]) + kMuonC * w.square[at] + own);
      };
      for (int64_t i = 0; i < side * side; ++i) blend(i, 0);
      for (int64_t i = 0; i < side; ++i) blend(i * side + i, kMuonA);
      next.run(w);
      T* before = w.x;
      w.x = w.next;
      w.next = before;
    }
    move(matrix, step, parameters, w.x);
  }

  template <class T>
  void move(const MuonMatrix& matrix, const float* step, float* parameters, const T* x) const {
    const float scale = muon_scale(matrix.rows, matrix.columns), rate = step[0] * matrix.rate;
    const float forgotten = 1 - step[4];
    float* averages = parameters + 3 * size_;
    for (int64_t i = 0; i < matrix.elements(); ++i) {
      const float change = -rate * (scale * to_f32(x[i]) + matrix.decay * parameters[i]);
      parameters[i] += change;
      averages[i] += forgotten * change;
    }
  }

  int state_, step_;
  int64_t size_;
  int count_;
  Block list_;
  size_t scratch_ = 0;  // of a thread
};

}  // namespace

Op* compile_muon(const Node& node, Compiler&) { return new Muon(node, read_muon(node)); }

}  // namespace hrsam::cpu::HRSAM_ISA
