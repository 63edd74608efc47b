// dyᵀ·x summed over all rows (tokens): a matrix product whose inner axis both operands have last in
// memory order, so both are packed anew: dy transposed, x into panels. A chunk of tokens at a time,
// in two parallel sections: pack, then multiply tile by tile and add to the result. Chunks are as
// deep as the second-level cache likes (see gemm/tiling.h), and shallower where dy and x are wide,
// so that what is packed stays in the third.
#include "carver.h"
#include "expect.h"
#include "steps.h"
#include "tiling.h"
#include "transpose.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int64_t kMaxSteps = 768;  // of a chunk; a step is what a lane holds of the inner axis
constexpr int64_t kMinSteps = 128;
constexpr int64_t kPackedBytes = 4 << 20;
constexpr int64_t kTaskRows = 64 / kRows * kRows;

// T: what is multiplied, In: the operands' type.
template <class T, class In>
class Product {
 public:
  Product(const In* x, const In* dy, float* out, int64_t tokens, int64_t n, int64_t k)
      : x_(x), dy_(dy), out_(out), tokens_(tokens), n_(n), k_(k) {
    const int64_t steps = divide_up(tokens, kStep);
    const int64_t fitting = kPackedBytes / static_cast<int64_t>(sizeof(float)) / (n + k);
    const int64_t chunks = divide_up(steps, larger(kMinSteps, smaller(kMaxSteps, fitting)));
    steps_ = divide_up(divide_up(steps, chunks), kWidth) * kWidth;
    vectors_ = divide_up(k, kWidth);
    panels_ = divide_up(vectors_, kVectors);
    lda_ = steps_ + 16;  // not a power of two: rows would share the sets of the first-level cache
  }

  void run(Pool& pool) {
    Carver sizes(nullptr);
    carve(sizes);
    pool.reserve(sizes.bytes());
    Carver carver(pool.scratch(0));
    carve(carver);
    const int64_t row_parts = divide_up(n_, kTaskRows);
    for (int64_t token = 0; token < tokens_; token += steps_ * kStep) {
      pool.each(steps_ / kWidth, [&](int64_t i, int) { pack(token, i * kWidth); });
      pool.each(panels_ * row_parts, [&](int64_t task, int) {
        const int64_t row = task % row_parts * kTaskRows;
        multiply(task / row_parts, row, smaller(n_, row + kTaskRows), token > 0);
      });
    }
  }

 private:
  static constexpr int64_t kStep = Multiply<T>::kStep;

  void carve(Carver& carver) {
    a_ = carver.take<float>(n_ * lda_);
    b_ = carver.take<float>(vectors_ * kWidth * steps_);
  }

  int64_t first_vector(int64_t panel) const { return cut(vectors_, panels_, panel); }

  // kWidth steps of the chunk that begins at `token`.
  void pack(int64_t token, int64_t first_step) const {
    const int64_t begin = token + first_step * kStep;
    for (int64_t column = 0; column < n_; column += kWidth) {
      const int n = static_cast<int>(smaller(kWidth, n_ - column));
      V block[kWidth];
      for (int64_t i = 0; i < kWidth; ++i)
        block[i] = load_step<T>(dy_ + (begin + i * kStep) * n_ + column, n_,
                                tokens_ - begin - i * kStep, n);
      transpose(block);
      for (int i = 0; i < n; ++i) store(a_ + (column + i) * lda_ + first_step, block[i]);
    }
    for (int64_t panel = 0; panel < panels_; ++panel) {
      const int64_t first = first_vector(panel), vectors = first_vector(panel + 1) - first;
      float* to = b_ + (first * steps_ + first_step * vectors) * kWidth;
      for (int64_t i = 0; i < kWidth; ++i) {
        const int64_t row = begin + i * kStep;
        for (int64_t column = first * kWidth; column < (first + vectors) * kWidth;
             column += kWidth, to += kWidth)
          store(to, load_step<T>(x_ + row * k_ + column, k_, tokens_ - row,
                                 static_cast<int>(smaller(kWidth, k_ - column))));
      }
    }
  }

  void multiply(int64_t panel, int64_t row, int64_t end, bool add) const {
    alignas(64) float tile[kRows * kVectors * kWidth];
    const int64_t first = first_vector(panel), vectors = first_vector(panel + 1) - first;
    const float* b = b_ + first * steps_ * kWidth;
    for (; row < end; row += kRows) {
      const int64_t rows = smaller(kRows, end - row);
      kernel_for<T>(rows, vectors)(reinterpret_cast<const T*>(a_ + row * lda_), lda_ * kStep, b,
                                   steps_ * kStep, tile, false);
      const float* from = tile;
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t v = 0; v < vectors; ++v, from += kWidth) {
          const int64_t column = (first + v) * kWidth;
          const int n = static_cast<int>(smaller(kWidth, k_ - column));
          float* to = out_ + (row + i) * k_ + column;
          const V sum = load(from);
          store_lanes(to, add ? sum + load_lanes(to, n) : sum, n);
        }
    }
  }

  const In *x_, *dy_;
  float* out_;
  int64_t tokens_, n_, k_;
  int64_t steps_;  // of a chunk
  int64_t vectors_, panels_, lda_;
  float *a_ = nullptr, *b_ = nullptr;
};

class LinearWeightGradient : public Op {
 public:
  explicit LinearWeightGradient(const Node& node)
      : x_(node.operand("x")),
        dy_(node.operand("dy")),
        dtype_(node.value("x").dtype),
        tokens_(node.value("x").rows()),
        n_(node.result().dim(0)),
        k_(node.result().dim(1)) {}

  void run(const Run& run) const override {
    float* out = run.out<float>();
    if (n_ == 0 || k_ == 0) return;
    if (tokens_ == 0)
      memset(out, 0, static_cast<size_t>(n_ * k_) * sizeof(float));
    else if (dtype_ == DType::f32)
      Product<float, float>(run.in<float>(x_), run.in<float>(dy_), out, tokens_, n_, k_)
          .run(run.pool);
    else
      Product<Half, bf16>(run.in<bf16>(x_), run.in<bf16>(dy_), out, tokens_, n_, k_).run(run.pool);
  }

 private:
  int x_, dy_;
  DType dtype_;
  int64_t tokens_, n_, k_;
};

}  // namespace

Op* compile_linear_weight_gradient(const Node& node, Compiler&) {
  const Value& x = node.value("x");
  const Value& dy = node.value("dy");
  expect_floats(node, x, "x");
  expect_f32(node, node.result(), "the result");
  expect(node, x.rank >= 1 && x.rank == dy.rank && x.dtype == dy.dtype,
         "x and dy: not of one type and number of dimensions");
  for (int i = 0; i + 1 < x.rank; ++i)
    expect(node, x.dims[i] == dy.dims[i], "x and dy: not of the same rows");
  expect(node, has_shape(node.result(), {dy.dim(-1), x.dim(-1)}),
         "the result's shape is not (N, K)");
  return new LinearWeightGradient(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA
