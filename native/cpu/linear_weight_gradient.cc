// dyᵀ·x summed over all rows (tokens), a chunk of tokens at a time in two parallel sections: pack,
// then multiply tile by tile and add to the result. Both operands have the tokens last in memory
// order, and so they stay: a step of the micro-kernel broadcasts neighbours of a row of dy against
// vectors of a row of x. Packing only puts the steps of a tile one after the other. Chunks are as
// deep as the second-level cache likes (see gemm/tiling.h), and shallower where dy and x are wide,
// so that what is packed stays in the third.
#include "../plan/gradient_checks.h"
#include "carver.h"
#include "steps.h"
#include "tiling.h"
#include "transpose.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int64_t kMaxSteps = 768;  // of a chunk; a step is what a lane holds of the inner axis
constexpr int64_t kMinSteps = 128;
constexpr int64_t kPackedBytes = 4 << 20;
// Columns of dy side by side in a panel: whole vectors and whole tiles.
template <class T>
constexpr int64_t panel_rows() {
  constexpr int64_t kRows = Tile<T>::kRows;
  constexpr int64_t kPanel = kWidth % kRows == 0   ? kWidth
                             : kRows % kWidth == 0 ? kRows
                                                   : kRows * kWidth / 2;
  static_assert(kPanel % kRows == 0 && kPanel % kWidth == 0);
  return kPanel;
}

#if defined(HRSAM_ISA_amx)
// The tiles broadcast nothing: they want rows of dyᵀ, so a panel's blocks of kWidth steps are
// turned as they are packed.
template <class T>
constexpr bool kTurned = sizeof(T) == 2;
#else
template <class T>
constexpr bool kTurned = false;
#endif

// tile (kRows, kCount·kWidth) = aᵀ·b over `steps`: a [step][panel_rows()], b [step][kCount].
template <class T, int kCount>
void multiply_columns(const float* a, const float* b, int64_t steps, float* tile) {
  constexpr int kRows = Tile<T>::kRows;
  Sums<kRows, kCount> sums;
  for (auto& row : sums.v)
    for (V& sum : row) sum = zero();
  for (int64_t k = 0; k < steps; ++k, a += panel_rows<T>(), b += kCount * kWidth)
    multiply_step<T>(
        sums, b, [&](int i) { return Multiply<T>::broadcast(reinterpret_cast<const T*>(a + i)); });
  for (auto& row : sums.v)
    for (V& sum : row) {
      store(tile, sum);
      tile += kWidth;
    }
}

template <class T, int kCount = Tile<T>::kVectors>
HRSAM_INLINE void multiply_columns(int64_t vectors, const float* a, const float* b, int64_t steps,
                                   float* tile) {
  if constexpr (kCount > 1)
    if (vectors < kCount) return multiply_columns<T, kCount - 1>(vectors, a, b, steps, tile);
  multiply_columns<T, kCount>(a, b, steps, tile);
}

#if defined(HRSAM_ISA_amx)
// a: as pack_turned() leaves it.
template <>
inline void multiply_columns<bf16>(int64_t vectors, const float* a, const float* b, int64_t steps,
                                   float* tile) {
  multiply_tile(2 * kTileRows, vectors, reinterpret_cast<const bf16*>(a), 0, b,
                steps * Multiply<bf16>::kStep, tile, false);
}
#endif

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
    panels_ = divide_up(vectors_, Tile<T>::kVectors);
    row_panels_ = divide_up(n, kPanelRows);
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
        // Neighbouring tasks share a part of the larger operand.
        const int64_t part = n_ > k_ ? task / panels_ : task % row_parts;
        const int64_t panel = n_ > k_ ? task % panels_ : task / row_parts;
        multiply(panel, part * kTaskRows, smaller(n_, (part + 1) * kTaskRows), token > 0);
      });
    }
  }

 private:
  static constexpr int64_t kStep = Multiply<T>::kStep;
  static constexpr int64_t kRows = Tile<T>::kRows, kPanelRows = panel_rows<T>();
  static constexpr int64_t kTaskRows = divide_up(64, kPanelRows) * kPanelRows;

  void carve(Carver& carver) {
    a_ = carver.take<float>(row_panels_ * kPanelRows * steps_);
    b_ = carver.take<float>(vectors_ * kWidth * steps_);
  }

  int64_t first_vector(int64_t panel) const { return cut(vectors_, panels_, panel); }

  // kWidth steps of the chunk that begins at `token`.
  void pack(int64_t token, int64_t first_step) const {
    const int64_t begin = token + first_step * kStep;
    for (int64_t panel = 0; panel < row_panels_; ++panel) {
      float* to = a_ + (panel * steps_ + first_step) * kPanelRows;
      if constexpr (kTurned<T>)
        pack_turned(begin, panel * kPanelRows, to);
      else
        pack_panel(dy_, n_, begin, panel * kPanelRows, kPanelRows, to);
    }
    for (int64_t panel = 0; panel < panels_; ++panel) {
      const int64_t first = first_vector(panel), vectors = first_vector(panel + 1) - first;
      pack_panel(x_, k_, begin, first * kWidth, vectors * kWidth,
                 b_ + (first * steps_ + first_step * vectors) * kWidth);
    }
  }

  // kWidth steps of a panel of dy from token `row` on: kWidth columns after the other, the steps of
  // a column in a row.
  void pack_turned(int64_t row, int64_t first, float* to) const {
    for (int64_t column = first; column < first + kPanelRows; column += kWidth) {
      const int n = static_cast<int>(smaller(kWidth, n_ - column));
      V block[kWidth];
      for (int64_t i = 0, token = row; i < kWidth; ++i, token += kStep)
        block[i] = n > 0 ? load_step<T>(dy_ + token * n_ + column, n_, tokens_ - token, n) : zero();
      transpose(block);
      for (int64_t i = 0; i < kWidth; ++i, to += kWidth) store(to, block[i]);
    }
  }

  // kWidth steps from token `row` on of `width` columns from `first` on, zero past the last.
  void pack_panel(const In* from, int64_t columns, int64_t row, int64_t first, int64_t width,
                  float* to) const {
    for (int64_t i = 0; i < kWidth; ++i, row += kStep)
      for (int64_t column = first; column < first + width; column += kWidth, to += kWidth) {
        const int64_t n = smaller(kWidth, columns - column);
        store(to, n > 0 ? load_step<T>(from + row * columns + column, columns, tokens_ - row,
                                       static_cast<int>(n))
                        : zero());
      }
  }

  void multiply(int64_t panel, int64_t row, int64_t end, bool add) const {
    alignas(64) float tile[kRows * Tile<T>::kVectors * kWidth];
    const MultiplyScope<T> scope;
    const int64_t first = first_vector(panel), vectors = first_vector(panel + 1) - first;
    const float* b = b_ + first * steps_ * kWidth;
    for (; row < end; row += kRows) {
      const int64_t rows = smaller(kRows, end - row);
      const int64_t in_panel = row % kPanelRows;
      const float* a = a_ + (row - in_panel) * steps_ + in_panel;
      multiply_columns<T>(vectors, a, b, steps_, tile);
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
  int64_t vectors_, panels_, row_panels_;
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
  check_linear_weight_gradient(node);
  return new LinearWeightGradient(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA
