// a·bᵀ of f32 batches, a with few rows, b with many: the decoder's product of its mask weights with
// the upscaled map. Bound by reading b once: b's rows take the place of the micro-kernel's A, and
// a, packed in every run, that of the weights, which the first-level cache holds. The tiles come
// out transposed.
#include "../plan/forward_checks.h"
#include "gemm.h"
#include "tiling.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int64_t kRows = Tile<float>::kRows;
constexpr int64_t kTaskRows = 512 / kRows * kRows;  // of b

class Matmul : public Op {
 public:
  explicit Matmul(const Node& node)
      : a_(node.operand("a")),
        b_(node.operand("b")),
        batches_(node.result().dims[0]),
        m_(node.result().dims[1]),
        n_(node.result().dims[2]),
        k_(node.value("a").dims[2]),
        b_stride_(node.value("b").dims[0] == 1 ? 0 : n_ * k_),
        packed_(packed_bytes<float>(m_, k_)) {}

  void run(const Run& run) const override {
    if (m_ == 0 || n_ == 0) return;
    for (int64_t batch = 0; batch < batches_; ++batch) {
      pack_weights<float>(run.pool,
                          {run.in<float>(a_) + batch * m_ * k_, DType::f32, m_, k_, false},
                          packed_.as<void>());
      const float* b = run.in<float>(b_) + batch * b_stride_;
      float* out = run.out<float>() + batch * m_ * n_;
      run.pool.each(divide_up(n_, kTaskRows), [&](int64_t task, int) {
        const int64_t end = smaller(n_, (task + 1) * kTaskRows);
        for (int64_t row = task * kTaskRows; row < end; row += kRows)
          multiply_rows(b + row * k_, smaller(kRows, end - row), out + row);
      });
    }
  }

 private:
  void multiply_rows(const float* b, int64_t rows, float* out) const {
    const Packing p = packing_of<float>(m_, k_);
    alignas(64) float tile[kRows * Tile<float>::kVectors * kWidth];
    for (int64_t panel = 0; panel < p.panels; ++panel) {
      const int64_t first = cut(p.vectors, p.panels, panel);
      const int64_t vectors = cut(p.vectors, p.panels, panel + 1) - first;
      for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
        const int64_t k = chunk * p.depth;
        multiply_tile(rows, vectors, b + k, k_,
                      packed_.as<float>() + panel_offset(p, k_, chunk, panel),
                      smaller(p.depth, k_ - k), tile, chunk > 0);
      }
      const int64_t width = vectors * kWidth, begin = first * kWidth;
      for (int64_t j = 0; j < smaller(width, m_ - begin); ++j)
        for (int64_t i = 0; i < rows; ++i) out[(begin + j) * n_ + i] = tile[i * width + j];
    }
  }

  int a_, b_;
  int64_t batches_, m_, n_, k_;
  int64_t b_stride_;  // 0: one b for all of a
  Block packed_;
};

}  // namespace

Op* compile_matmul(const Node& node, Compiler&) {
  check_matmul(node);
  return new Matmul(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA
