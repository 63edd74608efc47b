// The sum of all rows of a matrix, f32.
#include "../plan/gradient_checks.h"
#include "chunked_sum.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// Adds kCount rows to sums.
template <int kCount, class T>
void add_rows(const T* x, int64_t stride, int64_t columns, float* sums) {
  for (int64_t c = 0; c < columns; c += kWidth) {
    const int n = static_cast<int>(smaller(kWidth, columns - c));
    V sum[kCount];
    for (int i = 0; i < kCount; ++i) sum[i] = load_lanes(x + i * stride + c, n);
    for (int step = kCount / 2; step > 0; step /= 2)
      for (int i = 0; i < step; ++i) sum[i] = sum[i] + sum[i + step];
    store_lanes(sums + c, load_lanes(sums + c, n) + sum[0], n);
  }
}

class SumRows : public Op {
 public:
  SumRows(int x, const Value& value)
      : x_(x), dtype_(value.dtype), rows_(value.dim(0)), columns_(value.dim(1)) {}

  void run(const Run& run) const override {
    with_floats(dtype_, [&](auto type) {
      constexpr int kGroup = 8;
      const auto* x = run.in<decltype(type)>(x_);
      const SumShape shape{rows_, columns_ * dtype_bytes(dtype_), columns_, 2048};
      sum_chunks(run.pool, shape, run.out<float>(),
                 [&](int64_t row, int64_t end, int64_t first, int64_t last, float* sums) {
                   for (; row + kGroup <= end; row += kGroup)
                     add_rows<kGroup>(x + row * columns_ + first, columns_, last - first,
                                      sums + first);
                   for (; row < end; ++row)
                     add_rows<1>(x + row * columns_ + first, columns_, last - first, sums + first);
                 });
    });
  }

 private:
  int x_;
  DType dtype_;
  int64_t rows_, columns_;
};

}  // namespace

Op* compile_sum_rows(const Node& node, Compiler&) {
  check_sum_rows(node);
  const Value& x = node.value("x");
  return new SumRows(node.operand("x"), x);
}

}  // namespace hrsam::cpu::HRSAM_ISA
